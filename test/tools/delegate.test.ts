import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { type MemoryClient, type MemoryClientOptions, connectMemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { writeFiles } from "../support/work-copy.ts";

let folder: string;
let root: string;
let connection: MemoryClient;
let requests: GenerationRequest[];
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "ollm-delegate-")));
  root = join(folder, "tree");
  await mkdir(join(folder, "home"));
  await writeFiles(root, { "a.txt": "one\n", "src/b.txt": "two\n", "node_modules/x/c.txt": "three\n" });
});
afterEach(async () => {
  await connection.close();
  await rm(folder, { recursive: true, force: true });
});

type Call = readonly [name: string, given: object];
const edit: Call = ["edit", { path: "a.txt", before: "one", after: "1" }];
const done: Call = ["done", { summary: "It is done." }];
const schema = { type: "object", required: ["x"] };

async function connect(calls: readonly Call[], more: MemoryClientOptions = {}, settings: object = {}) {
  requests = [];
  const tools = ["completion", "tools"] as const;
  const engine = createFakeEngine("ollama", [fakeModel("small", gigabyte, { capabilities: tools })]);
  engine.answer = (request) => {
    const [name, given] = calls[Math.min(requests.length, calls.length - 1)] ?? done;
    requests.push(request);
    return Promise.resolve({
      text: "",
      toolCalls: [{ id: `c${requests.length}`, name, arguments: JSON.stringify(given) }],
    });
  };
  const { orchestrator } = createTestOrchestrator([engine], { now: Date.now, settings });
  connection = await connectMemoryClient(orchestrator, {
    clientName: "claude-code",
    toolSets: ["all"],
    fileRoots: [root],
    homeDirectory: folder,
    configFile: join(folder, "home", "config.yaml"),
    ...more,
  });
}

async function delegated(input: object) {
  const begun = await connection.call("delegate", { task: "write 1", ...input });
  const { job } = begun.structuredContent as { readonly job?: string };
  expect(begun.isError ?? false, JSON.stringify(begun.content)).toBe(false);
  expect(job).toMatch(/^delegate-[0-9a-f]{8}$/);
  const waited = await connection.call("job", { action: "wait", job_id: job });
  const { result, error } = waited.structuredContent as { readonly result?: object; readonly error?: string };
  return { job, waited, result, error };
}

const textOf = ({ content }: { readonly content: unknown }): string =>
  (content as readonly { readonly text?: string }[]).map(({ text = "" }) => text).join("\n");
const works = () => readdir(join(folder, "home", "work")).catch(() => []);

describe("delegate", () => {
  it("is a job with a diff, which is applied when it is asked for", async () => {
    await connect([edit, done]);
    const { job, waited, result } = await delegated({});
    const results = `ollm://results/${job}`;
    expect(result).toEqual({
      state: "unverified",
      summary: expect.stringMatching(
        /^1 file changed, \+1 -1: a\.txt; not verified: no check was named; small, 2 turns, \d+ tokens; the model says: "It is done\."$/,
      ),
      diff: "a.txt:\n-one\n+1",
    });
    expect(JSON.stringify(result).length / 4).toBeLessThan(300);
    expect(textOf(waited)).toContain("not verified");
    expect(await readFile(join(root, "a.txt"), "utf8")).toBe("one\n");
    const { contents } = await connection.client.readResource({ uri: results });
    expect(JSON.parse((contents[0] as { text: string }).text)).toMatchObject({ path: "a.txt" });
    const applied = await connection.call("delegate", { apply: job });
    expect(textOf(applied)).toBe("applied to 1 file: a.txt");
    expect(await readFile(join(root, "a.txt"), "utf8")).toBe("1\n");
    expect(await works()).toEqual([]);
  });

  it("copies what is named, without what git and searches leave out", async () => {
    await connect([edit, done]);
    await delegated({ files: ["**/*.txt"] });
    expect(JSON.stringify(requests[0]?.messages)).toContain("src/b.txt");
    expect(JSON.stringify(requests[0]?.messages)).not.toContain("node_modules");
    const failed = await connection.call("delegate", { task: "x", files: ["../home"] });
    expect(textOf(failed)).toMatch(/belongs to ollm itself/);
  });

  it("is verified by a worker's schema, or handed back with what was tried", async () => {
    const write: Call = ["write", { path: "out.json", text: '{"x": 1}' }];
    const settings = { workers: { data: { schema, file: "out.json" } } };
    await connect([write, done], {}, settings);
    const { result } = await delegated({ worker: "data" });
    expect(result).toMatchObject({ state: "verified", summary: expect.stringContaining("verified by data") });
    await connection.close();
    await connect([["read", { path: "a.txt" }]], {}, settings);
    const second = await delegated({ worker: "data" });
    expect(second.result).toMatchObject({
      state: "do_it_yourself",
      summary: expect.stringMatching(
        /^Do this yourself: it went in circles.*the last run of data: there is no file out/,
      ),
      tried: expect.arrayContaining(["read a.txt: one"]),
    });
    expect(second.result).not.toHaveProperty("diff");
    const refused = await connection.call("delegate", { apply: second.job });
    expect(textOf(refused)).toContain("there are no changes of");
  });

  it("asks the user about a check that the call names, and runs none without a yes", async () => {
    const verify = ["npm", "test", "--", "a b"];
    const hash = createHash("sha256").update(JSON.stringify(verify)).digest("hex").slice(0, 16);
    const answers: boolean[] = [false];
    await connect([edit, done], {
      elicit: () => ({ action: "accept", content: { [`run_${hash}`]: answers[0] === true } }),
    });
    const refused = await connection.call("delegate", { task: "x", verify });
    expect(textOf(refused)).toContain("the user did not allow the check");
    expect(connection.questions).toEqual([
      `Run this check on a worker's copy of the files, without network and without your other files? npm test -- "a b"`,
    ]);
    expect([await works(), requests]).toEqual([[], []]);
    await connection.close();
    await connect([edit, done]);
    const unasked = await connection.call("delegate", { task: "x", verify });
    expect(textOf(unasked)).toContain("workers");
    expect([unasked.isError, await works()]).toEqual([true, []]);
  });

  it("takes an agent of Claude Code as a worker, with the tools that workers have", async () => {
    await writeFiles(folder, {
      ".claude/agents/tidy.md": "---\nname: tidy\ntools: Read, Edit, Bash\nmodel: opus\n---\nYou tidy texts.\n",
    });
    await connect([edit, done]);
    await delegated({ worker: "tidy" });
    const { messages = [], tools = [], model } = requests[0] ?? {};
    expect(messages[0]?.content).toContain("You tidy texts.");
    expect([tools.map(({ name }) => name), model]).toEqual([["read", "edit", "done"], "small"]);
    const unknown = await connection.call("delegate", { task: "x", worker: "../tidy" });
    expect(textOf(unknown)).toContain('no worker is named "../tidy" in the setting workers');
  });

  it("needs a task", async () => {
    await connect([edit]);
    expect(textOf(await connection.call("delegate", {}))).toContain("delegate needs a task");
    await writeFile(join(root, "a.txt"), "one\n");
  });
});
