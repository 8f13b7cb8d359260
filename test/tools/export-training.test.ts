import { mkdtemp, readFile, readdir, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

let root: string;
let connection: MemoryClient;
let questions: string[];
const password = "hunter2-4711";

async function connect(clientName: string, isAgreed?: boolean): Promise<void> {
  const engine = createFakeEngine("ollama", [fakeModel("small", gigabyte)]);
  const { orchestrator, generate, caller } = createTestOrchestrator([engine], {
    now: Date.now,
    settings: { training: { tasks: ["code"] } },
  });
  for (const prompt of ["Sort my list", `The password: ${password}`]) {
    await generate({ prompt, task: "code" });
    await orchestrator.comparisons.rate(caller(), { task: "code", model: "small", isGood: true });
  }
  connection = await connectMemoryClient(orchestrator, {
    clientName,
    fileRoots: [root],
    toolSets: ["all"],
    ...(isAgreed !== undefined && {
      elicit(message: string) {
        questions.push(message);
        return isAgreed ? { action: "accept" as const, content: { confirm: true } } : { action: "decline" as const };
      },
    }),
  });
}

beforeEach(async () => {
  questions = [];
  root = await realpath(await mkdtemp(join(tmpdir(), "ollm-training-")));
});
afterEach(async () => {
  await connection.close();
  await rm(root, { recursive: true, force: true });
});

it("tells an assistant counts, kinds of secrets and places, never a text", async () => {
  await connect("claude-code");
  const answer = await connection.call("export_training", { dry_run: true });
  expect(answer.structuredContent).toEqual({
    lines: 1,
    by_task: { code: 1 },
    by_source: { rated: 1 },
    by_model: { small: 1 },
    refused: [
      {
        place: expect.stringMatching(/^small, code, .*line 1 of the question$/),
        reason: expect.stringContaining("a password"),
      },
    ],
    refused_total: 1,
  });
  expect(JSON.stringify(answer)).not.toMatch(/Sort my list|hunter2/);
});

it("writes nothing and deletes nothing for an assistant unless the user agrees", async () => {
  await connect("claude-code");
  for (const input of [{ output_path: join(root, "t.jsonl") }, { action: "forget" }]) {
    const answer = await connection.call("export_training", input);
    expect(answer.isError).toBe(true);
    expect(JSON.stringify(answer.content)).toContain("Only the user can decide this.");
  }
  expect(await readdir(root)).toEqual([]);
  const { structuredContent } = await connection.call("export_training", { dry_run: true });
  expect(structuredContent).toMatchObject({ lines: 1 });
});

it("asks the user of an assistant that can ask, and does what they say", async () => {
  await connect("claude-code", false);
  const file = join(root, "t.jsonl");
  expect(await connection.call("export_training", { output_path: file })).toMatchObject({ isError: true });
  expect(questions).toEqual([`Write 1 conversation to ${file}?`]);
  expect(await readdir(root)).toEqual([]);
  await connection.close();

  await connect("claude-code", true);
  const written = await connection.call("export_training", { output_path: file });
  expect(written.structuredContent).toMatchObject({ lines: 1, output_path: file });
  expect(JSON.stringify(written)).not.toContain("Sort my list");
  expect((await readdir(root)).toSorted()).toEqual(["t.card.md", "t.jsonl"]);
  const { structuredContent } = await connection.call("export_training", { action: "forget" });
  expect([structuredContent, questions.at(-1)]).toEqual([{ forgotten: 2 }, "Delete all recorded answers?"]);
});

it("writes lines and a card beside them for the shell, and overwrites neither", async () => {
  await connect("ollm");
  const file = join(root, "t.jsonl");
  const answer = await connection.call("export_training", { output_path: file, format: "sharegpt" });
  expect(answer.structuredContent).toMatchObject({ lines: 1, output_path: file, card_path: join(root, "t.card.md") });
  const text = await readFile(file, "utf8");
  expect(text).toMatch(
    /^\{"conversations":\[\{"from":"human","value":"Sort my list"\},\{"from":"gpt","value":"[^"]+"\}\]\}\n$/,
  );
  const card = await readFile(join(root, "t.card.md"), "utf8");
  expect(card).toMatch(
    /^# t\.jsonl\n\n1 conversation in ShareGPT's format, one a line, exported by ollm\. The answers are of 20/,
  );
  expect(card).toContain("| source | rated | 1 |\n| model | small | 1 |");
  expect(card).toMatch(/- 1: it looks like it has a password/);
  expect(card).toContain("`ollm export --training --forget` deletes recorded answers");
  expect(card).not.toContain(password);
  expect(await connection.call("export_training", { output_path: file })).toMatchObject({ isError: true });
  const other = { output_path: join(root, "t.json") };
  expect(await connection.call("export_training", other)).toMatchObject({ isError: true });
  expect((await readdir(root)).toSorted()).toEqual(["t.card.md", "t.jsonl"]);
  expect(
    await connection.call("export_training", { tasks: ["creative"], output_path: join(root, "c.jsonl") }),
  ).toMatchObject({
    isError: true,
    content: [{ text: expect.stringContaining("there is no answer to train with yet") }],
  });
});
