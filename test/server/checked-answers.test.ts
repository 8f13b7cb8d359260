import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type FakeOllama, startFakeOllama } from "../support/fake-ollama.ts";
import { type FakeOpenAi, startFakeOpenAi } from "../support/fake-openai.ts";
import { type StdioClient, connectStdio, serverEnvironment } from "../support/stdio-client.ts";

const format = { type: "object", properties: { port: { type: "integer" } }, required: ["port"] };
const wrong = '{"port": "many"}';
/** As the server generates it for the schema. */
const right = '{"port":1}';

let folder = "";
let local: FakeOllama;
let cloud: FakeOpenAi;
let client: StdioClient;
/** Called with each prompt that the local model gets. */
let onPrompt: (prompt: string) => string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "ollm-checked-"));
  onPrompt = () => wrong;
  local = await startFakeOllama({
    models: [{ name: "smollm2:135m", reply: (prompt) => onPrompt(prompt), json: (prompt) => onPrompt(prompt) }],
  });
  cloud = await startFakeOpenAi({ dialect: "cloud", models: [{ id: "k2" }] });
});
afterEach(async () => {
  await client.close();
  await Promise.all([local.close(), cloud.close()]);
  await rm(folder, { recursive: true, force: true });
});

async function connect(privacy: "local_only" | "allow_remote", monthlyBudget: number): Promise<void> {
  const home = path.join(folder, "home");
  await mkdir(home, { mode: 0o700 });
  const prices = { inputPerMillion: 600, outputPerMillion: 2500, currency: "USD", date: "2026-11-22" };
  const settings = {
    privacy,
    providers: {
      llamaCpp: { enabled: false },
      openai: [{ id: "kimi", kind: "cloud", baseUrl: cloud.baseUrl, prices, monthlyBudget }],
    },
  };
  // JSON is YAML.
  await writeFile(path.join(home, "config.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const environment = serverEnvironment({ HOME: folder, OLLM_HOME: home, OLLAMA_HOST: local.url });
  client = await connectStdio("modern", environment);
}

const ask = (more: object = {}) =>
  client.callTool("route_and_generate", { prompt: "Which port?", max_tokens: 50, format, ...more });

it("JSON that the local model can't give comes from the cloud, with what was spent", async () => {
  await connect("allow_remote", 10);
  const { structuredContent, isError } = await ask({ explain: true });
  expect(isError).not.toBe(true);
  expect(structuredContent).toMatchObject({
    text: right,
    model: "k2",
    cost: { currency: "USD", amount: expect.any(Number) as number },
    notes: ["models answered 3 times for the check: the tokens and the cost are those of all"],
    route: {
      attempts: [
        { model: "smollm2:135m", outcome: expect.stringContaining("does not match the schema: /port") as string },
        { model: "k2", outcome: "answered" },
      ],
    },
  });
  expect(local.requests.filter(({ path: at }) => at === "/api/chat")).toHaveLength(2);
});

it.each([
  ["privacy", "local_only", 10],
  ["budget", "allow_remote", 0.000_001],
] as const)(
  "%s keeps it local: the error has the last text and the validator's message",
  async (_why, privacy, budget) => {
    await connect(privacy, budget);
    const { content, isError } = await ask();
    expect(isError).toBe(true);
    const text = JSON.stringify(content);
    expect(text).toContain("does not match the schema: /port: Instance type");
    expect(text).toMatch(/the last answer: .*many/);
    expect(cloud.requests.filter(({ path: at }) => at.endsWith("/chat/completions"))).toEqual([]);
  },
);

it("an engine that ends in the middle of a correction is followed by another one", async () => {
  await connect("allow_remote", 10);
  onPrompt = () => {
    local.misbehave({ kind: "drop", times: Number.POSITIVE_INFINITY });
    return wrong;
  };
  expect((await ask()).structuredContent).toMatchObject({ text: right, model: "k2" });
});

it("agree says in text and in data that no majority was found", async () => {
  let count = 0;
  onPrompt = () => `answer ${(count += 1)}`;
  await connect("local_only", 10);
  const { structuredContent, content } = await ask({ format: undefined, check: "agree", model: "smollm2:135m" });
  const problem = "no two of 3 answers agree; only smollm2:135m may be asked: do this yourself";
  expect(structuredContent).toMatchObject({ check: { kind: "agree", problem, votes: { equal: 1, total: 3 } } });
  expect(JSON.stringify(content)).toContain(problem);
});
