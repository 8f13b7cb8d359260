import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { Cancelled, EngineUnreachable, GenerationFailed } from "../../../../src/orchestrator/api/errors.ts";
import type { ResidentModel } from "../../../../src/orchestrator/engines/engine.ts";
import { readProcessMemory } from "../../../../src/orchestrator/engines/llama-cpp/child/children-list.ts";
import {
  type PracticeEngine,
  ask,
  endless,
  isRunning,
  never,
  setupLimitMs,
  startPracticeEngine,
  testLimitMs,
  tiny,
  until,
} from "./engine-under-test.ts";

let subject: PracticeEngine;
beforeAll(async () => {
  subject = await startPracticeEngine();
}, setupLimitMs);
afterAll(() => subject.dispose(), testLimitMs);

describe("loading", () => {
  it(
    "keeps a model when the settings name another store, until it is unloaded by its name",
    async () => {
      let isElsewhere = false;
      const empty = { list: async () => [], find: async () => undefined };
      const other: PracticeEngine = await startPracticeEngine({
        store: () => (isElsewhere ? (empty as unknown as PracticeEngine["store"]) : other.store),
      });
      onTestFinished(() => other.dispose());
      await other.load(tiny);
      isElsewhere = true;
      expect(await other.engine.list(never)).toEqual([]);
      expect((await other.residency.loaded(never)).map(({ name }) => name)).toEqual([tiny]);
      await other.residency.unload(tiny, never);
      expect(await other.residency.loaded(never)).toEqual([]);
    },
    setupLimitMs,
  );
  it(
    "concurrent loads of one model share one load",
    async () => {
      await subject.residency.unload(tiny, never);
      const before = (await subject.childPids()).length;
      const [first, second] = await Promise.all([subject.load(tiny), subject.load(tiny)]);
      expect(first.loadMs).toBe(second.loadMs);
      expect(await subject.childPids()).toHaveLength(before + 1);
    },
    testLimitMs,
  );
  it(
    "a caller that leaves a shared load does not cancel it for the other",
    async () => {
      await subject.residency.unload(tiny, never);
      const controller = new AbortController();
      const kept = subject.load(tiny);
      const leaves = subject.residency.load(
        tiny,
        { contextTokens: 2_048 },
        () => controller.abort(),
        controller.signal,
      );
      await expect(leaves).rejects.toBeInstanceOf(Cancelled);
      expect((await kept).name).toBe(tiny);
    },
    testLimitMs,
  );
  it(
    "a larger context reloads the model, a smaller one does not",
    async () => {
      const first = await subject.childOf(async () => {
        await subject.residency.unload(tiny, never);
        await subject.load(tiny, 2_048);
      });
      expect((await subject.load(tiny, 1_024)).contextTokens).toBe(2_048);
      expect(isRunning(first)).toBe(true);
      expect((await subject.load(tiny, 4_096)).contextTokens).toBe(4_096);
      expect(isRunning(first)).toBe(false);
      expect((await subject.loadedNames()).filter((name) => name === tiny)).toHaveLength(1);
    },
    testLimitMs,
  );
  it(
    "unloading ends the process and removes the model from the list",
    async () => {
      await subject.residency.unload(tiny, never);
      const pid = await subject.childOf(() => subject.load(tiny));
      await subject.residency.unload(tiny, never);
      expect(isRunning(pid)).toBe(false);
      await until(async () => !(await subject.childPids()).includes(pid), 5_000);
    },
    testLimitMs,
  );
  it(
    "keep-alive 0 unloads after use, a negative one never",
    async () => {
      await subject.load(tiny, 2_048, -1);
      expect((await subject.residency.loaded(never)).find(({ name }) => name === tiny)?.expiresAt).toBeUndefined();
      await ask(subject, { model: tiny, keepAliveSeconds: 0 });
      await until(async () => !(await subject.loadedNames()).includes(tiny), 10_000);
    },
    testLimitMs,
  );
  it(
    "a loaded model reports its expiry and the resident set of its process, which the estimate predicts",
    async () => {
      await subject.residency.unload(tiny, never);
      let model: ResidentModel | undefined;
      const pid = await subject.childOf(async () => {
        model = await subject.load(tiny, 2_048, 60);
      });
      const reported = async () => (await subject.residency.loaded(never)).find(({ name }) => name === tiny);
      // The process still grows or shrinks by some MB after its load: both are read in one moment, until it is quiet.
      const residentBytes = await vi.waitFor(
        async () => {
          const [listed, memory] = await Promise.all([reported(), readProcessMemory(pid)]);
          const bytes = memory && memory.anonymousBytes + memory.mappedBytes;
          // Linux reports it, and only there a size can be measured.
          if (bytes !== undefined) expect(Math.abs((listed?.sizeBytes ?? 0) - bytes)).toBeLessThan(4_000_000);
          return bytes;
        },
        { timeout: 5_000 },
      );
      const estimate = await subject.engine.estimation?.estimate(tiny, { contextTokens: 2_048 }, never);
      if (residentBytes !== undefined) {
        const predicted = (estimate?.predictedBytes ?? 0) + (estimate?.processBytes ?? 0);
        expect(predicted / residentBytes).toBeGreaterThan(0.9);
        expect(predicted / residentBytes).toBeLessThan(1.2);
      }
      expect(model?.sizeBytes).toBeGreaterThan(60_000_000);
      expect(model?.sizeBytes).toBeLessThan(300_000_000);
      const secondsLeft = (Date.parse((await reported())?.expiresAt ?? "") - Date.now()) / 1_000;
      expect(secondsLeft).toBeGreaterThan(30);
      expect(secondsLeft).toBeLessThanOrEqual(60);
    },
    testLimitMs,
  );
});

describe("a process that ends", () => {
  it(
    "during an answer is an error, and the next call succeeds",
    async () => {
      await subject.residency.unload(endless, never);
      const pid = await subject.childOf(() => subject.load(endless));
      const dying = ask(subject, { model: endless, maxTokens: 1_900 }, never, () => process.kill(pid, "SIGKILL"));
      await expect(dying).rejects.toBeInstanceOf(EngineUnreachable);
      await expect(dying).rejects.toThrow(/endless:tiny ended \(SIGKILL\)/);
      await expect(dying).rejects.toMatchObject({ next: [{ step: "retry" }, { step: "unloadModel" }] });
      const next = await ask(subject, { model: endless, maxTokens: 4 });
      expect(next.completionTokens).toBe(4);
      expect(next.phases).toContain("loading");
    },
    testLimitMs,
  );
  it(
    "because it was unloaded is an error with that reason",
    async () => {
      let unloading: Promise<void> | undefined;
      const unloaded = ask(subject, { model: endless, maxTokens: 1_900 }, never, () => {
        unloading ??= subject.residency.unload(endless, never);
      });
      await expect(unloaded).rejects.toBeInstanceOf(GenerationFailed);
      await expect(unloaded).rejects.toThrow("was unloaded before it finished its answer");
      await unloading;
    },
    testLimitMs,
  );
});
