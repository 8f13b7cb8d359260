import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cancelled, EngineUnreachable, GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import type { BatchItem, BatchRequest, BatchStep, BatchSummary } from "../../../src/orchestrator/api/facade-batches.ts";
import type { GenerateRequest, GenerateResult } from "../../../src/orchestrator/api/facade.ts";
import { answerOf } from "../../../src/orchestrator/compare/batch-run.ts";
import { waitsFor } from "../../../src/orchestrator/compare/batch-steps.ts";
import { stepMark } from "../../../src/orchestrator/util/placeholders.ts";
import { createJobFiles } from "../../../src/orchestrator/jobs/record.ts";
import { itemsOf } from "../../../src/orchestrator/reading/items.ts";
import { createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { type FakeEngine, createFakeEngine, createGate, fakeModel } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, small } from "./fixture.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-batches-"));
});
afterEach(() => rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }));

const texts = Array.from({ length: 6 }, (_, at) => ({ path: `${at}.txt`, text: `The number is ${at * 11}.` }));
const step: BatchStep<GenerateRequest> = {
  name: "each",
  request: { prompt: "Copy the number." },
  items: itemsOf(texts),
  isMany: true,
};
const batch: BatchRequest<GenerateRequest> = { steps: [step] };
const addUp = {
  name: "reduce",
  request: { prompt: "Add up." },
  items: [{ name: "reduce", path: "reduce" }],
  input: [stepMark("each")],
};

/** Answers with the number of the text. */
const copies: FakeEngine["answer"] = ({ messages }) => {
  const [, number = "?"] = /number is (\d+)/.exec(messages.at(-1)?.content ?? "") ?? [];
  return Promise.resolve({ text: number });
};

function daemon(
  models = [small],
  answer: FakeEngine["answer"] = copies,
  more: Partial<FakeEngine> = {},
  settings = {},
) {
  const engine = Object.assign(createFakeEngine("ollama", models), more);
  engine.answer = answer;
  const folder = path.join(home, "jobs");
  const jobFiles = createJobFiles(folder, createDocumentFiles(folder));
  const harness = createTestOrchestrator([engine], { jobFiles, now: Date.now, settings });
  const { batches } = harness.orchestrator;
  const run = async (given: Partial<typeof step> = {}, ...after: readonly (typeof step)[]): Promise<BatchSummary> => {
    const caller = harness.caller();
    return (await batches.start(caller, { steps: [{ ...step, ...given }, ...after] })).follow(caller.signal);
  };
  const results = async (id: string) =>
    (await batches.results(harness.caller(), id)).map(({ item, text }) => [item, text]);
  return { ...harness, engine, jobFiles, run, results };
}

const all = texts.map(({ path: name }, at) => [name, String(at * 11)]);
const asked = ({ calls }: FakeEngine): number => calls.filter((call) => call.startsWith("generate")).length;

describe("a batch", () => {
  it("asks about each text with one model, and keeps each answer", async () => {
    const { run, results, engine } = daemon([small, coder]);
    const summary = await run();
    expect(summary).toMatchObject({
      counts: { asked: 6, done: 6 },
      notes: [],
    });
    expect(summary.models).toHaveLength(1);
    expect(await results(summary.id)).toEqual(all);
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
  });

  it("asks several questions about each text in sequence", async () => {
    const prompts: string[] = [];
    const { run, orchestrator, caller } = daemon([small], ({ messages }) => {
      prompts.push(messages.at(-1)?.content ?? "");
      return Promise.resolve({ text: "NOT STATED." });
    });
    const summary = await run({ questions: ["Which number?", "Which colour?"] });
    expect(summary.counts).toMatchObject({ empty: 12 });
    const [one, other] = prompts.filter((prompt) => prompt.includes("number is 0"));
    expect(one).toMatch(/number is 0[^]*Which number\?\nIf the text does not say, answer only: NOT STATED/);
    expect(other).toMatch(/number is 0[^]*Which colour\?/);
    const [first, second] = await orchestrator.batches.results(caller(), summary.id);
    expect([first, second]).toMatchObject([
      { item: "0.txt", question: "Which number?", state: "empty" },
      { item: "0.txt", question: "Which colour?" },
    ]);
  });

  it("tries a sample, spread over all, and then asks about the rest only", async () => {
    const { run, engine } = daemon();
    expect(await run({ sample: 3 })).toMatchObject({ counts: { asked: 3, done: 3 } });
    expect(await run({ limit: 4 })).toMatchObject({ counts: { asked: 4, done: 4, kept: 2 } });
    expect(await run()).toMatchObject({ counts: { asked: 6, done: 6, kept: 5 } });
    expect(asked(engine)).toBe(6);
  });

  it("asks another model about what the first one failed at, afterwards", async () => {
    const { run, orchestrator, caller } = daemon([small, coder], ({ model, messages, ...rest }, ...more) => {
      const isHard = messages.at(-1)?.content.includes("number is 22") === true;
      if (model === small.name && isHard) throw new GenerationFailed("it crashed");
      return copies({ model, messages, ...rest }, ...more);
    });
    const summary = await run({ request: { prompt: "Copy the number.", task: "fast" } });
    expect(summary.counts).toMatchObject({ asked: 6, done: 6 });
    expect(await orchestrator.batches.results(caller(), summary.id)).toHaveLength(6);
  });

  it("leaves what a refusing engine did not answer open, and the same call continues", async () => {
    let isDown = false;
    const { run, results, engine } = daemon([small], (...given) => {
      if (isDown) throw new EngineUnreachable("connection refused");
      isDown = asked(engine) >= 2;
      return copies(...given);
    });
    const stopped = await run();
    expect(stopped.counts["done"]).toBeGreaterThan(0);
    expect(stopped.counts["done"]).toBeLessThan(6);
    expect(stopped.notes).toEqual([expect.stringMatching(/^stopped: .*; the same call continues$/)]);
    engine.answer = copies;
    await expect.poll(async () => (await run()).counts["done"], { timeout: 20_000, interval: 500 }).toBe(6);
    expect(await results(stopped.id)).toEqual(all);
  });

  it("stops where all of the first answers fail", async () => {
    const { run } = daemon([small], () => {
      throw new GenerationFailed("it writes nothing");
    });
    const { counts, notes } = await run({ request: { prompt: "Copy.", model: small.name } });
    expect(counts).toMatchObject({ done: 0, failed: 5 });
    expect(notes).toEqual([expect.stringContaining("the first 5 answers failed")]);
  });

  it.each(["closed", "killed"])(
    "is continued by the next daemon when this one is %s: no answer lost, none twice",
    async (how) => {
      const gate = createGate();
      let answered = 0;
      const first = daemon([small], async (request, sink, signal) => {
        if (answered === 3) await gate.pass(signal);
        answered += 1;
        return copies(request, sink, signal);
      });
      const operation = await first.orchestrator.batches.start(first.caller(), batch);
      const outcome = operation.follow(new AbortController().signal).then(() => ({}));
      first.orchestrator.jobs.adopt(first.caller(), {
        tool: "route_and_generate",
        operation,
        outcome,
        errorText: String,
      });
      await gate.entered;
      await expect.poll(async () => (await first.results(operation.id)).length).toBe(3);
      if (how === "closed")
        await Promise.all([first.orchestrator.close(), expect(outcome).rejects.toBeInstanceOf(Cancelled)]);

      const second = daemon();
      await second.orchestrator.resume({
        ofPull: () => ({}),
        ofBatch: ({ counts }) => ({ count: counts["asked"], done: counts["done"] }),
        ofError: String,
      });
      const job = await second.orchestrator.jobs.wait(second.caller(), operation.id, { maxWaitMs: 10_000 });
      expect(job).toMatchObject({ state: "succeeded", tool: "route_and_generate", result: { count: 6, done: 6 } });
      expect(await second.results(operation.id)).toEqual(all);
      expect(asked(second.engine)).toBe(3);
      gate.open();
    },
  );

  it("sends nothing elsewhere after a restart with local_only, though it began without", async () => {
    const gate = createGate();
    const elsewhere = [fakeModel("far", 0, { trust: "remote" })];
    const slow: FakeEngine["answer"] = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return { text: "0" };
    };
    const first = daemon(elsewhere, slow, { trust: "remote" }, { privacy: "allow_remote" });
    const operation = await first.orchestrator.batches.start(first.caller(), batch);
    operation.follow(new AbortController().signal).catch(() => undefined);
    await gate.entered;
    const second = daemon(elsewhere, copies, { trust: "remote" }, { privacy: "local_only" });
    first.orchestrator.jobs.adopt(first.caller(), {
      tool: "route_and_generate",
      operation,
      outcome: operation.follow(new AbortController().signal).then(() => ({})),
      errorText: String,
    });
    await expect.poll(() => second.jobFiles.list()).toEqual([operation.id]);
    await second.orchestrator.resume({ ofPull: () => ({}), ofBatch: ({ notes }) => ({ notes }), ofError: String });
    const job = await second.orchestrator.jobs.wait(second.caller(), operation.id, { maxWaitMs: 10_000 });
    expect(JSON.stringify(job)).toMatch(/local_only|privacy/);
    expect(asked(second.engine)).toBe(0);
    await Promise.all([first, second].map(({ orchestrator }) => orchestrator.close()));
  });

  it("has no texts on disk once it has ended, and no document where it was removed with its job", async () => {
    const { run, jobFiles, orchestrator } = daemon();
    const { id } = await run();
    const kept = async (): Promise<string> => {
      const names = (await readdir(path.join(home, "jobs"))).filter((name) => name.startsWith(id));
      return (await Promise.all(names.map((name) => readFile(path.join(home, "jobs", name), "utf8")))).join("");
    };
    expect(await kept()).toContain('"text":"11"');
    expect(await kept()).not.toContain("The number is");
    await jobFiles.remove(id);
    await orchestrator.close();
    expect(await kept()).toBe("");
  });

  it("begins again after a cancel that takes its time, once", async () => {
    const gate = createGate();
    let isSlow = true;
    const { run, orchestrator, caller, engine } = daemon([small], async (...given) => {
      if (isSlow) await gate.pass();
      return copies(...given);
    });
    const first = await orchestrator.batches.start(caller(), batch);
    first.follow(new AbortController().signal).catch(() => undefined);
    await gate.entered;
    first.cancel();
    isSlow = false;
    const again = run();
    gate.open();
    expect((await again).counts).toMatchObject({ asked: 6, done: 6 });
    expect(orchestrator.activity().operations).toEqual([]);
    expect(asked(engine)).toBeLessThanOrEqual(7);
  });

  it("refuses to join one that runs with another sample", async () => {
    const gate = createGate();
    const { run, orchestrator, caller } = daemon([small], async (...given) => {
      await gate.pass();
      return copies(...given);
    });
    const first = await orchestrator.batches.start(caller(), { steps: [{ ...step, sample: 3 }] });
    const ended = first.follow(new AbortController().signal);
    await gate.entered;
    await expect(run()).rejects.toThrow("is running, with another sample");
    gate.open();
    expect((await ended).counts).toMatchObject({ asked: 3 });
  });

  it("keeps its answers where the question about all of them fails", async () => {
    const { run } = daemon([small], (request, ...rest) => {
      if (request.messages.at(-1)?.content.includes("Add up") === true) throw new GenerationFailed("it is tired");
      return copies(request, ...rest);
    });
    const { counts, notes, text } = await run({}, addUp);
    expect(counts).toMatchObject({ asked: 6, done: 6 });
    expect(text).toBeUndefined();
    expect(notes).toEqual([expect.stringMatching(/^stopped at reduce: .*it is tired.*; the same call continues$/)]);
  });

  it("asks once more about all answers", async () => {
    const { run } = daemon([small], (request, ...rest) => {
      const text = request.messages.at(-1)?.content ?? "";
      if (!text.includes("Add up")) return copies(request, ...rest);
      return Promise.resolve({
        text: [...text.matchAll(/## (\d)\.txt\n(\d+)/g)].map(([, , number]) => number).join("+"),
      });
    });
    expect((await run({}, addUp)).text).toBe("0+11+22+33+44+55");
  });

  it("refuses what it can't ask", async () => {
    const { run, orchestrator, caller } = daemon();
    await expect(run({ items: [] })).rejects.toThrow("there is nothing to ask about");
    await expect(run({ when: "tonight" })).rejects.toThrow(
      'when is "tonight"; allowed: now, idle, hours such as 22:00-06:00',
    );
    await expect(run({ questions: Array.from({ length: 2000 }, String) })).rejects.toThrow(
      "12000 prompts in one batch",
    );
    await expect(orchestrator.batches.results(caller(), "batch-000000000000")).rejects.toThrow("no batch");
    await expect(orchestrator.batches.results(caller(), "../memory")).rejects.toThrow("no batch");
  });
});

const at = (time: string): Date => new Date(`2026-11-25T${time}:00`);
const machine = (isBusy: boolean, isOnBattery = false) => ({
  isBusy: () => isBusy,
  onBattery: () => Promise.resolve(isOnBattery),
});

it.each([
  [undefined, "12:00", machine(true), undefined],
  ["now", "12:00", machine(true, true), undefined],
  ["idle", "12:00", machine(true), "waits for other requests"],
  ["idle", "12:00", machine(false, true), "waits for power"],
  ["idle", "12:00", machine(false), undefined],
  ["22:00-06:00", "21:59", machine(false), "waits until 22:00"],
  ["22:00-06:00", "23:30", machine(true), undefined],
  ["22:00-06:00", "05:59", machine(true), undefined],
  ["22:00-06:00", "06:00", machine(true), "waits until 22:00"],
  ["9:00 – 17:00", "08:59", machine(true), "waits until 9:00"],
  ["9:00 – 17:00", "16:59", machine(true), undefined],
])("with when %j at %s it waits as it should", async (when, time, state, why) => {
  expect(await waitsFor(when, at(time), state)).toBe(why);
});

it.each(["25:00-06:00", "6-7", "22:00", "06:00-06:00", ""])("refuses when %j", async (when) => {
  await expect(waitsFor(when, at("12:00"), machine(false))).rejects.toThrow("allowed: now, idle, hours such as");
});

describe("the texts to ask about", () => {
  it("are whole files where there are several", () => {
    expect(itemsOf(texts.slice(0, 2))).toEqual([
      { name: "0.txt", path: "0.txt", text: "The number is 0." },
      { name: "1.txt", path: "1.txt", text: "The number is 11." },
    ]);
  });

  it.each([
    ["a.csv", "name,age\nAnn,40\nBob,7\n", ["name: Ann\nage: 40", "name: Bob\nage: 7"]],
    ["a.tsv", "name\tage\nAnn\t40\nBob\t7\n", ["name: Ann\nage: 40", "name: Bob\nage: 7"]],
    ["a.jsonl", '{"a":1}\n{"a":2}\n', ['{"a":1}', '{"a":2}']],
    ["a.json", '[{"a":1},{"a":2}]', ['{"a":1}', '{"a":2}']],
  ])("are the rows of %s", (name, text, rows) => {
    const found = itemsOf([{ path: name, text }]);
    expect(found.map((each) => each.text)).toEqual(rows);
    expect(found[1]?.name).toBe(`${name}: row 2`);
  });

  it("are the parts of one long file, which together are the file", () => {
    const text = Array.from({ length: 400 }, (_, line) => `Line ${line} of a long text, which has no headings.\n`).join(
      "",
    );
    const parts = itemsOf([{ path: "long.txt", text }]);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.map((each) => each.text).join("")).toBe(text);
    expect(parts[1]?.text?.split("\n")[0]).toBe(
      `Line ${(parts[1]?.firstLine ?? 0) - 1} of a long text, which has no headings.`,
    );
  });

  it("are no rows where there are none", () => {
    expect(() => itemsOf([{ path: "a.md", text: "# A" }], "row")).toThrow("a.md has no rows");
  });
});

describe("what is kept of an answer", () => {
  const item = { name: "guide.md: 3 Ports", path: "guide.md", text: "x", firstLine: 41 };
  const given = (more: Partial<GenerateResult>) =>
    answerOf(
      { text: "80", notes: [], finishReason: "stop", model: "a", completionTokens: 1, ...more } as GenerateResult,
      item,
    );

  it("names the row, whose lines are none of the file", () => {
    const [, row] = itemsOf([{ path: "a.csv", text: "name,age\nAnn,40\nBob,7\n" }]);
    const values = { where: { "/age": "a.csv: row 2:2" }, notJudged: [] };
    const result = { text: "{}", notes: [], values, finishReason: "stop", model: "a", completionTokens: 1 };
    expect(answerOf(result as never, row as BatchItem).where).toEqual({ "/age": "a.csv: row 2" });
    expect(row?.path).not.toMatch(/\.csv$/);
  });

  it("has places in the file, not in its part", () => {
    const values = {
      where: { "/port": "guide.md:7", "/range": "guide.md:2-3, guide.md:9", "/other": "b.md:1" },
      notJudged: [],
    };
    expect(given({ values })).toMatchObject({
      state: "done",
      where: { "/port": "guide.md:47", "/range": "guide.md:42-43, guide.md:49", "/other": "b.md:1" },
    });
  });

  it.each([
    ["NOT STATED", "empty"],
    ["Not stated.", "empty"],
    ["", "empty"],
    ['{"port": null, "names": []}', "empty"],
    ['{"port": 0}', "done"],
    ["[]", "empty"],
    ["{not JSON", "done"],
    ["It is not stated by whom, but in 1999.", "done"],
  ])("%j is %s", (text, state) => {
    expect(given({ text }).state).toBe(state);
  });

  it("is doubtful where a check found something, or it was cut", () => {
    expect(given({ check: { kind: "quotes", statements: [], problem: "no line has 80" } })).toMatchObject({
      state: "doubtful",
      why: "no line has 80",
    });
    expect(given({ finishReason: "length" })).toMatchObject({ state: "doubtful", why: "cut at its limit of tokens" });
  });
});
