import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { expect, it, onTestFinished } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const text = `Three things changed in "src/queue.ts":
- A request that waits longer than \`maxWaitMs\` is refused with \`QueueFull\`, and its caller is told when to try again.
- The queue's position is reported once a second, no longer at each change.
- Requests in the background give way at once: they are resumed with the text that they had ("paused").
`.repeat(5);

interface Row {
  readonly task: string;
  readonly client: string;
  readonly kind: string;
  readonly tokens: number;
  readonly amount: number;
}

/** The rows and the sums of the ledger. */
async function moneyOf({ client }: MemoryClient) {
  const { contents } = await client.readResource({ uri: "ollm://metrics" });
  const { money } = JSON.parse((contents[0] as { text: string }).text) as {
    money: { rows: Row[]; total: Readonly<Record<string, number>> };
  };
  return money;
}

/** The rows of the ledger after two answers for a client of that name, and the tokens of the form that its model gets. */
async function ledgerOf(clientName: string, isStructured: boolean) {
  const engine = createFakeEngine("ollama", [fakeModel("small:1b", gigabyte)]);
  engine.answer = async () => ({ text });
  const { orchestrator } = createTestOrchestrator([engine]);
  onTestFinished(() => orchestrator.close());
  const connection = await connectMemoryClient(orchestrator, { clientName });
  onTestFinished(() => connection.close());
  let sent = 0;
  for (const question of ["What changed?", "And what else?"]) {
    const answer = await connection.call("route_and_generate", { prompt: question, task: "code" });
    const texts = answer.content.map((part) => (part.type === "text" ? part.text : "")).join("\n");
    sent += countTokens(isStructured ? JSON.stringify(answer.structuredContent) : texts);
  }
  // No answer of a model.
  await connection.call("list_models");
  await connection.call("smart_load", { model: "small:1b" });
  await connection.call("route_and_generate", { prompt: "What changed?", task: "code", dry_run: true });
  return { ...(await moneyOf(connection)), sent };
}

it.each([
  ["claude-code", true],
  ["codex-mcp-client", true],
  ["copilot-cli", true],
  ["@cline/core", true],
  ["qwen-cli-mcp-client-ollm", true],
  ["opencode", false],
  ["gemini-cli-mcp-client", false],
])("what %s reads of answers is subtracted, in the form that its model gets", async (name, isStructured) => {
  const { rows, total, sent } = await ledgerOf(name, isStructured);
  const read = rows.find(({ kind }) => kind === "read");
  expect(read).toMatchObject({ client: name, task: "code" });
  // Estimated: by at most a tenth less, and a quarter more, than o200k has.
  expect(read?.tokens).toBeGreaterThan(0.9 * sent);
  expect(read?.tokens).toBeLessThan(1.25 * sent);
  expect(total["read_tokens"]).toBe(read?.tokens);
  const sum = rows.reduce((all, { amount }) => all + amount, 0);
  expect(total["saved"]).toBeCloseTo(sum, 9);
  const [given, written] = ["prompt", "answer"].map((kind) => rows.find((row) => row.kind === kind)?.amount ?? 0);
  expect(read?.amount).toBeCloseTo(-(read?.tokens ?? 0) * 2e-6, 9);
  expect(total["saved"]).toBeLessThan((given ?? 0) + (written ?? 0));
});

it("nothing is subtracted for the shell, whose user reads the answer", async () => {
  const { rows, total } = await ledgerOf("ollm", false);
  expect(rows.map(({ kind }) => kind)).toEqual(["prompt", "answer"]);
  expect(total["read_tokens"]).toBe(0);
});

/** A client in whose folder are two texts, with an engine that answers when `isOpen` resolves. */
async function listening(clientName: string, isOpen = Promise.resolve()) {
  const root = await mkdtemp(join(tmpdir(), "ollm-read-"));
  onTestFinished(() => rm(root, { recursive: true }));
  for (const name of ["a", "b"]) await writeFile(join(root, `${name}.md`), "A heron.");
  const engine = createFakeEngine("ollama", [fakeModel("small:1b", gigabyte)]);
  engine.answer = async () => {
    await isOpen;
    return { text };
  };
  const { orchestrator } = createTestOrchestrator([engine], { now: Date.now });
  onTestFinished(() => orchestrator.close());
  const connection = await connectMemoryClient(orchestrator, { clientName, fileRoots: [root] });
  onTestFinished(() => connection.close());
  const input = { prompt: "What is it?", for_each: { of: ["*.md"] } };
  return {
    connection,
    beginList: async () => {
      const { structuredContent } = await connection.call("route_and_generate", input);
      return (structuredContent as { readonly job: string }).job;
    },
    readTokens: async () => (await moneyOf(connection)).total["read_tokens"] ?? 0,
    tokensIn: async (uri: string) => {
      const [content] = (await connection.client.readResource({ uri })).contents as { readonly text: string }[];
      return countTokens(content?.text ?? "");
    },
  };
}

it.each(["opencode", "claude-code"])("%s reads the answers of a list as often as their resource", async (name) => {
  const { connection, beginList, readTokens, tokensIn } = await listening(name);
  const job = await beginList();
  await connection.call("job", { action: "wait", job_id: job });
  const uri = `ollm://results/${job}`;
  const before = await readTokens();
  expect(before).toBeGreaterThan(0);
  await connection.client.subscribeResource({ uri });
  expect(await readTokens()).toBe(before);
  const sent = await tokensIn(uri);
  const once = (await readTokens()) - before;
  expect(once).toBeGreaterThan(0.9 * sent);
  expect(once).toBeLessThan(1.25 * sent);
  await tokensIn(uri);
  expect(await readTokens()).toBe(before + 2 * once);
  const whole = await tokensIn(`ollm://jobs/${job}`);
  expect(await readTokens()).toBeGreaterThan(before + 2 * once + 0.8 * whole);
});

it("nothing is subtracted for a resource that the shell reads", async () => {
  const { connection, beginList, readTokens, tokensIn } = await listening("ollm");
  const job = await beginList();
  await connection.call("job", { action: "wait", job_id: job });
  expect(await tokensIn(`ollm://results/${job}`)).toBeGreaterThan(100);
  expect(await readTokens()).toBe(0);
});

it("nothing is subtracted for the resource of a job that still runs: a program follows it", async () => {
  let open = (): void => undefined;
  const isOpen = new Promise<void>((resolve) => (open = resolve));
  const { connection, beginList, readTokens, tokensIn } = await listening("opencode", isOpen);
  const job = await beginList();
  expect(await tokensIn(`ollm://jobs/${job}`)).toBeGreaterThan(10);
  await tokensIn(`ollm://results/${job}`);
  expect(await readTokens()).toBe(0);
  open();
  await connection.call("job", { action: "wait", job_id: job });
  expect(await readTokens()).toBeGreaterThan(0);
});
