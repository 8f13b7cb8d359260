import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import type { BatchRequest, BatchStep, BatchSummary } from "../../../src/orchestrator/api/facade-batches.ts";
import type { GenerateRequest } from "../../../src/orchestrator/api/facade.ts";
import {
  fewestChanges,
  givenBy,
  listOf,
  stepNow,
  valueOf,
  withPrivacyOf,
} from "../../../src/orchestrator/compare/batch-steps.ts";
import type { KeptAnswer } from "../../../src/orchestrator/compare/batch-store.ts";
import { createJobFiles } from "../../../src/orchestrator/jobs/record.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { withInputs } from "../../../src/orchestrator/util/placeholders.ts";
import { type FakeEngine, createFakeEngine, createGate, fakeModel } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, small } from "./fixture.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-pipelines-"));
});
afterEach(() => rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }));

type Step = BatchStep<GenerateRequest>;

/** A step as a file has it, with `{{ … }}`. */
function step(name: string, prompt: string, more: Partial<Step> = {}): Step {
  return withInputs({ name, request: { prompt }, items: [{ name, path: name }], ...more }, {});
}

/** Answers with what the prompt says between brackets; else with the last line. */
const echoes: FakeEngine["answer"] = ({ messages }) => {
  const text = messages.at(-1)?.content ?? "";
  return Promise.resolve({ text: /\[\[([^]*?)\]\]/.exec(text)?.[1] ?? text.trim().split("\n").at(-1) ?? "" });
};

function daemon(answer: FakeEngine["answer"] = echoes, models = [small]) {
  const engine = createFakeEngine("ollama", models);
  const prompts: string[] = [];
  engine.answer = (request, ...rest) => {
    prompts.push(`${request.model}: ${request.messages.at(-1)?.content ?? ""}`);
    return answer(request, ...rest);
  };
  const folder = path.join(home, "jobs");
  const jobFiles = createJobFiles(folder, createDocumentFiles(folder));
  const harness = createTestOrchestrator([engine], { jobFiles, now: Date.now });
  const run = async (
    steps: readonly Step[],
    more: Partial<BatchRequest<GenerateRequest>> = {},
  ): Promise<BatchSummary> => {
    const caller = harness.caller();
    const operation = await harness.orchestrator.batches.start(caller, { pipeline: "test", steps, ...more });
    return operation.follow(caller.signal);
  };
  return { ...harness, engine, jobFiles, run, prompts };
}

describe("a pipeline", () => {
  it("gives each step what earlier ones answered, and ends with the text of the last", async () => {
    const { run, prompts } = daemon();
    const { text, steps, notes } = await run(
      [
        step("list", "Name two. [[- one\n- two]]"),
        step("each", "Say it.", { items: [], over: "{{ steps.list.items }}", isMany: true }),
        step("write", "Write of {{ steps.list.items }}", { input: ["{{ steps.each }}"] }),
      ].map((each) => withInputs(each, {})),
    );
    expect(steps).toMatchObject([
      { step: "list", counts: { asked: 1, done: 1 } },
      { step: "each", counts: { asked: 2, done: 2 } },
      { step: "write", counts: { asked: 1, done: 1 } },
    ]);
    expect(prompts[1]).toContain("one");
    expect(prompts[2]).toContain("two");
    expect(prompts[3]).toMatch(/## list 1: one\n[^]*## list 2: two\n[^]*Write of - one\n- two/);
    expect(text).toBe("- two");
    expect(notes).toEqual([]);
  });

  it("stops at a step that fails, and the same call continues there", async () => {
    let isTired = true;
    const { run, prompts, engine } = daemon((request, ...rest) => {
      if (isTired && request.messages.at(-1)?.content.includes("Second") === true) throw new GenerationFailed("tired");
      return echoes(request, ...rest);
    });
    const steps = [step("first", "First"), step("second", "Second {{ steps.first }}"), step("third", "Third")];
    const stopped = await run(steps);
    expect(stopped.notes).toEqual([expect.stringMatching(/^stopped at second: .*tired.*; the same call continues$/)]);
    expect(stopped.text).toBeUndefined();
    expect(stopped.steps).toHaveLength(2);
    isTired = false;
    prompts.length = 0;
    expect(engine.calls.length).toBeGreaterThan(0);
    const ended = await run(steps);
    expect(ended).toMatchObject({ id: stopped.id, text: "Third", notes: [], counts: { asked: 3, done: 3, kept: 1 } });
    expect(prompts).toHaveLength(2);
  });

  it("asks a later step again if an earlier one now gives more", async () => {
    let isTired = true;
    const { run } = daemon((request, ...rest) => {
      if (isTired && request.messages.at(-1)?.content.includes("text b") === true) throw new GenerationFailed("tired");
      return echoes(request, ...rest);
    });
    const items = ["a", "b"].map((name) => ({ name, path: name, text: `text ${name}` }));
    const steps = [step("each", "Copy", { items, isMany: true }), step("sum", "All: {{ steps.each.items }}")];
    const first = await run(steps);
    expect(first).toMatchObject({ text: "All: - Copy", counts: { done: 2, failed: 1 } });
    expect(first.failures).toEqual([expect.stringContaining("tired")]);
    isTired = false;
    expect(await run(steps)).toMatchObject({ text: "- Copy", counts: { asked: 3, done: 3 } });
  });

  it("ends with the step that was written last, whatever the order in which they ran", async () => {
    const { run } = daemon(({ model }) => Promise.resolve({ text: `by ${model}` }), [small, coder]);
    const of = (model: string, name: string) => ({ ...step(name, "Say"), request: { prompt: name, model } });
    const { text, steps } = await run([of(small.name, "a"), of(coder.name, "b"), of(small.name, "c")]);
    expect(steps.map((each) => each.step)).toEqual(["a", "c", "b"]);
    expect(text).toBe(`by ${small.name}`);
  });

  it("plans and runs a step that reads a field, or its list", async () => {
    const { run } = daemon((request, ...rest) => {
      const isFirst = request.messages.at(-1)?.content.startsWith("Sort") === true;
      return isFirst ? Promise.resolve({ text: '{"good":["x","y"],"why":"so"}' }) : echoes(request, ...rest);
    });
    const sorted = { ...step("sort", "Sort"), request: { prompt: "Sort", format: "json" as const } };
    const { text, steps } = await run([
      sorted,
      step("each", "Say it", { items: [], over: "{{ steps.sort.good }}", isMany: true }),
      step("why", "Why: {{ steps.sort.why }}", { input: ["{{ steps.sort.why }}"] }),
    ]);
    expect(text).toBe("Why: so");
    expect(steps[1]).toMatchObject({ step: "each", counts: { asked: 2 } });
  });

  it("keeps no texts once it has ended", async () => {
    const { run } = daemon();
    const files = [{ path: "a.txt", text: "the secret text" }];
    const { id } = await run([{ ...step("a", "x"), request: { prompt: "the secret prompt", files } }]);
    const folder = path.join(home, "jobs");
    const names = (await readdir(folder)).filter((name) => name.startsWith(id));
    const kept = await Promise.all(names.map((name) => readFile(path.join(folder, name), "utf8")));
    expect(kept.join("")).not.toContain("the secret text");
    expect(kept.join("")).toContain('"endedAt"');
  });

  it("refuses what takes from a step that isn't earlier", async () => {
    const { run } = daemon();
    await expect(run([step("a", "{{ steps.b }}"), step("b", "x")])).rejects.toThrow("no earlier step is named b");
  });

  it("skips a step whose condition says no, or that is given nothing, and says so", async () => {
    const { run, prompts } = daemon();
    const { notes, text } = await run(
      [
        step("judge", "Is it bad? [[No.]]"),
        step("mend", "Mend it", { when: "{{ steps.judge }}" }),
        step("more", "Tell more", { input: ["{{ steps.mend }}"] }),
        step("last", "The end"),
      ].map((each) => withInputs(each, {})),
    );
    expect(notes).toEqual(['mend was skipped: when is "No."', "more was skipped: mend gave nothing"]);
    expect(text).toBe("The end");
    expect(prompts).toHaveLength(2);
  });

  it.each([
    ["next model", 2, "coder says"],
    ["retry", 2, undefined],
    ["stop", 1, undefined],
    ["ask", 1, undefined],
  ] as const)("with on_fail %s asks %i times", async (onFail, count, said) => {
    const { run, prompts } = daemon(
      ({ model }) => {
        if (model === small.name) throw new GenerationFailed("it crashed");
        return Promise.resolve({ text: "coder says" });
      },
      [small, coder],
    );
    const only = { ...step("only", "Hello", { onFail }), request: { prompt: "Hello", task: "fast" as const } };
    const { text, asks, notes } = await run([only]);
    expect(text).toBe(said);
    expect(prompts.length).toBeGreaterThanOrEqual(count);
    expect(new Set(prompts.map((prompt) => prompt.split(": ")[0])).size).toBe(onFail === "next model" ? 2 : 1);
    expect(asks).toBe(onFail === "ask" ? "only" : undefined);
    expect(notes).toHaveLength(said === undefined ? 1 : 0);
  });

  it("goes on without a step that the user leaves out", async () => {
    const { run } = daemon(() => {
      throw new GenerationFailed("it crashed");
    });
    const steps = [step("only", "Hello", { onFail: "ask" })];
    expect((await run(steps)).asks).toBe("only");
    expect(await run(steps, { skip: ["only"] })).toMatchObject({ notes: ["only was skipped: as asked"] });
  });

  it("is continued at its step by the next daemon", async () => {
    const gate = createGate();
    const steps = [step("first", "First"), step("second", "Second {{ steps.first }}")];
    const first = daemon(async (request, sink, signal) => {
      if (request.messages.at(-1)?.content.includes("Second") === true) await gate.pass(signal);
      return echoes(request, sink, signal);
    });
    const operation = await first.orchestrator.batches.start(first.caller(), { pipeline: "test", steps });
    const outcome = operation.follow(new AbortController().signal).then(() => ({}));
    first.orchestrator.jobs.adopt(first.caller(), { tool: "run_pipeline", operation, outcome, errorText: String });
    await gate.entered;
    const second = daemon();
    await second.orchestrator.resume({
      ofPull: () => ({}),
      ofBatch: ({ text, pipeline }) => ({ text, pipeline }),
      ofError: String,
    });
    const job = await second.orchestrator.jobs.wait(second.caller(), operation.id, { maxWaitMs: 10_000 });
    expect(job).toMatchObject({ state: "succeeded", result: { text: "Second First", pipeline: "test" } });
    expect(second.prompts).toHaveLength(1);
    gate.open();
  });

  it("is planned in the order that loads the least, with what each step is expected to take", async () => {
    const { orchestrator, caller } = daemon(echoes, [small, coder]);
    const of = (model: string, name: string, needs = "") => ({
      ...step(name, `Say ${needs}`),
      request: { prompt: `Say ${needs}`, model },
    });
    const steps = [of(small.name, "a"), of(coder.name, "b"), of(small.name, "c"), of(coder.name, "d", "{{ steps.c }}")];
    const plan = await orchestrator.batches.plan(caller(), {
      pipeline: "test",
      steps: steps.map((each) => withInputs(each, {})),
    });
    expect(plan.map((each) => each.step)).toEqual(["a", "c", "b", "d"]);
    expect(plan.map(({ isLoad }) => isLoad)).toEqual([true, false, true, false]);
    expect(plan[0]).toMatchObject({ prompts: 1, model: small.name });
    expect(plan[0]?.promptTokens).toBeGreaterThan(0);
    expect(plan[0]?.seconds).toBeGreaterThan(0);
  });
});

const answer = (text: string, item = "x", state: KeptAnswer["state"] = "done"): KeptAnswer => ({
  step: "s",
  prompt: 0,
  item,
  state,
  text,
});

it.each([
  [
    ["a", "b", "a", "b"],
    [[], [], [], []],
    [0, 2, 1, 3],
  ],
  [
    ["a", "b", "a", "b"],
    [[], [0], [1], [2]],
    [0, 1, 2, 3],
  ],
  [
    ["b", "a", "b"],
    [[], [], [1]],
    [1, 0, 2],
  ],
  [
    ["a", "a"],
    [[1], []],
    [1, 0],
  ],
  [[], [], []],
])("the order of %j with needs %j is %j", (models, needs, order) => {
  expect(fewestChanges(models, needs)).toEqual(order);
});

it.each([
  ["- one\n- two", ["one", "two"]],
  ["1. one\n2) two\n", ["one", "two"]],
  ['["one","two"]', ["one", "two"]],
  ['{"issues":[{"id":1},{"id":2}]}', ['{"id":1}', '{"id":2}']],
  ['{"a":[1],"b":[2]}', ['{"a":[1],"b":[2]}']],
  ["", []],
])("the list in %j is %j", (text, list) => {
  expect(listOf({}, [answer(text)])).toEqual(list);
});

it("a value is a text, a list, or a field of JSON; what failed gives nothing", () => {
  const several = [answer("1", "a.txt"), answer("2", "b.txt", "doubtful"), answer("3", "c.txt", "failed")];
  const many = { isMany: true } as const;
  expect(valueOf(many, several)).toBe("## a.txt\n1\n\n## b.txt\n2");
  expect(valueOf(many, several, "items")).toBe("- 1\n- 2");
  const asked = [{ ...answer("1", "a.txt"), question: "Who?" }];
  expect(valueOf(many, asked)).toBe("## a.txt: Who?\n1");
  expect(listOf(many, [answer('{"kind":"bug","labels":["a","b"]}'), answer("", "", "failed")])).toHaveLength(1);
  expect(valueOf({}, [answer('{"verdict":"good","list":[1]}')], "verdict")).toBe("good");
  expect(valueOf({}, [answer('{"verdict":"good","list":[1]}')], "list")).toBe("[1]");
  expect(valueOf({}, [answer('{"verdict":"good"}')], "missing")).toBe("");
  expect(valueOf({}, [])).toBe("");
});

it("what files say is no placeholder, and what is too long for a prompt is refused", () => {
  const { input: _input, questions: _questions, ...own } = step("a", "{{ steps.b }}");
  const read = { ...own, items: [{ name: "f", path: "f", text: "{{ steps.b }} ${{ inputs.x }}" }] };
  const given = (text: string) => givenBy([{ step: { ...read, name: "b" }, answers: [answer(text)] }]);
  expect(stepNow(read, given("given"))).toMatchObject({
    request: { prompt: "given" },
    items: [{ text: "{{ steps.b }} ${{ inputs.x }}" }],
  });
  expect(() => stepNow(read, given("x".repeat(5_000_000)))).toThrow("longer than 4000000 characters");
  expect(() => withInputs("{{ inputs.a }}".repeat(100), { a: "x".repeat(100_000) })).toThrow("longer than");
  expect(withInputs("{{ inputs.a }}", { a: "\uE000b\uE001{{ steps.b }}" })).not.toContain("\uE000");
});

it("what comes of a private step stays here in all that follows", () => {
  const secret = { ...step("a", "x"), request: { prompt: "x", privacy: "local_only" as const } };
  const steps = [secret, step("b", "{{ steps.a }}"), step("c", "{{ steps.b }}"), step("d", "y")];
  const kept = steps.map(({ items, input: _input, questions: _questions, ...each }) => ({
    ...each,
    items: [...items],
  }));
  expect(withPrivacyOf(kept).map(({ request }) => request.privacy)).toEqual([
    "local_only",
    "local_only",
    "local_only",
    undefined,
  ]);
});

it("nothing goes elsewhere after a private step", async () => {
  const { orchestrator, caller } = (() => {
    const engine = Object.assign(createFakeEngine("far", [fakeModel("far", 0, { trust: "remote" })]), {
      trust: "remote" as const,
    });
    return createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
  })();
  const secret = { ...step("a", "x"), request: { prompt: "x", privacy: "local_only" as const } };
  await expect(
    orchestrator.batches.start(caller(), { pipeline: "p", steps: [secret, step("b", "{{ steps.a }}")] }),
  ).rejects.toThrow(/^step a: /);
});
