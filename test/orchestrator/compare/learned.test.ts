import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { InvalidRequest, StoreFailed, UnknownModel } from "../../../src/orchestrator/api/errors.ts";
import { openPreferences } from "../../../src/orchestrator/watch/learning.ts";
import { type DocumentFiles, createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, compare, failureOf, large, small } from "./fixture.ts";

let home: string;
let files: DocumentFiles;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "ollm-learned-"));
  files = createDocumentFiles(home);
});
/** Closed after each test, so that none keeps its journals open. */
const running: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((orchestrator) => orchestrator.close()));
  await rm(home, { recursive: true, force: true });
});

type Options = Parameters<typeof createTestOrchestrator>[1];

function start(options: Options = {}) {
  const engine = createFakeEngine("ollama", [small, coder, large]);
  const harness = createTestOrchestrator([engine], { documentFiles: files, ...options });
  running.push(harness.orchestrator);
  const { comparisons } = harness.orchestrator;
  // The shell's: what it rates is the user's own.
  const caller = harness.caller({ client: "ollm" });
  /** Rates the newest answer, or a new one. */
  const again = (isGood: boolean, answerId?: string, model = small.name) =>
    comparisons.rate(caller, { task: "code", model, isGood, ...(answerId === undefined ? {} : { answerId }) });
  const rate = async (isGood: boolean, answerId?: string, model = small.name) => {
    await harness.generate({ prompt: "hello", model }, caller);
    return again(isGood, answerId, model);
  };
  return { ...harness, harness, engine, comparisons, asking: caller, rate, again };
}

describe("a rating", () => {
  it("is of an answer of the last hour, else refused with the next step; forced ones count little", async () => {
    let nowMs = Date.parse("2026-11-21T12:00:00.000Z");
    const { comparisons, asking, rate, again } = start({ now: () => nowMs });
    const refused = async () => {
      const error = await failureOf(again(false));
      expect(error).toBeInstanceOf(InvalidRequest);
      expect(error.message).toBe(`${small.name} gave no answer in the last hour that could be rated`);
      expect(error.next).toContainEqual({ step: "setArgument", argument: "force", to: true });
    };
    await refused();
    expect(await rate(true)).not.toHaveProperty("isForced");
    nowMs += 3_600_001;
    await refused();
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 1, score: 1 }]);
    for (let count = 0; count < 50; count += 1) {
      const forced = { task: "code", model: small.name, isGood: false, isForced: true } as const;
      expect(await comparisons.rate(asking, forced)).toMatchObject({ isForced: true });
    }
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 4, score: 0.25 }]);
  });

  it("of one answer counts once, however often it comes and whatever ids it names", async () => {
    const { comparisons, asking, rate, again } = start();
    await rate(true);
    for (let count = 0; count < 50; count += 1) await again(false, count % 2 === 0 ? `id-${count}` : undefined);
    expect(await comparisons.learned(asking)).toEqual([{ task: "code", model: small.name, answers: 1, score: 0 }]);
    await rate(true);
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 2, score: 0.5 }]);
  });

  it("by an assistant counts fully for itself, and as three answers at most for all others", async () => {
    const { comparisons, harness, generate } = start();
    const [batch, editor] = [harness.caller({ client: "night-batch" }), harness.caller({ client: "editor" })];
    const shell = harness.caller({ client: "ollm" });
    const rateAs = async (caller: typeof batch, isGood: boolean, times: number) => {
      for (let count = 0; count < times; count += 1) {
        await generate({ prompt: "hello", model: small.name }, caller);
        await comparisons.rate(caller, { task: "code", model: small.name, isGood });
      }
    };
    await rateAs(batch, false, 9);
    await rateAs(editor, true, 2);
    expect(await comparisons.learned(batch)).toMatchObject([{ answers: 11 }]);
    expect(await comparisons.learned(editor)).toMatchObject([{ answers: 5, score: 0.4 }]);
    expect(await comparisons.learned(shell)).toMatchObject([{ answers: 5 }]);
    await rateAs(shell, true, 5);
    expect(await comparisons.learned(editor)).toMatchObject([{ answers: 10 }]);
    await comparisons.reset(shell, {});
    expect(await comparisons.learned(batch)).toEqual([]);
  });

  it("of an answer that the process before gave is still of that answer", async () => {
    const before = start();
    await before.generate({ prompt: "hello", model: small.name }, before.asking);
    await before.orchestrator.close();
    const { comparisons, asking, again } = start();
    expect(await again(true)).not.toHaveProperty("isForced");
    await again(false);
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 1, score: 0 }]);
  });

  it("fades: after a year hardly anything is left", async () => {
    let nowMs = Date.parse("2026-11-21T12:00:00.000Z");
    const { comparisons, asking, rate } = start({ now: () => nowMs });
    for (let count = 0; count < 6; count += 1) await rate(false);
    nowMs += 360 * 86_400_000;
    expect((await comparisons.learned(asking))[0]?.answers).toBeCloseTo(6 / 16, 1);
    await rate(true);
    expect((await comparisons.learned(asking))[0]?.answers).toBeCloseTo(6 / 16 + 1, 1);
  });

  it("is on disk before it is acknowledged, even if the daemon is killed then", async () => {
    const { rate } = start();
    await rate(true);
    // Not closed: what follows reads what a killed process left.
    const { comparisons, asking } = start();
    expect(await comparisons.learned(asking)).toEqual([{ task: "code", model: small.name, answers: 1, score: 1 }]);
  });

  it("of the same answer replaces the first: good and then bad is one bad", async () => {
    const { comparisons, asking, rate, again } = start();
    await rate(true, "a");
    await again(false, "a");
    await again(false, "a");
    expect(await comparisons.learned(asking)).toEqual([{ task: "code", model: small.name, answers: 1, score: 0 }]);
    await rate(true, "b");
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 2, score: 0.5 }]);
  });

  it("by two callers at once loses neither", async () => {
    const { comparisons, asking, rate } = start();
    await Promise.all(Array.from({ length: 20 }, (_none, at) => rate(at % 2 === 0, `answer-${at}`)));
    expect(await comparisons.learned(asking)).toEqual([{ task: "code", model: small.name, answers: 20, score: 0.5 }]);
    expect((await openPreferences(log, files)).state.feedback.tasks[0]?.models[0]?.single.answers).toBe(20);
  });

  it("needs a model that is there, and learning", async () => {
    const { comparisons, asking, again } = start();
    expect(await failureOf(again(true, "a", "nothing:1b"))).toBeInstanceOf(UnknownModel);
    const { settings } = asking;
    const model = { ...settings.model, routing: { ...settings.model.routing, learn: false } };
    const off = { ...asking, settings: { ...settings, model } };
    const error = await failureOf(comparisons.rate(off, { task: "code", model: small.name, isGood: true }));
    expect(error).toBeInstanceOf(InvalidRequest);
    expect(error.next).toEqual([{ step: "changeSetting", setting: "model.routing.learn", to: "true" }]);
    expect(await comparisons.learned(asking)).toEqual([]);
  });

  it("that can't be written is refused, and what is there stays", async () => {
    let isFull = false;
    const full: DocumentFiles = {
      ...files,
      append: (name, text) => (isFull ? Promise.reject(new Error("ENOSPC")) : files.append(name, text)),
    };
    const { comparisons, asking, rate, again, generate } = start({ documentFiles: full });
    await rate(true);
    isFull = true;
    expect(await failureOf(again(false))).toBeInstanceOf(StoreFailed);
    expect(await comparisons.learned(asking)).toMatchObject([{ answers: 1, score: 1 }]);
    expect((await generate({ prompt: "hello" })).text).not.toBe("");
  });
});

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };

describe("a pick", () => {
  it("teaches about all that answered, and an undo takes that back", async () => {
    const { harness, comparisons, asking } = start();
    const { id } = await compare(harness, { models: [small.name, coder.name] });
    await comparisons.pick(asking, id, coder.name, "code");
    expect(await comparisons.learned(asking)).toEqual([
      { task: "code", model: coder.name, answers: 1, score: 1 },
      { task: "code", model: small.name, answers: 1, score: 0.25 },
    ]);
    await comparisons.undo(asking, "code");
    expect(await comparisons.learned(asking)).toEqual([]);
  });

  it("needs no comparison, and is preferred as any other", async () => {
    const { comparisons, asking, generate } = start();
    const picked = await comparisons.prefer(asking, "general", small.name);
    expect(picked).not.toHaveProperty("comparisonId");
    expect(await comparisons.learned(asking)).toMatchObject([{ model: small.name, answers: 1, score: 1 }]);
    const answer = await generate({ prompt: "hello", task: "general" });
    expect(answer).toMatchObject({ model: small.name, reason: expect.stringContaining("picked by you on ") });
    expect(await comparisons.undo(asking, "general")).toEqual(picked);
    expect(await comparisons.learned(asking)).toEqual([]);
  });
});

describe("outcomes", () => {
  it("cost a request no write, and are written together", async () => {
    const written: string[] = [];
    const counting: DocumentFiles = {
      ...files,
      append(name, text) {
        written.push(name);
        return files.append(name, text);
      },
    };
    // Never due: what is still to be written is written by the close.
    const timers = { now: () => 0, after: () => () => undefined };
    const { generate, orchestrator } = start({ documentFiles: counting, timers });
    const format = { type: "object" };
    for (let count = 0; count < 5; count += 1) {
      await generate({ prompt: "hello", task: "code", model: small.name, format }).catch(() => undefined);
    }
    expect(written.filter((name) => name.startsWith("preferences"))).toEqual([]);
    await orchestrator.close();
    expect(written.filter((name) => name.startsWith("preferences"))).toEqual(["preferences.journal"]);
    const { state } = await openPreferences(log, files);
    expect(state.observed.tasks).toMatchObject([{ task: "code", models: [{ model: small.name }] }]);
    expect(state.feedback.tasks).toEqual([]);
  });

  it("are not learned where the caller's settings say so", async () => {
    const { generate, orchestrator } = start({ settings: { model: { routing: { learn: false } } } });
    await generate({ prompt: "hello", model: small.name, format: { type: "object" } }).catch(() => undefined);
    await orchestrator.close();
    expect((await openPreferences(log, files)).state.observed.tasks).toEqual([]);
  });
});

describe("exploration", () => {
  /** Both models are loaded, the first of the order answered well once, and chance is always for exploring. */
  async function explorable() {
    const started = start({ random: () => 0 });
    const { generate, comparisons, asking } = started;
    for (const { name } of [small, large]) await generate({ prompt: "hello", model: name });
    const { model } = await generate({ prompt: "hello", task: "general" });
    await comparisons.rate(asking, { task: "general", model, isGood: true });
    return { ...started, best: model };
  }

  it("tries another loaded model, until nobody rates what it answers", async () => {
    const { generate, comparisons, asking, best } = await explorable();
    const models = async (count: number) => {
      const answered: string[] = [];
      while (answered.length < count) answered.push((await generate({ prompt: "hello", task: "general" })).model);
      return answered;
    };
    const other = best === small.name ? large.name : small.name;
    expect(await models(5)).toEqual([other, other, other, best, best]);
    await comparisons.rate(asking, { task: "general", model: best, isGood: true });
    expect(await models(1)).toEqual([other]);
  });

  it("is never done for a plan, a conversation, a pick, an override, a comparison, or without learning", async () => {
    const { generate, orchestrator, comparisons, asking, best, harness } = await explorable();
    const ask = { prompt: "hello", task: "general" } as const;
    const { settings } = asking;
    const routing = (more: object) => ({
      ...asking,
      settings: { ...settings, model: { ...settings.model, routing: { ...settings.model.routing, ...more } } },
    });
    expect((await orchestrator.planGeneration(asking, ask)).model).toBe(best);
    expect((await generate({ ...ask, continueId: "new" })).model).toBe(best);
    expect((await generate({ ...ask, complexity: "medium" })).model).toBe(best);
    expect((await generate(ask, routing({ learn: false }))).model).toBe(best);
    expect((await generate(ask, routing({ overrides: { general: best } }))).model).toBe(best);
    const { results } = await compare(harness, { models: "auto" });
    expect(results[0]?.model).toBe(best);
    await comparisons.prefer(asking, "general", best);
    expect((await generate(ask)).model).toBe(best);
  });
});

describe("a reset", () => {
  it("forgets one model of one task, or everything, but no pick; an undo then takes nothing more", async () => {
    const { comparisons, asking, rate, generate } = start();
    await comparisons.prefer(asking, "code", coder.name);
    await rate(true, "a");
    await generate({ prompt: "hello", model: small.name });
    await comparisons.rate(asking, { task: "general", model: small.name, isGood: false });
    await comparisons.reset(asking, { task: "code", model: small.name });
    const left = async () => (await comparisons.learned(asking)).map(({ task, model }) => `${task} ${model}`);
    expect(await left()).toEqual([`code ${coder.name}`, `general ${small.name}`]);
    await comparisons.reset(asking, {});
    expect(await left()).toEqual([]);
    expect(await comparisons.preferences(asking)).toMatchObject([{ task: "code", model: coder.name }]);
    await rate(true, "b", coder.name);
    await comparisons.undo(asking, "code");
    expect(await comparisons.learned(asking)).toMatchObject([{ model: coder.name, answers: 1, score: 1 }]);
  });
});

it("a reset of a model about which nothing was learned names those that were meant", async () => {
  const { comparisons, asking, rate } = start();
  await rate(true, "a");
  const known = (await comparisons.learned(asking)).map(({ model }) => model);
  await expect(comparisons.reset(asking, { model: `${known[0]}x` })).rejects.toMatchObject({
    message: `nothing was learned about ${known[0]}x`,
    next: [{ step: "didYouMean", names: known }],
  });
  expect(await comparisons.learned(asking)).toHaveLength(1);
});

describe("a reset of one model of a comparison", () => {
  it("leaves what an undo takes back of the others, and nothing else", async () => {
    const { harness, comparisons, asking, rate } = start();
    await rate(true, "a", coder.name);
    const { id } = await compare(harness, { models: [small.name, coder.name] });
    await comparisons.pick(asking, id, coder.name, "code");
    await comparisons.reset(asking, { model: small.name });
    await rate(false, "b");
    await comparisons.undo(asking, "code");
    expect(await comparisons.learned(asking)).toEqual([
      { task: "code", model: coder.name, answers: 1, score: 1 },
      { task: "code", model: small.name, answers: 1, score: 0 },
    ]);
    const { state } = await openPreferences(log, files);
    expect(state.feedback.tasks[0]?.models).toMatchObject([
      { model: coder.name, single: { answers: 1 }, compared: { answers: 0, ahead: 0 } },
      { model: small.name, single: { answers: 1 }, compared: { answers: 0 } },
    ]);
  });
});

describe("preferences.json", () => {
  it("keeps no long id of an answer", async () => {
    const { rate, orchestrator } = start();
    await rate(true, "a".repeat(100_000));
    await orchestrator.close();
    expect((await readFile(path.join(home, "preferences.json"), "utf8")).length).toBeLessThan(2_000);
  });

  it("holds nothing of prompts and answers", async () => {
    const { harness, generate, comparisons, asking, orchestrator } = start();
    const { id } = await compare(harness, { models: [small.name, coder.name], prompt: "secret question" });
    await comparisons.pick(asking, id, coder.name, "code");
    await generate({ prompt: "secret question", task: "code", model: small.name, format: { type: "object" } }).catch(
      () => undefined,
    );
    await comparisons.rate(asking, { task: "code", model: small.name, isGood: true, answerId: "a" });
    await orchestrator.close();
    const written = await readFile(path.join(home, "preferences.json"), "utf8");
    expect(written).toContain(coder.name);
    const answers = (await comparisons.list(asking)).flatMap(({ results }) => results.map(({ text }) => text));
    expect(answers).toHaveLength(2);
    for (const text of ["secret", ...answers]) {
      expect(text).not.toBe("");
      expect(written).not.toContain(text);
    }
  });

  it.each([
    ["damaged", "{ oops"],
    ["of a newer version", JSON.stringify({ schemaVersion: 9, sequence: 1, preferences: [] })],
  ])("that is %s is set aside with a warning, and routing goes on", async (_how, text) => {
    await writeFile(path.join(home, "preferences.json"), text);
    const { comparisons, asking, rate, generate, orchestrator } = start();
    expect((await generate({ prompt: "hello" })).text).not.toBe("");
    await rate(true);
    expect(await comparisons.learned(asking)).toHaveLength(1);
    const { warnings } = await orchestrator.systemStatus(asking);
    expect(warnings).toEqual([expect.stringMatching(/^preferences\.json .*; it was set aside as /)]);
  });

  it("does not grow with thousands of ratings and names", async () => {
    const document = await openPreferences(log, undefined);
    for (let at = 0; at < 3_000; at += 1) {
      const rating = { task: "code" as const, model: `model-${at}:1b`, isGood: true, answerId: `answer-${at}` };
      await document.append({ type: "rated", rating });
    }
    expect(document.state.ratings).toHaveLength(200);
    expect(JSON.stringify(document.state).length).toBeLessThan(200_000);
  });
});
