import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createDocumentFiles } from "../../src/orchestrator/storage/document-files.ts";
import { setAsideOnCardBytes } from "../../src/orchestrator/memory/limits.ts";
import { ModelDoesNotFit } from "../../src/orchestrator/api/errors.ts";
import type { MemorySample } from "../../src/orchestrator/memory/measure/system-probe.ts";
import type { MemoryEstimate } from "../../src/orchestrator/api/facade-status.ts";
import { createFakeEngine, createGate, type FakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { fittedShapes } from "../support/model-shapes.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { metadataOf } from "../support/shape-gguf.ts";
import { slowTime } from "../support/slow-time.ts";

type OpenOrchestrator = ReturnType<typeof createTestOrchestrator>;

async function load({ orchestrator, caller }: OpenOrchestrator, model: string) {
  const operation = await orchestrator.loadModel(caller(), { model });
  return operation.follow(caller().signal);
}

describe("memory domains", () => {
  const chat = fakeModel("chat:3b", 3 * gigabyte);
  const code = fakeModel("code:3b", 3 * gigabyte);

  it("all engines of this machine share its memory: idle models of one are evicted for another", async () => {
    const [ollama, embedded] = [
      createFakeEngine("ollama", [chat]),
      createFakeEngine("llama-cpp", [code], { kind: "llama-cpp" }),
    ];
    const harness = createTestOrchestrator([ollama, embedded], { memoryBytes: 7 * gigabyte });
    await load(harness, chat.name);
    await load(harness, code.name);
    expect(ollama.calls).toEqual(["load chat:3b 4096", "unload chat:3b"]);
    expect(embedded.calls).toEqual(["load code:3b 4096"]);
  });

  it("a server with its own memory is planned by its configured size, independent of this machine", async () => {
    const box = { memoryDomain: "127.0.0.1:11435", memoryBytes: 7 * gigabyte };
    const [here, there] = [
      createFakeEngine("ollama", [chat]),
      createFakeEngine("box", [code, fakeModel("b:3b", 3 * gigabyte)], box),
    ];
    const harness = createTestOrchestrator([here, there], { memoryBytes: 6 * gigabyte });
    await load(harness, chat.name);
    // 3 GB are free here, and 7 GB there.
    await load(harness, code.name);
    expect(await harness.orchestrator.planLoad(harness.caller(), { model: "b:3b" })).toMatchObject({
      fits: true,
      freeBytes: 4 * gigabyte,
      evict: [{ name: code.name }],
    });
    await load(harness, "b:3b");
    expect(there.calls).toEqual(["load code:3b 4096", "unload code:3b", "load b:3b 4096"]);
    expect([...here.resident.keys()]).toEqual([chat.name]);
  });

  it("the memory of another machine is not planned without a configured size, which the plan names", async () => {
    const there = createFakeEngine("box", [code], { memoryDomain: "box:11434" });
    const { orchestrator, caller } = createTestOrchestrator([there], { memoryBytes: gigabyte });
    const plan = await orchestrator.planLoad(caller(), { model: code.name });
    expect(plan.steps).toEqual([expect.stringContaining("providers.ollama.memoryBytes is not set")]);
  });

  it("memory.maxBytes limits the memory of all models, however much is free", async () => {
    const engine = createFakeEngine("ollama", [chat, code, fakeModel("big:8b", 8 * gigabyte)]);
    const settings = { memory: { bufferBytes: gigabyte, maxBytes: 6.5 * gigabyte } };
    const harness = createTestOrchestrator([engine], { memoryBytes: 64 * gigabyte, settings });
    await load(harness, chat.name);
    await load(harness, code.name);
    expect(engine.calls).toEqual(["load chat:3b 4096", "unload chat:3b", "load code:3b 4096"]);
    await expect(load(harness, "big:8b")).rejects.toBeInstanceOf(ModelDoesNotFit);
  });

  it("file-mapped bytes of a loaded model are not free, although the system counts them as available", async () => {
    const engine = createFakeEngine("ollama", [chat, code]);
    const mapped = { name: chat.name, sizeBytes: 3 * gigabyte, vramBytes: 0, mappedBytes: 2 * gigabyte };
    engine.resident.set(chat.name, { ...mapped, contextTokens: 4096 });
    // MemAvailable excludes only the anonymous bytes.
    const sample = () => ({ availableBytes: 9 * gigabyte - (engine.resident.has(chat.name) ? gigabyte : 0) });
    const { orchestrator, caller } = createTestOrchestrator([engine], { sample });
    expect((await orchestrator.planLoad(caller(), { model: code.name })).freeBytes).toBe(6 * gigabyte);
  });
});

describe("the file-mapped part of a model in Ollama", () => {
  const first = fakeModel("first:8b", 5 * gigabyte);
  const second = fakeModel("second:8b", 4 * gigabyte);
  const card = { name: "RTX", totalBytes: 8 * gigabyte, freeBytes: gigabyte };

  // Without a GPU, Ollama reads a model into anonymous memory; with one, it maps the file.
  it.each([
    ["nothing on a machine without a GPU", [], 0, "available 20.0 GB", "CPU"],
    [
      "the part that is not on the card",
      [card],
      3,
      "available 20.0 GB - 2.0 GB mapped by loaded models = 18.0 GB",
      "60% GPU",
    ],
    ["all of it beside an idle card", [card], 0, "available 20.0 GB - 5.0 GB mapped by loaded models = 15.0 GB", "CPU"],
    ["the part that a GPU with shared memory doesn't hold", [], 4, "available 20.0 GB - 1.0 GB mapped", "80% GPU"],
  ])("is %s", async (_case, gpus, vramGb, text, processor) => {
    const engine = createFakeEngine("ollama", [first, second]);
    const vramBytes = vramGb * gigabyte;
    engine.resident.set(first.name, { name: first.name, sizeBytes: 5 * gigabyte, vramBytes, contextTokens: 4096 });
    const { orchestrator, caller } = createTestOrchestrator([engine], {
      sample: () => ({ availableBytes: 20 * gigabyte, gpus }),
    });
    const plan = await orchestrator.planLoad(caller(), { model: second.name });
    expect(plan.steps[0]?.startsWith(text)).toBe(true);
    expect((await orchestrator.ramStatus(caller())).loaded).toMatchObject([{ name: first.name, processor }]);
  });
});

describe("loads in progress", () => {
  it("reserve their memory, including margin and process", async () => {
    const models = [fakeModel("first:8b", 5 * gigabyte), fakeModel("second:8b", 5 * gigabyte)];
    const estimate = { method: "simulated", predictedBytes: 6 * gigabyte, margin: 0.1, processBytes: 0.1 * gigabyte };
    const estimation = { estimate: () => Promise.resolve(estimate as MemoryEstimate) };
    const engine = createFakeEngine("llama-cpp", models, { kind: "llama-cpp", estimation });
    const gate = createGate();
    engine.beforeLoad = () => gate.pass();
    const harness = createTestOrchestrator([engine]);
    const loading = load(harness, "first:8b");
    await gate.entered;
    const { freeBytes } = await harness.orchestrator.planLoad(harness.caller(), { model: "second:8b" });
    expect(freeBytes).toBeCloseTo((32 - 6.7) * gigabyte, -2);
    gate.open();
    await loading;
  });
});

describe("graphics cards (simulated)", () => {
  const card = (freeGb: number) => ({
    name: "RTX",
    totalBytes: 24 * gigabyte,
    freeBytes: freeGb * gigabyte + setAsideOnCardBytes,
  });
  const first = fakeModel("first:8b", 5 * gigabyte);
  const second = fakeModel("second:8b", 5 * gigabyte);

  it.each([
    // 6 GB are reserved.
    ["fits into the rest", 20, { fits: true, freeBytes: 14 * gigabyte, placement: { ramBytes: 0 } }],
    // Ollama would unload the first model for a split.
    ["waits for the end of the load", 10, { fits: false }],
  ])("a load beside one in progress %s", async (_case, freeGb, expected) => {
    const engine = createFakeEngine("ollama", [first, second]);
    const gate = createGate();
    engine.beforeLoad = () => gate.pass();
    const harness = createTestOrchestrator([engine], {
      sample: () => ({ gpus: [card(freeGb)] }),
      memoryBytes: 32 * gigabyte,
    });
    const loading = load(harness, first.name);
    await gate.entered;
    expect(await harness.orchestrator.planLoad(harness.caller(), { model: second.name })).toMatchObject(expected);
    gate.open();
    await loading;
  });

  // Ollama takes what was free after its load for the free memory as long as it is loaded.
  it.each([
    ["is unloaded for the next load, although the card has room by then", false, { evict: [{ name: first.name }] }],
    ["rules out the next load if it is pinned", true, { fits: false, freeBytes: 4 * gigabyte + setAsideOnCardBytes }],
  ])("a model that was loaded onto a full card %s", async (_case, isPinned, expected) => {
    const engine = createFakeEngine("ollama", [first, second]);
    let gpus = [card(4)];
    const { orchestrator, caller } = createTestOrchestrator([engine], { sample: () => ({ gpus }) });
    await orchestrator.setPinned(caller(), first.name, isPinned);
    const loaded = { name: first.name, sizeBytes: 5 * gigabyte, vramBytes: 5 * gigabyte, contextTokens: 4096 };
    engine.resident.set(first.name, loaded);
    const plan = () => orchestrator.planLoad(caller(), { model: second.name });
    await plan();
    gpus = [card(20)];
    expect(await plan()).toMatchObject(expected);
  });

  it("two of the same make are numbered", async () => {
    const harness = createTestOrchestrator([createFakeEngine("ollama", [fakeModel("big:30b", 10 * gigabyte)])], {
      sample: () => ({ gpus: [card(8), card(6)] }),
    });
    const { placement } = await harness.orchestrator.planLoad(harness.caller(), { model: "big:30b" });
    expect(placement?.cards.map(({ name }) => name)).toEqual(["RTX #1", "RTX #2"]);
  });

  it("are not used by the embedded engine", async () => {
    const engine = createFakeEngine("llama-cpp", [first], { kind: "llama-cpp" });
    const harness = createTestOrchestrator([engine], { sample: () => ({ gpus: [card(20)] }) });
    const plan = await harness.orchestrator.planLoad(harness.caller(), { model: first.name });
    expect(plan.placement).toBeUndefined();
    expect(plan.steps.at(-1)).toBe("load first:8b");
  });
});

describe("a machine under pressure", () => {
  const small = fakeModel("small:3b", 2 * gigabyte);
  const minute = 60_000;

  function busySetup(settings: object = {}) {
    let sample: Partial<MemorySample> = { loadPerCore: 3, swapTotalBytes: 8 * gigabyte, swapUsedBytes: 2 * gigabyte };
    const engine = createFakeEngine("ollama", [small]);
    const time = slowTime();
    const options = { settings, sample: () => sample, now: time.now, timers: time.timers };
    return { engine, time, ...createTestOrchestrator([engine], options), calm: () => void (sample = {}) };
  }

  it("is reported in plans and in the status", async () => {
    const { orchestrator, caller } = busySetup();
    const warnings = [
      expect.stringContaining("2.0 GB of 8.0 GB swap"),
      expect.stringContaining("CPU busy (load 3.0 per core)"),
    ];
    const plan = await orchestrator.planLoad(caller(), { model: small.name });
    expect(plan).toMatchObject({ fits: true, warnings });
    const status = await orchestrator.systemStatus(caller());
    expect(status.warnings.join("\n")).toContain("CPU busy (load 3.0 per core)");
    expect(status.ram.warning).toContain("2.0 GB of 8.0 GB swap");
  });

  it("delays background loads, and no requested ones", async () => {
    const { engine, time, orchestrator, caller, calm } = busySetup({
      model: { keepAlive: { preload: [small.name] } },
    });
    await orchestrator.resume({ ofPull: () => ({}), ofBatch: () => ({}), ofError: () => "" });
    await time.pass(2 * minute);
    expect(engine.calls).toEqual([]);
    expect(orchestrator.decisions(caller()).map(({ kind, steps }) => [kind, steps[1], steps[2]])).toEqual([
      ["preload", expect.stringContaining("not loaded yet: "), "retried every 30 s"],
    ]);
    calm();
    await time.pass(minute);
    expect(engine.calls).toEqual([`load ${small.name} 4096`]);
    const asked = busySetup();
    await load(asked, small.name);
    expect(asked.engine.calls).toEqual([`load ${small.name} 4096`]);
  });
});

describe("after a restart", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  const model = fakeModel("smollm2:135m", 98_362_432);
  const shape = fittedShapes.find(({ name }) => name === "SmolLM2 135M");

  /** An Ollama that reports sizes and outlives the daemon. */
  function server(): FakeEngine {
    const engine = createFakeEngine("ollama", [model], { address: "http://127.0.0.1:11434" });
    const { residency } = engine;
    if (residency === undefined) throw new Error("it has one");
    return Object.assign(engine, {
      health: () => Promise.resolve({ isReachable: true, version: "0.33" }),
      describe: () =>
        Promise.resolve({
          ...model,
          weightsBytes: 96_576_768,
          vocabularySize: 49_152,
          contextTokens: 8_192,
          capabilities: ["completion" as const],
          metadata: Object.fromEntries((shape ? metadataOf(shape) : []).map(([key, , value]) => [key, value])),
        }),
      residency: {
        ...residency,
        loaded: async (signal: AbortSignal) =>
          (await residency.loaded(signal)).map((each) => ({
            ...each,
            digest: model.digest ?? "",
            sizeBytes: 210_690_374,
          })),
      },
    });
  }

  it("the first plan equals the last one before it, including the cost of a reload", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "ollm-restart-"));
    folders.push(folder);
    const time = slowTime();
    const started = () =>
      createTestOrchestrator([server()], {
        documentFiles: createDocumentFiles(folder),
        now: time.now,
        steady: time.now,
      });

    const before = started();
    expect((await before.orchestrator.planLoad(before.caller(), { model: model.name })).estimate.method).toBe(
      "computed",
    );
    await load(before, model.name);
    // Polls the loaded model and learns its size.
    await before.orchestrator.planLoad(before.caller(), { model: model.name });
    await before.orchestrator.unloadModels(before.caller());
    const last = await before.orchestrator.planLoad(before.caller(), { model: model.name });
    expect(last.estimate).toMatchObject({ method: "learned", predictedBytes: 210_690_374 });
    await before.orchestrator.close();

    const after = started();
    expect(await after.orchestrator.planLoad(after.caller(), { model: model.name })).toEqual(last);
    await after.orchestrator.close();
  });
});
