import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startFakeOpenAi, type FakeOpenAi } from "../support/fake-openai.ts";
import { connectStdio, serverEnvironment, type StdioClient } from "../support/stdio-client.ts";

const key = "sk-Zq8aTw3Lk9Xv2Rb7Np4M";

let folder = "";
let home = "";
let cloud: FakeOpenAi;
let client: StdioClient | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-paid-"));
  home = path.join(folder, "home");
  await mkdir(home, { mode: 0o700 });
  cloud = await startFakeOpenAi({
    dialect: "cloud",
    apiKey: key,
    models: [{ id: "k2", reply: "Blue, like the sea." }],
  });
});
afterEach(async () => {
  await client?.close();
  await cloud.close();
  await rm(folder, { recursive: true, force: true });
});

async function configure(more: object): Promise<void> {
  const entry = {
    id: "kimi",
    kind: "cloud",
    baseUrl: cloud.baseUrl,
    prices: {
      inputPerMillion: 600,
      cachedInputPerMillion: 150,
      outputPerMillion: 2500,
      currency: "USD",
      date: "2026-11-22",
    },
    ...more,
  };
  const settings = {
    privacy: "allow_remote",
    providers: { ollama: { enabled: false }, llamaCpp: { enabled: false }, openai: [entry] },
  };
  // JSON is YAML.
  await writeFile(path.join(home, "config.yaml"), JSON.stringify(settings), { mode: 0o600 });
}

const connect = async (more: Record<string, string> = {}): Promise<StdioClient> =>
  (client = await connectStdio("modern", serverEnvironment({ HOME: folder, OLLM_HOME: home, ...more })));
const ask = (prompt: string, more: object = {}) =>
  (client as StdioClient).callTool("route_and_generate", { prompt, max_tokens: 50, explain: true, ...more });

interface Paid {
  readonly model: string;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly cost: { readonly amount: number; readonly currency: string; readonly date: string };
}

/** Everything that the home has on disk. */
async function homeText(): Promise<string> {
  const files = await readdir(home, { recursive: true, withFileTypes: true });
  const own = files.filter((file) => file.isFile() && !file.parentPath.includes("kimi-keys"));
  return (await Promise.all(own.map((file) => readFile(path.join(file.parentPath, file.name), "latin1")))).join("\n");
}

it("reports what two answers cost, keeps the sum over a restart, and stops at the budget", async () => {
  const file = path.join(folder, "kimi.key");
  await writeFile(file, `${key}\n`, { mode: 0o600 });
  await configure({ apiKeyFile: file, monthlyBudget: 0.5 });
  let spent = 0;
  for (const prompt of ["Name the colour of the sky.", "Name the colour of the sea, in a few words."]) {
    await connect();
    const result = await ask(prompt);
    const paid = result.structuredContent as Paid;
    // Nothing is cached in a conversation of one turn: 600 and 2500 dollars a million.
    const expected = (paid.prompt_tokens * 600 + paid.completion_tokens * 2500) / 1_000_000;
    expect(paid.cost).toEqual({ amount: expect.closeTo(expected, 9), currency: "USD", date: "2026-11-22" });
    expect(paid.cost.amount).toBeGreaterThan(0);
    expect(JSON.stringify(result.content)).toMatch(/k2[^"]*, 0\.\d+ USD/);
    spent += paid.cost.amount;
    await client?.close();
    const stored = JSON.parse(await readFile(path.join(home, "spending.json"), "utf8")) as {
      readonly months: readonly { readonly engine: string; readonly nanos: number }[];
    };
    expect(stored.months).toMatchObject([{ engine: "kimi", nanos: Math.round(spent * 1e9) }]);
  }
  await connect();
  const status = await (client as StdioClient).callTool("system_status", {});
  expect(JSON.stringify(status.content)).toMatch(/kimi: ok[^"]*0\.\d+ USD spent in \d{4}-\d\d of a budget of 0\.5 USD/);
  const asked = cloud.requests.length;
  const refused = await ask("Name the colour of the sky.", { max_tokens: 400 });
  expect(refused.isError).toBe(true);
  expect(JSON.stringify(refused.content)).toContain("of this month's budget of 0.5 USD are left");
  expect(cloud.requests.slice(asked).filter((request) => request.path === "/v1/chat/completions")).toEqual([]);
});

it.each([
  ["a file", {}],
  ["a variable", { OLLM_KIMI_KEY: key }],
])("shows a key from %s nowhere", async (where, variables) => {
  const file = path.join(folder, "kimi.key");
  await writeFile(file, key, { mode: 0o600 });
  await configure(where === "a file" ? { apiKeyFile: file } : { apiKeyEnv: "OLLM_KIMI_KEY" });
  await connect({ ...variables, OLLM_LOG_LEVEL: "debug" });
  const said: unknown[] = [await ask("Name the colour of the sky.")];
  expect((said[0] as { structuredContent: Paid }).structuredContent.model).toBe("k2");
  // The server repeats the key in its error.
  const body = { error: { message: `bad key ${key}`, type: "invalid", code: "x" } };
  cloud.misbehave({ kind: "status", status: 401, body, times: Number.POSITIVE_INFINITY, on: "*" });
  said.push(await ask("Name it again."));
  for (const tool of ["system_status", "list_models"]) said.push(await (client as StdioClient).callTool(tool, {}));
  for (const uri of ["ollm://status/ram", "ollm://models", "ollm://decisions"]) {
    said.push(await (client as StdioClient).readResource(uri));
  }
  expect(JSON.stringify(said)).not.toContain(key);
  await client?.close();
  expect(await homeText()).not.toContain(key);
});

describe("says what is wrong with", () => {
  const wrong: readonly (readonly [what: string, id: string, message: string])[] = [
    // Windows has no modes.
    ["a file that others can read", "open", "can be read by other users \\(mode 0644\\)"],
    ["a file that does not exist", "absent", "its key file .* does not exist"],
    ["a variable that is not set", "unset", "OLLM_NO with its key is not set"],
    ["a variable of another name", "foreign", "only variables named OLLM_"],
  ];
  // Services of one server, each with a key of its own and a model that no other has.
  let shared: StdioClient;
  let sharedFolder: string;
  beforeAll(async () => {
    sharedFolder = await mkdtemp(path.join(tmpdir(), "ollm-keys-"));
    const sharedHome = path.join(sharedFolder, "home");
    await mkdir(sharedHome, { mode: 0o700 });
    const file = path.join(sharedFolder, "kimi.key");
    await writeFile(file, key, { mode: 0o644 });
    const keys = {
      open: { apiKeyFile: file },
      absent: { apiKeyFile: `${file}s` },
      unset: { apiKeyEnv: "OLLM_NO" },
      foreign: { apiKeyEnv: "KIMI" },
    };
    const openai = Object.entries(keys).map(([id, where]) => ({
      id,
      kind: "cloud",
      baseUrl: "http://127.0.0.1:1/v1",
      models: [{ name: `model-of-${id}` }],
      ...where,
    }));
    const settings = {
      privacy: "allow_remote",
      providers: { ollama: { enabled: false }, llamaCpp: { enabled: false }, openai },
    };
    await writeFile(path.join(sharedHome, "config.yaml"), JSON.stringify(settings), { mode: 0o600 });
    shared = await connectStdio("modern", serverEnvironment({ HOME: sharedFolder, OLLM_HOME: sharedHome }));
  });
  afterAll(async () => {
    await shared.close();
    await rm(sharedFolder, { recursive: true, force: true });
  });

  it.each(wrong)("%s", async (_what, id, message) => {
    const status = await shared.callTool("system_status", {});
    expect(JSON.stringify(status.content)).toMatch(
      new RegExp(`\\b${id} was not asked while listing models: [^\\n]*?${message}`),
    );
    const answer = await shared.callTool("route_and_generate", {
      prompt: "Name the colour of the sky.",
      model: `model-of-${id}`,
    });
    expect(answer.isError).toBe(true);
    expect(JSON.stringify(answer)).not.toContain(key);
  });
});
