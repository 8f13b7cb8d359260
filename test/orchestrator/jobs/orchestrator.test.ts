import { describe, expect, it } from "vitest";
import type { Change } from "../../../src/orchestrator/api/facade.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const memory: Change = { kind: "memory" };
const status: Change = { kind: "models", isListChanged: false };
const list: Change = { kind: "models", isListChanged: true };

function watchedOrchestrator() {
  const engine = createFakeEngine("ollama", [fakeModel("a", gigabyte), fakeModel("b", gigabyte)]);
  const harness = createTestOrchestrator([engine]);
  const told: Change[] = [];
  const stop = harness.orchestrator.onChange((change) => told.push(change));
  return { ...harness, engine, told, stop };
}

describe("changes of the orchestrator", () => {
  it("are published when a model is loaded or unloaded, with an unchanged list", async () => {
    const { orchestrator, caller, told } = watchedOrchestrator();
    await orchestrator.listModels(caller(), {});
    expect(told).toEqual([]);
    const load = await orchestrator.loadModel(caller(), { model: "a" });
    await load.follow(caller().signal);
    await eventually(() => expect(told).toEqual(expect.arrayContaining([memory, status])));
    told.length = 0;
    await orchestrator.unloadModels(caller(), "a");
    await eventually(() => expect(told).toEqual(expect.arrayContaining([memory, status])));
    expect(told).not.toContainEqual(list);
  });

  it("are published when a model is deleted, without a new listing", async () => {
    const { orchestrator, caller, engine, told } = watchedOrchestrator();
    await orchestrator.listModels(caller(), {});
    engine.models.pop();
    // Like a pull or a delete, which refreshes the lists.
    await orchestrator.wokeUp();
    await eventually(() => expect(told).toEqual([list]));
  });

  it("by other programs are detected only while something is watched", async () => {
    const { orchestrator, caller, engine, told } = watchedOrchestrator();
    await orchestrator.listModels(caller(), {});
    const looks = engine.calls.length;
    engine.models.push(fakeModel("c", gigabyte));
    expect(told).toEqual([]);
    expect(engine.calls).toHaveLength(looks);
    const stop = orchestrator.watch("models");
    await eventually(() => expect(told).toEqual([list]));
    stop();
    await orchestrator.close();
  });

  it("are not published for an equal list, nor for the first one", async () => {
    const { orchestrator, caller, told } = watchedOrchestrator();
    const stop = orchestrator.watch("models");
    await orchestrator.listModels(caller(), {});
    await orchestrator.wokeUp();
    await orchestrator.listModels(caller(), {});
    expect(told).toEqual([]);
    stop();
  });

  it("are published when an engine goes down and when it comes back", async () => {
    const { orchestrator, caller, engine, told } = watchedOrchestrator();
    await orchestrator.listModels(caller(), {});
    engine.down = new Error("connection refused");
    await orchestrator.wokeUp();
    await eventually(() => expect(told).toEqual([status]));
    engine.down = undefined;
    await orchestrator.wokeUp();
    await eventually(() => expect(told).toHaveLength(2));
    expect(told[1]).toEqual(status);
  });
});
