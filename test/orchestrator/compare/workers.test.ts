import { describe, expect, it } from "vitest";
import { type WorkerRequest, changedLines } from "../../../src/orchestrator/api/facade-batches.ts";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import type { Generation, GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createFakeWorkspace } from "../../support/fake-workspace.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const model = fakeModel("coder", gigabyte, { parameterSize: "1B", capabilities: ["completion", "tools"] });
const tests = { name: "tests", verify: ["node", "check.mjs"], timeout: 10 };

let calls = 0;
const call = (name: string, given: object): Partial<Generation> => ({
  text: "",
  toolCalls: [{ id: `call_${(calls += 1)}`, name, arguments: JSON.stringify(given) }],
});
const done = call("done", { summary: "I fixed it." });
const fix = call("edit", { path: "a.ts", before: "1", after: "2" });
const passes = (texts: ReadonlyMap<string, string>) =>
  texts.get("a.ts")?.includes("2") === true ? { passed: true, how: "exit code 0" } : { output: "expected 2" };

/** A worker whose model answers in turn, the last answer again and again. */
function setUp(answers: readonly (Partial<Generation> | Error)[], more: Partial<WorkerRequest> = {}) {
  const requests: GenerationRequest[] = [];
  const engine = createFakeEngine("ollama", [model]);
  engine.answer = (request) => {
    const answer = answers[Math.min(requests.length, answers.length - 1)] ?? {};
    requests.push(request);
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const fake = createFakeWorkspace({ "a.ts": "export const x = 1;\n", "b.ts": "" }, passes);
  const { orchestrator, caller } = createTestOrchestrator([engine]);
  const run = async () => {
    const request = { task: "make x 2", workspace: fake.workspace, ...more };
    const operation = (await orchestrator.workers()).start(caller(), request);
    return operation.follow(new AbortController().signal);
  };
  return { ...fake, requests, run, orchestrator };
}

describe("a worker", () => {
  it("is verified by a verifier that passed on its last change", async () => {
    const { run, requests, log } = setUp([done, fix, done], { verifier: tests });
    const delegated = await run();
    expect(delegated).toMatchObject({
      state: "verified",
      files: [{ path: "a.ts", kind: "changed", diff: expect.any(String) }],
      check: { passed: true, how: "exit code 0", name: "tests" },
      turns: 3,
      tried: [],
    });
    expect(delegated.summary).toBe(
      "1 file changed, +1 -1: a.ts; verified by tests (exit code 0); coder, 3 turns, 9 tokens",
    );
    // Before the first change, and after the last; a verdict of the same state is not made again.
    expect(log).toEqual(["run", "run", "keep"]);
    const { messages = [], tools = [], toolChoice } = requests[0] ?? {};
    expect(messages[0]?.content).toContain("node check.mjs");
    expect(messages[1]?.content).toContain("export const x = 1;");
    expect([tools.map(({ name }) => name), toolChoice]).toEqual([
      ["read", "grep", "list", "edit", "write", "done"],
      "required",
    ]);
    expect(JSON.stringify(requests[1]?.messages)).toContain("Not done: the check failed (exit code 1).");
  });

  it("is never verified without a verifier", async () => {
    const { run, log } = setUp([fix, done]);
    const delegated = await run();
    expect(delegated.state).toBe("unverified");
    expect(delegated.summary).toContain("not verified: no check was named");
    expect(log).toEqual(["keep"]);
  });

  it("says that the verifier passed before its change, too", async () => {
    const write = call("write", { path: "c.ts", text: "" });
    const both = setUp([write, done], { verifier: tests });
    both.texts.set("a.ts", "2");
    expect((await both.run()).summary).toContain("verified by tests (exit code 0), which passed before, too");
  });

  it("that changes nothing hands the task back, however the verifier ends", async () => {
    const { run, texts, log } = setUp([done], { verifier: tests });
    texts.set("a.ts", "2");
    const delegated = await run();
    expect(delegated).toMatchObject({ state: "do_it_yourself", files: [] });
    expect(delegated.summary).toMatch(/^Do this yourself: it went in circles/);
    expect(log.at(-1)).toBe("remove");
  });

  it.each([
    ["turns", { turns: 2 }, "its limit of 2 turns"],
    ["tokens", { tokens: 5 }, "its limit of 5 tokens of answers"],
  ])("ends at its limit of %s, with what was tried and the last failure", async (_what, limits, words) => {
    const grep = (text: string) => call("grep", { text });
    const { run } = setUp([grep("a"), grep("b"), grep("c"), grep("d")], { verifier: tests, limits });
    const delegated = await run();
    expect(delegated.state).toBe("do_it_yourself");
    expect(delegated.summary).toContain(`Do this yourself: ${words}`);
    expect(delegated.check).toMatchObject({ passed: false, output: "expected 2" });
    expect(delegated.tried).toContain("grep: No line contains it.");
  });

  it("does not write beyond its limits of bytes and files", async () => {
    const { run, texts } = setUp([call("write", { path: "b.ts", text: "x".repeat(50) }), fix, done], {
      limits: { bytes: 20, files: 1 },
    });
    await run();
    expect([texts.get("b.ts"), texts.get("a.ts")]).toEqual(["", "export const x = 2;\n"]);
  });

  it("is verified where a limit ended work that passes", async () => {
    const { run } = setUp([fix], { verifier: tests, limits: { turns: 1 } });
    expect((await run()).state).toBe("verified");
  });

  it("ends when the same call has the same result three times", async () => {
    const { run } = setUp([call("read", { path: "a.ts" })], { verifier: tests });
    const delegated = await run();
    expect(delegated).toMatchObject({ state: "do_it_yourself", turns: 3 });
    expect(delegated.summary).toContain("went in circles");
  });

  it("does not take another try for a circle, whose check fails in the same way", async () => {
    const next = (at: number) => call("write", { path: "b.ts", text: `${at}` });
    const { run } = setUp([1, 2, 3, 4].flatMap((at) => [next(at), done]).concat([fix, done]), { verifier: tests });
    expect(await run()).toMatchObject({ state: "verified", turns: 10 });
  });

  it("skips what the model wrote behind a call of done that failed", async () => {
    const both = [done, fix, done].flatMap(({ toolCalls = [] }) => toolCalls);
    const { run, requests } = setUp([{ text: "", toolCalls: both }, fix, done], { verifier: tests });
    expect(await run()).toMatchObject({ state: "verified", turns: 3 });
    expect(JSON.stringify(requests[1]?.messages).match(/Skipped/g)).toHaveLength(2);
  });

  it("asks again after answers without a call, and gives up after three", async () => {
    const { run } = setUp([{ text: "I can't." }], { verifier: tests });
    const delegated = await run();
    expect(delegated.summary).toContain("3 answers in a row had no usable call of a tool");
  });

  it("goes on after a call that did not match, and uses no tool that it was not given", async () => {
    const other = call("write", { path: "c.ts", text: "" });
    const { run, texts } = setUp([other, other, fix, done], { verifier: tests, tools: ["read", "edit"] });
    expect((await run()).state).toBe("verified");
    expect(texts.has("c.ts")).toBe(false);
  });

  it("tells the model what was refused", async () => {
    const { run, requests } = setUp([call("read", { path: "../secret" }), fix, done], { verifier: tests });
    await run();
    expect(JSON.stringify(requests.at(-1)?.messages)).toContain("Error: there is no file ../secret");
  });

  it("hands the task back when the model fails later, and fails when it can't be asked at all", async () => {
    const lost = new EngineUnreachable("ollama does not respond");
    const later = setUp([call("list", {}), lost], { verifier: tests });
    expect((await later.run()).summary).toContain("Do this yourself: the model could not be asked");
    const never = setUp([lost], { verifier: tests });
    await expect(never.run()).rejects.toThrow("ollama does not respond");
    expect(never.log.at(-1)).toBe("remove");
  });

  it("compares a file with a schema", async () => {
    const schema = { type: "object", required: ["x"], properties: { x: { type: "number" } } };
    const data = { name: "data", schema, file: "r.json", timeout: 1 };
    const write = (text: string) => call("write", { path: "r.json", text });
    const { run, requests } = setUp([write("{}"), done, write('{"x": 2}'), done], { verifier: data });
    const delegated = await run();
    expect(delegated).toMatchObject({ state: "verified", check: { how: "r.json matches its schema" } });
    expect(JSON.stringify(requests[2]?.messages)).toContain("r.json does not match its schema");
  });
});

it("lets a question to the same model go before the next turn of two workers", async () => {
  const order: string[] = [];
  const engine = createFakeEngine("ollama", [model]);
  const gate = createGate();
  engine.answer = async ({ messages }) => {
    const text = messages.map(({ content }) => content).join();
    const [who = ""] = /worker \d|question/.exec(text) ?? [];
    order.push(who);
    if (who === "question") return { text: "4" };
    await gate.pass();
    return order.filter((each) => each === who).length > 2
      ? done
      : call("edit", { path: "a.ts", before: "1", after: "1" });
  };
  const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
  const ends = await Promise.all(
    [1, 2].map(async (at) => {
      const { workspace } = createFakeWorkspace({ "a.ts": "1" }, passes);
      const request = { task: `worker ${at}`, workspace: { ...workspace, id: `delegate-0000000${at}` } };
      return (await orchestrator.workers()).start(caller({ id: `caller ${at}` }), request);
    }),
  );
  await gate.entered;
  const question = generate({ prompt: "question", model: model.name });
  await expect.poll(() => orchestrator.activity().operations.length).toBe(3);
  // Its request is in the queue a turn of the event loop later.
  await new Promise((resolve) => setImmediate(resolve));
  gate.open();
  await Promise.all([question, ...ends.map((each) => each.follow(new AbortController().signal))]);
  const before = order.slice(0, order.indexOf("question"));
  // One answer of each may have begun already.
  expect(before.length).toBeLessThanOrEqual(2);
});

it("ends at its limit of seconds before it asks", async () => {
  const { run, requests } = setUp([fix], { limits: { seconds: 0 } });
  expect((await run()).summary).toContain("Do this yourself: its limit of 0 seconds was reached");
  expect(requests).toEqual([]);
});

it("counts as circles what came of the newest step alone", async () => {
  const read = call("read", { path: "a.ts" });
  const { run } = setUp([read, read, call("list", {}), fix, done], { verifier: tests });
  expect(await run()).toMatchObject({ state: "verified", turns: 5 });
});

it("tells the changed lines of a diff from its headers, whatever they begin with", () => {
  const diff = [
    "diff --git a/a.sql b/a.sql",
    "index 1..2 100644",
    "--- a/a.sql",
    "+++ b/a.sql",
    "@@ -1,3 +1,2 @@",
    "--- a comment of SQL",
    "+++ x",
    " same",
    "",
  ].join("\n");
  expect(changedLines(diff)).toEqual(["--- a comment of SQL", "+++ x"]);
  expect(changedLines("(no diff: git was not found)")).toEqual([]);
});
