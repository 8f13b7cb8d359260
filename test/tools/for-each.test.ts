import { mkdir, mkdtemp, readFile, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type MemoryClient, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

let root: string;
let connection: MemoryClient;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "ollm-for-each-")));
  for (const name of ["a", "b", "c"]) await writeFile(join(root, `${name}.md`), `This is ${name}.`);
  const engine = createFakeEngine("ollama", [fakeModel("small", gigabyte)]);
  engine.answer = ({ messages }) => {
    const text = messages.at(-1)?.content ?? "";
    return Promise.resolve({
      text: text.includes("each.md") ? "All three." : `It is ${/This is (\w)/.exec(text)?.[1]}.`,
    });
  };
  const { orchestrator } = createTestOrchestrator([engine], { now: Date.now });
  // A patient client gets a job, too.
  connection = await connectMemoryClient(orchestrator, { clientName: "claude-code", fileRoots: [root] });
});
afterEach(async () => {
  await connection.close();
  await rm(root, { recursive: true, force: true });
});

async function answered(input: object) {
  const begun = await connection.call("route_and_generate", { prompt: "What is it?", ...input });
  const { job } = begun.structuredContent as { readonly job?: string };
  expect(begun.isError ?? false, JSON.stringify(begun.content)).toBe(false);
  expect(job).toMatch(/^batch-[0-9a-f]{12}$/);
  const waited = await connection.call("job", { action: "wait", job_id: job });
  return { job, waited, ...(waited.structuredContent as { readonly result: object }) };
}

it("is a job from its start, whose answer is a summary with a link to all answers", async () => {
  const { job, waited, result } = await answered({ for_each: { of: ["*.md"] } });
  const uri = `ollm://results/${job}`;
  expect(result).toEqual({
    model: "small",
    results: uri,
    for_each: {
      counts: {
        asked: 3,
        done: 3,
        seconds: 0,
        prompt_tokens: expect.any(Number),
        completion_tokens: expect.any(Number),
      },
      examples: ["a.md: It is a.", "b.md: It is b.", "c.md: It is c."],
    },
  });
  expect(waited.content).toMatchObject([
    {
      type: "text",
      text: expect.stringMatching(
        /^3 of 3 answered by small in 0 ms; \d+ tokens read, \d+ written\na\.md: It is a\.\n/,
      ),
    },
    { type: "resource_link", uri, mimeType: "application/jsonl" },
  ]);
  const { contents } = await connection.client.readResource({ uri });
  expect(contents).toMatchObject([{ mimeType: "application/jsonl" }]);
  const [found] = contents as { readonly text: string }[];
  expect(
    found?.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toMatchObject([
    { item: "a.md", state: "done", text: "It is a.", model: "small" },
    { item: "b.md", text: "It is b." },
    { item: "c.md", text: "It is c." },
  ]);
});

it("costs an assistant at most 200 tokens for 200 texts", async () => {
  for (let at = 0; at < 200; at += 1) await writeFile(join(root, `file-${at}.txt`), "This is x. ".repeat(90));
  const { waited } = await answered({ for_each: { of: ["*.txt"] } });
  const { encode } = await import("gpt-tokenizer/encoding/o200k_base");
  const texts = waited.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
  expect(encode(texts).length).toBeLessThanOrEqual(200);
  expect(encode(JSON.stringify(waited.structuredContent)).length).toBeLessThanOrEqual(200);
});

it("writes all answers to a new file, or each to a file of its own in a folder", async () => {
  expect((await answered({ for_each: { of: ["*.md"] }, output_path: "all.jsonl" })).result).toMatchObject({
    output_path: join(root, "all.jsonl"),
  });
  expect((await readFile(join(root, "all.jsonl"), "utf8")).split("\n")).toHaveLength(4);
  await mkdir(join(root, "answers"));
  await answered({ for_each: { of: ["a.md", "b.md"] }, output_path: "answers/" });
  expect(await readdir(join(root, "answers"))).toEqual(["a.md.md", "b.md.md"]);
  expect(await readFile(join(root, "answers", "b.md.md"), "utf8")).toBe("It is b.");
  const { result } = await answered({ for_each: { of: ["a.md", "b.md", "c.md"] }, output_path: "answers/" });
  expect(result).toMatchObject({ notes: [expect.stringMatching(/^2 files in .*answers left as they were/)] });
  expect(await readdir(join(root, "answers"))).toEqual(["a.md.md", "b.md.md", "c.md.md"]);
});

it("asks about all answers, and says which text is the longest before it asks", async () => {
  expect((await answered({ for_each: { of: ["*.md"], reduce: "Sum up." } })).result).toMatchObject({
    text: "All three.",
  });
  const planned = await connection.call("route_and_generate", {
    prompt: "?",
    dry_run: true,
    for_each: { of: ["*.md"] },
  });
  expect(planned.structuredContent).toMatchObject({ notes: ["for the longest of 3 texts, a.md"] });
});

it.each([
  [{ for_each: { of: ["/etc/hostname"] } }, "outside the allowed folders"],
  [{ for_each: { of: ["*.zip"] } }, "matches no file"],
  [{ for_each: { of: [] } }, "there is nothing to ask about"],
  [{ for_each: { of: ["a.md"], each: "row" } }, "a.md has no rows"],
  [{ for_each: { of: ["a.md"] }, output_path: "b.md" }, "b.md"],
  [{ for_each: { of: ["a.md"], questions: ["Why?"] } }, "questions stand in place of prompt and template"],
  [{ for_each: { of: ["a.md"], when: "later" } }, "allowed: now, idle"],
  [{ for_each: { of: ["a.md"] }, model: "nope" }, "no model nope"],
])("refuses %j before it begins", async (input, text) => {
  const { isError, content } = await connection.call("route_and_generate", {
    prompt: "?",
    ...input,
  });
  expect(isError).toBe(true);
  expect(content).toMatchObject([{ text: expect.stringContaining(text) }]);
});
