import { build, type Plugin } from "esbuild";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { leanSdk } from "../../scripts/lean-sdk.ts";

const sdk = fileURLToPath(new URL("../../node_modules/@modelcontextprotocol/server/dist", import.meta.url));

interface Checks {
  validateRequest(method: string, message: unknown): unknown;
  validateResult(method: string, result: unknown): unknown;
  validateNotification(method: string, message: unknown): unknown;
}
const guards = [
  "isJSONRPCRequest",
  "isJSONRPCNotification",
  "isJSONRPCResultResponse",
  "isJSONRPCErrorResponse",
] as const;
type Checked = { readonly codecForVersion: (version: string) => Checks } & Readonly<
  Record<(typeof guards)[number], (value: unknown) => boolean>
>;

let folder = "";
let [whole, lean]: Checked[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lean-sdk-"));
  [whole, lean] = [await checks("whole", []), await checks("lean", [leanSdk])];
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** The SDK's checks of messages, bundled. */
async function checks(name: string, plugins: Plugin[]): Promise<Checked> {
  const source = (await readdir(sdk)).find((file) => /^src-[\w-]+\.mjs$/.test(file)) ?? "";
  const text = await readFile(join(sdk, source), "utf8");
  const named = ["codecForVersion", ...guards].map((each) => {
    const [, exported] = new RegExp(`\\b${each} as (\\w+)`).exec(text) ?? [];
    return `${exported} as ${each}`;
  });
  const outfile = join(folder, `${name}.mjs`);
  await build({
    stdin: { contents: `export { ${named.join(", ")} } from "./${source}"`, resolveDir: sdk },
    bundle: true,
    format: "esm",
    platform: "node",
    outfile,
    plugins,
  });
  return (await import(pathToFileURL(outfile).href)) as Checked;
}

const methods = `ping initialize completion/complete logging/setLevel prompts/get prompts/list resources/list
  resources/templates/list resources/read resources/subscribe resources/unsubscribe tools/call tools/list tasks/get
  tasks/result tasks/list tasks/cancel sampling/createMessage elicitation/create roots/list server/discover
  subscriptions/listen no/such`.split(/\s+/);
const notifications = `cancelled progress initialized roots/list_changed tasks/status message resources/updated
  resources/list_changed tools/list_changed prompts/list_changed elicitation/complete no/such`
  .split(/\s+/)
  .map((name) => `notifications/${name}`);
/** Each right for something and wrong for most. */
const samples = [
  {},
  { name: "list_models", arguments: { a: 1 }, _meta: { progressToken: 1 } },
  { uri: "ollm://models" },
  { protocolVersion: "2025-11-25", capabilities: { roots: {} }, clientInfo: { name: "a", version: "1" } },
  { content: [{ type: "text", text: "hello" }], tools: [{ name: "a", inputSchema: { type: "object" } }], roots: [] },
  { progressToken: 1, progress: 2, requestId: 3, level: "info", data: 1 },
  { taskId: "1", status: "working", createdAt: "", lastUpdatedAt: "", ttl: 1, mode: "form", message: "a" },
];

test.each(["2025-11-25", "2026-07-28"])(
  "what a message of %s must be is the same without what a start doesn't need",
  (version) => {
    const told = (checked: Checked | undefined): string[] => {
      const codec = checked?.codecForVersion(version);
      return samples.flatMap((params) => [
        ...methods.map((method) => JSON.stringify([method, codec?.validateRequest(method, { method, params })])),
        ...methods.map((method) => JSON.stringify([method, codec?.validateResult(method, params)])),
        ...notifications.map((method) =>
          JSON.stringify([method, codec?.validateNotification(method, { method, params })]),
        ),
      ]);
    };
    const expected = told(whole);
    for (const outcome of ['"ok":true', '"invalid"', '"not-in-era"']) {
      expect(
        expected.some((answer) => answer.includes(outcome)),
        outcome,
      ).toBe(true);
    }
    expect(told(lean)).toEqual(expected);
  },
);

test.each(guards)("%s says the same of every message, whole and broken", (guard) => {
  const values = [{}, { a: 1 }, [], "text", null, 1, undefined];
  const keys = [
    ...["2.0", "1.0"].map((jsonrpc) => ({ jsonrpc })),
    ...[1, "a", null, undefined, 1.5].map((id) => ({ id })),
    ...["ping", 1].map((method) => ({ method })),
    ...values.flatMap((value) => [{ params: value }, { result: value }]),
    ...[{ code: 1, message: "a" }, { code: "1" }].map((error) => ({ error })),
  ];
  const pairs = keys.flatMap((first) => keys.map((second) => ({ ...first, ...second })));
  const messages: unknown[] = [
    ...values,
    ...pairs,
    ...pairs.flatMap((pair) => keys.map((key) => ({ jsonrpc: "2.0", ...pair, ...key }))),
  ];
  const expected = messages.map((message) => whole?.[guard](message));
  expect(new Set(expected)).toEqual(new Set([true, false]));
  expect(messages.map((message) => lean?.[guard](message))).toEqual(expected);
});

test("an SDK that looks different fails the build instead of being left as it is", async () => {
  const file = join(folder, "node_modules", "@modelcontextprotocol", "core", "dist", "schemas-new.mjs");
  await writeFile(join(folder, "entry.mjs"), `export * from ${JSON.stringify(file)};`);
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, "export const answer = 42;\n");
  const building = build({
    entryPoints: [join(folder, "entry.mjs")],
    bundle: true,
    write: false,
    plugins: [leanSdk],
    logLevel: "silent",
  });
  await expect(building).rejects.toThrow("what has changed in the SDK?");
});
