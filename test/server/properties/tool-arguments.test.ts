import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { openOrchestrator, type OpenOrchestrator } from "../../../src/server/daemon/open-orchestrator.ts";
import { tools } from "../../../src/tools/index.ts";
import { startFakeOllama, type FakeOllama } from "../../support/fake-ollama.ts";
import { connectMemoryClient, type MemoryClient } from "../../support/memory-client.ts";

/** More by hand: OLLM_TEST_FUZZ_RUNS=2000 npx vitest run test/server/properties/tool-arguments.test.ts */
const runs = Number(process.env["OLLM_TEST_FUZZ_RUNS"] ?? 40);
const seed = Number(process.env["OLLM_TEST_FUZZ_SEED"] ?? 11);

/** Names that lead nowhere but to this machine: nothing is asked of a real registry. */
const texts = fc.constantFrom(
  "",
  " ",
  "\0",
  "a\0b",
  "\n",
  "\u{1b}[2J",
  "\ud800",
  "\u{202e}x",
  "a".repeat(5_000),
  "__proto__",
  "constructor",
  "toString",
  "../../etc/passwd",
  "/",
  "//",
  "/etc/passwd",
  "/dev/null",
  "/dev/zero",
  ".",
  "..",
  "a.txt",
  "a.gguf",
  "sub",
  "a.txt/b",
  "~",
  "~/x",
  "smollm2:135m",
  "smollm2",
  "SMOLLM2:135M",
  "none",
  "none:1b",
  ":",
  "a:",
  ":b",
  "a:b:c",
  "a/b/c/d",
  "@sha256:x",
  "a@b",
  "-x",
  "%00",
  "%",
  "127.0.0.1:1/a/b",
  "127.0.0.1:1/a/b:c",
  "localhost/a",
  "[::1]:1/a/b",
  "127.0.0.1:99999/a/b",
  "256.1.1.1/a/b",
  "0/a/b",
  "127.1/a/b",
  "http://127.0.0.1:1/a",
  "https://",
  "file:///etc/passwd",
  "git:staged",
  "{}",
  "[]",
  "null",
  "{a}",
  "json",
  "auto",
  "new",
  "ollama",
  "llama-cpp",
  "options.topP",
  "models[",
  'models["*"].system',
  "1h",
  "-1",
  "0",
  "1e999",
  "NaN",
  "2026-13-45",
  "*",
  "(",
  "\\",
  "é",
  "🦙",
);
const numbers = fc.constantFrom(0, -0, 1, -1, 1.5, 2, 100, 1e9, 2 ** 31, 2 ** 53, 1e308, -1e308);
const plain = fc.oneof(texts, numbers, fc.boolean(), fc.constant(null));
const odd = fc.oneof(
  { weight: 4, arbitrary: plain },
  { weight: 2, arbitrary: fc.array(plain, { maxLength: 4 }) },
  { weight: 1, arbitrary: fc.dictionary(texts, plain, { maxKeys: 3 }) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

interface Shape {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: Shape;
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Shape[];
}

/** What the schema allows, with odd values in it, and now and then what it doesn't. */
function valueOf(shape: Shape): fc.Arbitrary<unknown> {
  if (shape.anyOf !== undefined) return fc.oneof(...shape.anyOf.map(valueOf), odd);
  const fitting = ((): fc.Arbitrary<unknown> => {
    if (shape.enum !== undefined) return fc.constantFrom(...shape.enum);
    if (shape.type === "string") return texts;
    if (shape.type === "integer") return fc.oneof(fc.constantFrom(0, 1, 2, 256, 4096, 1e9), fc.nat());
    if (shape.type === "number") return fc.oneof(fc.constantFrom(0, 0.5, 1, 2), numbers);
    if (shape.type === "boolean") return fc.boolean();
    if (shape.type === "array") return fc.array(valueOf(shape.items ?? {}), { maxLength: 5 });
    if (shape.properties !== undefined) return argumentsOf(shape);
    return fc.dictionary(texts, plain, { maxKeys: 3 });
  })();
  return fc.oneof({ weight: 9, arbitrary: fitting }, { weight: 1, arbitrary: odd });
}

function argumentsOf({ properties = {}, required = [] }: Shape): fc.Arbitrary<Record<string, unknown>> {
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, shape]) => [
      name,
      required.includes(name) ? valueOf(shape) : fc.option(valueOf(shape), { nil: undefined, freq: 2 }),
    ]),
  );
  return fc
    .record(fields)
    .map((made) => Object.fromEntries(Object.entries(made).filter(([, value]) => value !== undefined)));
}

describe("a tool called with any arguments", () => {
  let base: string;
  let ollama: FakeOllama;
  let opened: OpenOrchestrator;
  let client: MemoryClient;

  beforeAll(async () => {
    base = await mkdtemp(path.join(tmpdir(), "ollm-fuzz-"));
    const [home, folder] = [path.join(base, "home"), path.join(base, "files")];
    await mkdir(home);
    await mkdir(path.join(folder, "sub"), { recursive: true });
    await writeFile(path.join(folder, "a.txt"), "Green.");
    await writeFile(path.join(folder, "a.gguf"), "GGUF and no more");
    ollama = await startFakeOllama();
    opened = await openOrchestrator({
      home,
      environment: {
        OLLM_HOST: ollama.url,
        OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false",
        OLLM_TEST_REGISTRY: "127.0.0.1:1",
      },
      flags: {},
      userHome: base,
      version: "0.0.0-test",
      writeLine: () => undefined,
    });
    client = await connectMemoryClient(opened.orchestrator, {
      fileRoots: [folder],
      toolSets: ["all"],
      patienceSeconds: 1,
      elicit: () => ({ action: "accept", content: { confirm: true } }),
    });
  });
  afterAll(async () => {
    await client.close();
    await opened.close();
    await ollama.close();
    await rm(base, { recursive: true, force: true });
  });

  it.each(tools.map(({ name, input }) => [name, input] as const))(
    "%s: never answers with an internal error",
    { timeout: 600_000 },
    async (name, input) => {
      const shape = z.toJSONSchema(input, { io: "input" }) as Shape;
      await fc.assert(
        fc.asyncProperty(
          fc.oneof({ weight: 9, arbitrary: argumentsOf(shape) }, { weight: 1, arbitrary: odd }),
          async (given) => {
            const { content, isError } = await client
              .call(name, given as Record<string, unknown>)
              .catch((error: unknown) => ({
                content: [{ type: "text" as const, text: String(error) }],
                isError: true,
              }));
            const told = content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
            expect(told, client.logged.at(-1)).not.toMatch(/internal error/i);
            if (isError === true) expect(told.trim()).not.toBe("");
          },
        ),
        { numRuns: runs, seed, endOnFailure: true },
      );
    },
  );
});
