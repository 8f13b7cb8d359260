import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { createGate, gigabyte } from "../support/fake-engine.ts";
import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import type { GenerationSink } from "../../src/orchestrator/engines/generation.ts";
import { tinySentence } from "../support/tiny-gguf.ts";
import {
  endless,
  isRunning,
  never,
  type PracticeEngine,
  setupLimitMs,
  startPracticeEngine,
  testLimitMs,
  tiny,
} from "./engines/llama-cpp/engine-under-test.ts";

const pirate = "pirate:tiny";

describe("names of the same weights in the embedded engine, which share a process", () => {
  let subject: PracticeEngine;
  beforeAll(async () => {
    subject = await startPracticeEngine();
    await createPirate();
  }, setupLimitMs);
  beforeEach(() => subject.residency.unload(tiny, never), testLimitMs);
  afterAll(() => subject.dispose(), testLimitMs);

  const createPirate = () =>
    subject.engine.library?.creation?.create(
      { name: pirate, base: tiny, system: "You are a pirate.", parameters: { temperature: 0 } },
      () => undefined,
      never,
    );

  /** `answering` is called with each piece of an answer. */
  function start(answering: () => void = () => undefined) {
    const generate: Engine["generate"] = (request, sink, signal) => {
      const counting: GenerationSink = {
        text(delta) {
          answering();
          sink.text(delta);
        },
        thinking: (delta) => sink.thinking(delta),
        phase: (phase) => sink.phase(phase),
      };
      return subject.engine.generate(request, counting, signal);
    };
    const engine = { ...subject.engine, generate };
    const harness = createTestOrchestrator([engine], { memoryBytes: 32 * gigabyte, now: () => Date.now() });
    const { orchestrator, caller } = harness;
    return {
      ...harness,
      async load(model: string, contextTokens: number) {
        const operation = await orchestrator.loadModel(caller(), { model, contextTokens });
        return operation.follow(caller().signal);
      },
    };
  }

  it(
    "share a loaded context in one process",
    async () => {
      const { load, generate } = start();
      const pid = await subject.childOf(() => load(tiny, 2_048));
      expect(await load(pirate, 1_024)).toMatchObject({ wasLoaded: true, plan: { contextTokens: 2_048 } });
      expect((await generate({ model: pirate, temperature: 0 })).text).toBe(tinySentence);
      expect((await generate({ model: tiny, temperature: 0 })).text).toBe(tinySentence);
      expect(await subject.childPids()).toEqual([pid]);
      expect(await subject.loadedNames()).toEqual([tiny]);
    },
    testLimitMs,
  );

  it(
    "share one load when they are requested at once",
    async () => {
      const [first, second] = await Promise.all([subject.load(tiny), subject.load(pirate)]);
      expect(second).toMatchObject({ name: first.name, loadMs: first.loadMs });
      expect(await subject.loadedNames()).toHaveLength(1);
    },
    testLimitMs,
  );

  it(
    "are reloaded together with more context",
    async () => {
      const { load } = start();
      const pid = await subject.childOf(() => load(tiny, 1_024));
      const { plan } = await load(pirate, 4_096);
      expect(plan.evict).toMatchObject([{ name: tiny }]);
      expect(isRunning(pid)).toBe(false);
      expect(await subject.loadedNames()).toEqual([pirate]);
    },
    testLimitMs,
  );

  it(
    "are both shown as loaded, and unloaded together",
    async () => {
      const { load, orchestrator, caller } = start();
      await load(tiny, 1_024);
      const { models } = await orchestrator.listModels(caller(), { isLoadedOnly: true });
      expect(models.map(({ name }) => name).toSorted()).toEqual([pirate, tiny]);
      expect((await orchestrator.ramStatus(caller())).loaded).toMatchObject([{ name: tiny, alsoAnswersFor: [pirate] }]);
      expect(await orchestrator.unloadModels(caller(), pirate)).toMatchObject([
        { name: tiny, alsoAnsweredFor: pirate },
      ]);
      expect(await subject.loadedNames()).toEqual([]);
    },
    testLimitMs,
  );

  it(
    "are pinned together",
    async () => {
      const { load, orchestrator, caller } = start();
      await load(tiny, 1_024);
      await orchestrator.setPinned(caller(), pirate, true);
      expect(await subject.residency.loaded(never)).toEqual([
        expect.not.objectContaining({ expiresAt: expect.anything() }),
      ]);
      expect(await orchestrator.unloadModels(caller(), tiny)).toMatchObject([{ wasPinned: true }]);
    },
    testLimitMs,
  );

  it(
    "can't be unloaded during an answer by the other name",
    async () => {
      const begun = createGate();
      const { load, generate, orchestrator, caller } = start(begun.open);
      const other = "other:endless";
      const recipe = { name: other, base: endless, parameters: {} };
      await subject.engine.library?.creation?.create(recipe, () => undefined, never);
      await load(endless, 2_048);
      const controller = new AbortController();
      const answer = generate({ model: other, maxTokens: 1_900 }, caller({ signal: controller.signal }));
      await begun.pass();
      await expect(orchestrator.unloadModels(caller(), endless)).rejects.toThrow(`${endless} is in use`);
      controller.abort();
      await answer.catch(() => undefined);
      await subject.residency.unload(endless, never);
    },
    testLimitMs,
  );

  it(
    "don't affect the other one when one is deleted",
    async () => {
      const { load, orchestrator, caller } = start();
      const pid = await subject.childOf(() => load(tiny, 1_024));
      await orchestrator.deleteModel(caller(), pirate);
      expect(isRunning(pid)).toBe(true);
      expect(await subject.loadedNames()).toEqual([tiny]);
      await createPirate();
    },
    testLimitMs,
  );
});
