import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ModelDoesNotFit } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const first = fakeModel("first:3b", 3 * gigabyte);
const second = fakeModel("second:4b", 4 * gigabyte);
const large = fakeModel("large:7b", 5 * gigabyte);

/** Another program takes `takenBytes` as soon as `first` is unloaded. */
async function setup(takenBytes: number) {
  const engine = createFakeEngine("ollama", [first, second, large]);
  let usedElsewhereBytes = 0;
  // Loads take one second per gigabyte: the smaller model is evicted first.
  let nowMs = 0;
  engine.beforeLoad = (model) => {
    nowMs += (engine.models.find(({ name }) => name === model)?.sizeBytes ?? 0) / 1e6;
    return Promise.resolve();
  };
  const harness = createTestOrchestrator([engine], {
    memoryBytes: 13 * gigabyte,
    settings: { memory: { bufferBytes: 2 * gigabyte } },
    now: () => nowMs,
    usedElsewhereBytes: () => usedElsewhereBytes,
  });
  const load = async (model: string) => {
    const operation = await harness.orchestrator.loadModel(harness.caller(), { model });
    await operation.follow(harness.caller().signal);
    // A model that was loaded in this turn is not evicted yet.
    await nextTurn();
  };
  await load(first.name);
  await load(second.name);
  const { unload } = engine.residency ?? {};
  if (engine.residency === undefined || unload === undefined) throw new Error("the fake has no residency");
  engine.residency.unload = async (name, signal) => {
    await unload(name, signal);
    usedElsewhereBytes = takenBytes;
  };
  engine.calls.length = 0;
  return { ...harness, engine, load };
}

describe("memory that another program takes between the plan and the load", () => {
  it("is detected before the load begins, which plans once more", async () => {
    const { engine, load, orchestrator, caller } = await setup(3 * gigabyte);
    await load(large.name);
    expect(engine.calls).toEqual(["unload first:3b", "unload second:4b", "load large:7b 4096"]);
    const [loaded, replanned] = orchestrator.decisions(caller());
    expect([replanned?.kind, loaded?.kind]).toEqual(["replan", "load"]);
    expect(replanned?.steps.at(-1)).toBe("another program took memory meanwhile");
  });

  it("fails the load before it starts if there is no room left", async () => {
    const { engine, load } = await setup(9 * gigabyte);
    await expect(load(large.name)).rejects.toBeInstanceOf(ModelDoesNotFit);
    expect(engine.calls.filter((call) => call.startsWith("load"))).toEqual([]);
  });

  it("evicts no further model if the buffer absorbs it", async () => {
    const { engine, load } = await setup(0.4 * gigabyte);
    await load(large.name);
    expect(engine.calls).toEqual(["unload first:3b", "load large:7b 4096"]);
  });
});
