import { describe, expect, it } from "vitest";
import { LoadFailed, ModelDoesNotFit } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createHandSettings } from "../../support/hand-settings.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);
const huge = fakeModel("llama3.3:70b", 40 * gigabyte);

function setup() {
  const engine = createFakeEngine("ollama", [small, large, huge]);
  const live = createHandSettings({ memory: { bufferBytes: 2 * gigabyte } });
  let atMs = 0;
  // A measurement of the memory serves for a time that a busy machine exceeds.
  const now = () => (atMs += 0.01);
  const harness = createTestOrchestrator([engine], { live, memoryBytes: 12 * gigabyte, now });
  const load = async (model: string) =>
    (await harness.orchestrator.loadModel(harness.caller(), { model })).follow(harness.caller().signal);
  const told = () => harness.orchestrator.decisions(harness.caller());
  return { ...harness, engine, load, told, pass: (ms: number) => void (atMs += ms) };
}

describe("a load", () => {
  it.each([
    { ageMs: 0, asked: [0] },
    { ageMs: 251, asked: [1, 0] },
  ])("is planned once, from a list of $ageMs ms before it, and checked when what it evicts is gone", async (each) => {
    const { engine, load, generate, orchestrator, caller, pass } = setup();
    await load(small.name);
    await orchestrator.listModels(caller(), {});
    pass(each.ageMs);
    // Just loaded, it is kept for those that waited for it.
    await new Promise((resolve) => setImmediate(resolve));
    const looks: number[] = [];
    engine.beforeLook = async () => void looks.push(engine.resident.size);
    await generate({ model: large.name });
    // The answer begins without another look at what was just loaded.
    expect(looks).toEqual(each.asked);
  });

  it("is planned again if a slot has changed since", async () => {
    const { engine, load, generate, told, orchestrator, caller, pass } = setup();
    await load(small.name);
    await orchestrator.listModels(caller(), {});
    pass(251);
    let answering: Promise<unknown> | undefined;
    engine.beforeLook = async () => {
      if (answering !== undefined) return;
      // Between the plan and the load a request takes the model that would be evicted.
      answering = generate({ model: small.name });
      await new Promise((resolve) => setImmediate(resolve));
    };
    await Promise.all([load(large.name), answering]);
    expect(engine.calls.filter((call) => !call.startsWith("load"))).toEqual([
      `generate ${small.name}`,
      `unload ${small.name}`,
    ]);
    expect(told()[0]).toMatchObject({ kind: "load", model: large.name });
  });
});

describe("decisions about the memory", () => {
  it("a load is recorded with its evictions and numbers; a loaded model makes no decision", async () => {
    const { load, told } = setup();
    await load(small.name);
    await load(large.name);
    await load(large.name);
    const [newest, oldest, ...none] = told();
    expect(none).toEqual([]);
    expect(oldest).toMatchObject({ kind: "load", model: small.name, engine: "ollama" });
    expect(newest).toMatchObject({ kind: "load", model: large.name, plan: { evict: [{ name: small.name }] } });
    expect(newest?.steps.join(" ")).toContain(`unload ${small.name}`);
  });

  it("a refusal is recorded with what would fit", async () => {
    const { load, told } = setup();
    await expect(load(huge.name)).rejects.toThrow(ModelDoesNotFit);
    expect(told()).toMatchObject([{ kind: "refuse", model: huge.name }]);
    expect(told()[0]?.steps.at(-1)).toBe(`${large.name} would fit`);
  });

  it("a failure of the engine is recorded with its message", async () => {
    const { engine, load, told } = setup();
    engine.beforeLoad = async () => {
      throw new LoadFailed("the file is cut short");
    };
    await expect(load(small.name)).rejects.toThrow(LoadFailed);
    expect(told().map(({ kind, steps }) => [kind, steps.at(-1)])).toEqual([
      ["fail", "the file is cut short"],
      ["load", `load ${small.name}`],
    ]);
  });

  it("an unload on request is recorded", async () => {
    const { load, told, orchestrator, caller } = setup();
    await load(small.name);
    await orchestrator.unloadModels(caller(), small.name);
    expect(told()[0]).toMatchObject({ kind: "unload", model: small.name });
  });
});
