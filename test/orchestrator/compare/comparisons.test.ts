import { describe, expect, it } from "vitest";
import {
  Cancelled,
  EngineUnreachable,
  GenerationFailed,
  InvalidRequest,
  LoadFailed,
  StoreFailed,
} from "../../../src/orchestrator/api/errors.ts";
import { observationsWithoutContention } from "../../../src/orchestrator/compare/ask-model.ts";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { type FakeEngine, createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, compare, failureOf, large, small } from "./fixture.ts";

const three = [small.name, coder.name, large.name];

/** All generations, in the order in which they began. */
const asked = (engine: FakeEngine) => engine.calls.filter((call) => call.startsWith("generate"));

describe("a comparison", () => {
  it("asks the models in sequence, loaded ones first and the largest last, and explains the order", async () => {
    const engine = createFakeEngine("ollama", [large, small, coder]);
    const harness = createTestOrchestrator([engine], { memoryBytes: 14 * gigabyte });
    await harness.generate({ model: coder.name });
    engine.calls.length = 0;
    let running = 0;
    engine.answer = async () => {
      running += 1;
      expect(running).toBe(1);
      await Promise.resolve();
      running -= 1;
      return {};
    };
    const { results, order, task } = await compare(harness, {});
    expect(asked(engine)).toEqual([`generate ${coder.name}`, `generate ${small.name}`, `generate ${large.name}`]);
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(2);
    expect(results.map(({ model }) => model)).toEqual(three);
    expect(results[2]).toMatchObject({
      text: `${large.name} says hello`,
      engine: "ollama",
      completionTokens: 3,
      tokensPerSecond: 300,
      firstTokenMs: 1,
      memoryBytes: large.sizeBytes,
      finishReason: "stop",
    });
    expect(results[1]?.loadMs).toBe(0);
    expect(order).toMatch(/^one after another, with the fewest loads: qwen2\.5-coder:7b \(already loaded\), then /);
    expect(order).toContain(`${large.name} (unloads `);
    expect(task).toBe("question_answering");
  });

  it("asks engines on different machines in parallel", async () => {
    const here = createFakeEngine("ollama", [small]);
    const there = createFakeEngine("gpu", [coder], { memoryDomain: "gpu:11434" });
    const gate = createGate();
    let both = 0;
    const answer: FakeEngine["answer"] = async (_request, _sink, signal) => {
      both += 1;
      if (both === 2) gate.open();
      await gate.pass(signal);
      return {};
    };
    here.answer = answer;
    there.answer = answer;
    const harness = createTestOrchestrator([here, there]);
    const { results, order } = await compare(harness, { models: [small.name, coder.name] });
    expect(results.map(({ error, isContended }) => [error, isContended])).toEqual([
      [undefined, undefined],
      [undefined, undefined],
    ]);
    expect(order).toContain("; at the same time ");
  });

  it("gives all models the same temperature and limit, no memories, and no settings of their own", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    const seen: unknown[] = [];
    engine.answer = ({ messages, sampling, maxTokens }) => {
      seen.push({ messages, sampling, maxTokens });
      return Promise.resolve({});
    };
    const harness = createTestOrchestrator([engine], {
      settings: { models: { "qwen*": { options: { temperature: 0 }, system: "You are a pirate." } } },
    });
    await compare(harness, { models: [small.name, coder.name], maxTokens: 50, system: "Be brief." });
    expect(seen).toHaveLength(2);
    expect(seen[0]).toEqual(seen[1]);
    expect(seen[0]).toMatchObject({ sampling: { temperature: 0.7 }, maxTokens: 50 });
  });

  it("runs each model as often as requested, and shows medians", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    let speed = 0;
    engine.answer = () => Promise.resolve({ completionTokens: 10, decodeMs: 1000 / (speed += 1) });
    const { results } = await compare(createTestOrchestrator([engine]), { models: [small.name, coder.name], runs: 3 });
    expect(asked(engine)).toEqual([
      ...Array.from({ length: 3 }, () => `generate ${small.name}`),
      ...Array.from({ length: 3 }, () => `generate ${coder.name}`),
    ]);
    expect(results.map(({ runs, tokensPerSecond }) => [runs, tokensPerSecond])).toEqual([
      [3, 20],
      [3, 50],
    ]);
  });

  it("with auto takes the first models of the route that fit, at most three", async () => {
    const huge = fakeModel("llama3.1:70b", 40 * gigabyte);
    const mistral = fakeModel("mistral:7b", 4 * gigabyte);
    const engine = createFakeEngine("ollama", [huge, small, coder, large, mistral]);
    const { results } = await compare(createTestOrchestrator([engine]), { models: "auto" });
    expect(results).toHaveLength(3);
    expect(results.map(({ model }) => model)).not.toContain(huge.name);
    const single = createTestOrchestrator([createFakeEngine("ollama", [small])]);
    const error = await failureOf(compare(single, { models: "auto" }));
    expect(error.message).toContain(`only ${small.name}`);
  });

  it.each([
    ["one model", { models: ["a"] }, "a comparison takes 2 to 5 models, not 1"],
    ["six", { models: ["a", "b", "c", "d", "e", "f"] }, "a comparison takes 2 to 5 models, not 6"],
    ["one twice", { models: ["a", "b", "a:latest"] }, 'duplicate model "a:latest"'],
    ["an empty name", { models: ["a", " "] }, "the list of models contains an empty name"],
    ["nothing to do", { prompt: " " }, "prompt is empty"],
    ["no runs", { runs: 0 }, "a comparison asks each model 1 to 9 times, not 0"],
  ])("refuses %s before anything is read", async (_what, request, message) => {
    const engine = createFakeEngine("ollama", [small]);
    const error = await failureOf(compare(createTestOrchestrator([engine]), request));
    expect(error).toBeInstanceOf(InvalidRequest);
    expect(error.message).toBe(message);
    expect(engine.calls).toEqual([]);
  });
});

describe("a model that fails", () => {
  it("does not affect the others: unknown, too large, crashed, cancelled by another call, a defect", async () => {
    const huge = fakeModel("llama3.1:70b", 70 * gigabyte);
    const engine = createFakeEngine("ollama", [small, coder, large, huge]);
    engine.answer = ({ model }) => {
      if (model === coder.name) return Promise.reject(new GenerationFailed("the engine process was killed"));
      if (model === large.name) return Promise.reject(new Cancelled("the model was unloaded"));
      return Promise.resolve({});
    };
    const models = ["lama3.2:3b", huge.name, coder.name, large.name, small.name];
    const { results } = await compare(createTestOrchestrator([engine]), { models });
    expect(results.map(({ model }) => model)).toEqual(models);
    expect(results[0]?.error).toContain(`no model lama3.2:3b (nearest: ${small.name}`);
    expect(results[1]?.error).toContain("GB");
    expect(results[2]?.error).toBe("the engine process was killed");
    expect(results[3]?.error).toBe("the model was unloaded");
    expect(results[4]).toMatchObject({ text: `${small.name} says hello` });
    expect(results[4]?.error).toBeUndefined();

    engine.answer = ({ model }) => {
      if (model === coder.name) throw new TypeError("undefined is not a function");
      return Promise.resolve({});
    };
    const again = await compare(createTestOrchestrator([engine]), { models: [coder.name, small.name] });
    expect(again.results[0]?.error).toContain("internal error");
    expect(again.results[1]?.error).toBeUndefined();
  });

  it("because it is remote under local_only receives nothing, and the others answer", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [small, cloud]);
    const { results } = await compare(createTestOrchestrator([engine]), { models: [cloud.name, small.name] });
    expect(results[0]?.error).toContain("local_only");
    expect(results[1]?.error).toBeUndefined();
    expect(asked(engine)).toEqual([`generate ${small.name}`]);
  });

  it("does not repeat the note about an unapproved project for each model", async () => {
    const harness = createTestOrchestrator([createFakeEngine("ollama", [small, coder])]);
    const waiting = `/p sets a model (${small.name}): not used until the user approves the project`;
    const project = { folder: "/p", evidence: [], isTrusted: false, settings: {}, waiting, notes: [] };
    const { notes } = await compare(harness, { models: [small.name, coder.name] }, harness.caller({ project }));
    expect(notes).toEqual([waiting]);
  });

  it("in a later run keeps its earlier answers, and adds a note", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    let count = 0;
    engine.answer = ({ model }) =>
      model === coder.name && (count += 1) > 1 ? Promise.reject(new GenerationFailed("cut")) : Promise.resolve({});
    const { results, notes } = await compare(createTestOrchestrator([engine]), {
      models: [small.name, coder.name],
      runs: 2,
    });
    expect(results[1]?.error).toBeUndefined();
    expect(notes).toEqual([`${coder.name} failed in run 2 of 2: cut`]);
  });

  it("because the engine is down, like all others, yields one sentence about the engine", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.down = new EngineUnreachable("Ollama does not answer at http://127.0.0.1:1");
    const error = await failureOf(compare(createTestOrchestrator([engine]), { models: ["nothing:1b", "nothing:2b"] }));
    expect(error.message).toBe(
      "none of the 2 models answered: nothing:1b: no model nothing:1b; nothing:2b: no model nothing:2b; " +
        "ollama: Ollama does not answer at http://127.0.0.1:1",
    );
  });

  it("like all others yields an error with the reason of each, and nothing is stored", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.answer = () => Promise.reject(new GenerationFailed("crashed"));
    const harness = createTestOrchestrator([engine]);
    const error = await failureOf(compare(harness, { models: [small.name, "nothing:1b"] }));
    expect(error.message).toMatch(
      /^none of the 2 models answered: llama3\.2:3b: crashed; nothing:1b: no model nothing:1b/,
    );
    expect(await harness.orchestrator.comparisons.list(harness.caller())).toEqual([]);
  });
});

describe("a comparison that is cancelled", () => {
  it("ends the running generation and asks no other model", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const harness = createTestOrchestrator([engine]);
    const controller = new AbortController();
    const work = compare(harness, { models: [small.name, coder.name] }, harness.caller({ signal: controller.signal }));
    await gate.entered;
    controller.abort("cancelled");
    await expect(work).rejects.toBeInstanceOf(Cancelled);
    expect(asked(engine)).toHaveLength(1);
  });
});

describe("times measured under contention", () => {
  it("are marked, and routing does not learn from them", async () => {
    const engine = createFakeEngine("ollama", [small, coder, large]);
    const harness = createTestOrchestrator([engine]);
    const speedOf = async (name: string) =>
      (await harness.orchestrator.describeModel(harness.caller(), name)).model.tokensPerSecond;
    const gate = createGate();
    engine.answer = async ({ model }, sink, signal) => {
      if (model === large.name) await gate.pass(signal);
      sink.text("a");
      // Enough tokens for a speed.
      return { completionTokens: 300, decodeMs: 1000 };
    };
    const other = harness.generate({ model: large.name });
    await gate.entered;
    const disturbed = await compare(harness, { models: [small.name, coder.name] });
    expect(disturbed.results.map(({ isContended }) => isContended)).toEqual([true, true]);
    expect(await speedOf(small.name)).toBeUndefined();
    gate.open();
    await other;
    const quiet = await compare(harness, { models: [small.name, coder.name] });
    expect(quiet.results.map(({ isContended }) => isContended)).toEqual([undefined, undefined]);
    expect(await speedOf(small.name)).toBe(300);
  });

  it("still end a cool-down: the model answers", async () => {
    const observations = createObservations(() => 1000);
    await observations.failed("ollama a", new LoadFailed("crashed"));
    const quiet = observationsWithoutContention(observations, { check: () => undefined, wasContended: () => true });
    quiet.generated("ollama a", 10, 500);
    expect(observations.of("ollama a")).toEqual({ lastUsedMs: 1000, successRate: expect.closeTo(0.79), outcomes: 2 });
  });

  it("don't include requests to another machine", async () => {
    const here = createFakeEngine("ollama", [small, coder]);
    const there = createFakeEngine("gpu", [large], { memoryDomain: "gpu:11434" });
    const gate = createGate();
    there.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const harness = createTestOrchestrator([here, there]);
    const other = harness.generate({ model: large.name });
    await gate.entered;
    const { results } = await compare(harness, { models: [small.name, coder.name] });
    expect(results.map(({ isContended }) => isContended)).toEqual([undefined, undefined]);
    gate.open();
    await other;
  });
});

it("progress covers every model, and the partial text is that of the answering one", async () => {
  const engine = createFakeEngine("ollama", [small, coder]);
  const gate = createGate();
  engine.answer = async ({ model }, sink, signal) => {
    sink.text("Because");
    if (model === coder.name) await gate.pass(signal);
    return { text: " of light." };
  };
  const harness = createTestOrchestrator([engine]);
  const { signal } = harness.caller();
  const operation = await harness.orchestrator.comparisons.compare(harness.caller(), {
    prompt: "Why?",
    models: [small.name, coder.name],
  });
  const done = operation.follow(signal);
  await gate.entered;
  expect(operation.progress()?.message).toBe(`${small.name}: done, 300.0 tokens/s | ${coder.name}: 1 token`);
  expect(operation.partial()?.text).toBe(`=== ${small.name} ===\n of light.\n\n=== ${coder.name} ===\nBecause`);
  expect(operation.partial()?.answers).toEqual([
    { model: small.name, text: " of light." },
    { model: coder.name, text: "Because" },
  ]);
  gate.open();
  expect((await done).id).toBe(operation.id);
});

describe("a comparison that can't be written to disk", () => {
  it("has a note about it and stays available until the daemon exits, up to the newest five", async () => {
    const full = {
      read: () => Promise.resolve(undefined),
      replace: () => Promise.reject(new Error("ENOSPC")),
      append: () => Promise.reject(new Error("ENOSPC")),
      holds: () => Promise.resolve(true),
      remove: () => Promise.resolve(),
      setAside: (name: string) => Promise.resolve(name),
      release: () => Promise.resolve(),
    };
    const harness = createTestOrchestrator([createFakeEngine("ollama", [small, coder])], { documentFiles: full });
    const { comparisons } = harness.orchestrator;
    const ids: string[] = [];
    for (let count = 0; count < 6; count += 1) {
      const { id, notes } = await compare(harness, { models: [small.name, coder.name] });
      expect(notes?.[0]).toMatch(/^the comparison was not saved: .*ENOSPC/);
      ids.push(id);
    }
    const [oldest = "", second = ""] = ids;
    expect(await comparisons.get(harness.caller(), second)).toMatchObject({ id: second, results: [{}, {}] });
    expect((await comparisons.list(harness.caller())).map(({ id }) => id)).toEqual(ids.slice(1).toReversed());
    expect((await failureOf(comparisons.get(harness.caller(), oldest))).message).toBe(
      `no comparison ${oldest}; the newest 100 are kept`,
    );
    // A pick that can't be stored fails.
    await expect(comparisons.pick(harness.caller(), second, small.name)).rejects.toBeInstanceOf(StoreFailed);
    expect(await comparisons.preferences(harness.caller())).toEqual([]);
  });
});
