import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { type FakeCard, writeFakeCard } from "../../../support/fake-card.ts";
import { createTestOrchestrator } from "../../../support/orchestrator.ts";
import { tinySentence, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { setAsideOnCardBytes } from "../../../../src/orchestrator/memory/limits.ts";
import { type LlamaCppOptions, never, startEngine } from "./engine-under-test.ts";

const model = "practice:tiny";
const contextTokens = 2_048;

let realModule = "";
let folder = "";
let dispose: () => Promise<void> = async () => undefined;
beforeAll(async () => {
  realModule = (await installedEngine()).modulePath;
}, engineLimitMs);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-card-"));
});
afterEach(async () => {
  await dispose();
  await rm(folder, { recursive: true, force: true });
});

/** An orchestrator with the embedded engine on a machine with one card, which has `freeBytes` for models. */
async function machine(card: FakeCard = {}, options: Partial<LlamaCppOptions> = {}) {
  const { modulePath, loads } = await writeFakeCard(folder, realModule, card);
  const file = join(folder, "tiny.gguf");
  await writeTinyGguf(file, { layerCount: 6, contextLength: 8_192 });
  const subject = await startEngine(modulePath, { [model]: file }, { backend: "cuda", ...options });
  dispose = subject.dispose;
  const { engine, warnings } = subject;
  let freeBytes = 4_000_000_000;
  const gpu = () => ({ name: "Fake RTX", totalBytes: 8_000_000_000, freeBytes: setAsideOnCardBytes + freeBytes });
  const { orchestrator, caller, generate } = createTestOrchestrator([engine], { sample: () => ({ gpus: [gpu()] }) });
  return {
    engine,
    warnings,
    loads,
    leave: (bytes: number) => (freeBytes = bytes),
    /** From now on, its driver works. */
    free: () => writeFakeCard(folder, realModule, {}),
    estimate: () => engine.estimation?.estimate(model, { contextTokens }, never),
    load: async () => (await orchestrator.loadModel(caller(), { model, contextTokens })).follow(never),
    answer: async () => (await generate({ model })).text,
    resident: async () => (await engine.residency?.loaded(never))?.[0],
    status: () => orchestrator.ramStatus(caller()),
    statusWarnings: async () => (await orchestrator.systemStatus(caller())).warnings,
  };
}

describe("on a card", () => {
  it("a model that fits is planned and loaded there as a whole, and ps shows what it takes", async () => {
    const { load, loads, resident, status, estimate } = await machine();
    const { plan } = await load();
    const layers = ((await estimate())?.byLayers?.length ?? 0) - 1;
    expect(layers).toBeGreaterThan(2);
    expect(plan.placement).toMatchObject({ layers, cards: [{ name: "Fake RTX" }] });
    expect(plan.steps.at(-1)).toMatch(new RegExp(`^load ${model}: ${layers} layers, .* on Fake RTX, .* in RAM$`));
    expect(await loads()).toEqual([layers]);
    expect((await resident())?.vramBytes).toBe((await estimate())?.byLayers?.[layers]?.vramBytes);
    expect((await status()).loaded[0]?.processor).toMatch(/GPU$/);
  });

  it("as many layers as fit are loaded there, the rest is in RAM; unloading frees both", async () => {
    const { load, loads, leave, estimate, engine, resident, answer } = await machine();
    const on = (await estimate())?.byLayers ?? [];
    leave(Math.ceil((on[3]?.vramBytes ?? 0) * 1.05) + 1);
    const { plan } = await load();
    expect(plan.placement).toMatchObject({ layers: 3, vramBytes: Math.ceil((on[3]?.vramBytes ?? 0) * 1.05) });
    expect(await loads()).toEqual([3]);
    expect((await resident())?.vramBytes).toBe(on[3]?.vramBytes);
    expect(await answer()).toBe(tinySentence);
    await engine.residency?.unload(model, never);
    expect(await resident()).toBeUndefined();
  });

  it("nothing is loaded there if no layer fits, without a failure", async () => {
    const { load, loads, leave, resident, warnings } = await machine();
    leave(1);
    expect((await load()).plan.placement).toMatchObject({ layers: 0, vramBytes: 0 });
    expect(await loads()).toEqual([]);
    expect((await resident())?.vramBytes).toBe(0);
    expect(warnings).toEqual([]);
  });
});

describe("falls back to the processor, once and with the reason", () => {
  const inTime = { cardLimitMs: 300 };
  it.each<[string, FakeCard, Partial<LlamaCppOptions>, RegExp]>([
    ["without its driver", { start: "no driver" }, {}, /CUDA failed: .*libggml-cuda\.so: cannot open shared object/],
    [
      "without a card",
      { start: "no card" },
      {},
      /CUDA failed: it found no graphics card that it can use, or only full ones/,
    ],
    ["if its driver crashes", { start: "crashes" }, {}, /CUDA failed: its process ended \(exit code 9\)/],
    ["if its driver hangs", { start: "hangs" }, inTime, /CUDA failed: the engine did not start within 0\.3 s/],
  ])("%s", async (_case, card, options, reason) => {
    const { load, loads, answer, engine, resident, status, statusWarnings, warnings } = await machine(card, options);
    const { plan } = await load();
    expect(plan.placement).toBeUndefined();
    expect(await answer()).toBe(tinySentence);
    expect((await resident())?.vramBytes).toBe(0);
    expect(await loads()).toEqual([]);
    expect((await engine.health(never)).message).toMatch(reason);
    expect(await status()).toMatchObject({
      loaded: [{ processor: "CPU" }],
      warning: expect.stringMatching(reason),
    });
    expect((await statusWarnings()).filter((line) => reason.test(line))).toHaveLength(1);
    expect(warnings.filter((line) => reason.test(line))).toHaveLength(1);
  });

  it.each<[string, FakeCard, RegExp]>([
    ["if it is full", { load: "full" }, /CUDA failed with practice:tiny: .*cudaMalloc failed: out of memory/],
    ["if its driver crashes in a load", { load: "crashes" }, /CUDA failed with practice:tiny: .*\(exit code 9\)/],
  ])("%s", async (_case, card, reason) => {
    const { load, loads, answer, engine, status, warnings } = await machine(card);
    const { plan } = await load();
    expect(plan.placement).toBeUndefined();
    expect(await answer()).toBe(tinySentence);
    expect(await status()).toMatchObject({ loaded: [{ processor: "CPU" }], warning: expect.stringMatching(reason) });
    expect(warnings.filter((line) => reason.test(line))).toHaveLength(1);
    // Not tried again by the next load.
    await engine.residency?.unload(model, never);
    await load();
    expect(await loads()).toHaveLength(1);
  });

  it("for good if its driver is too old for the kernels of any model", async () => {
    let ms = 0;
    const { load, loads, answer, engine, status } = await machine({ load: "old driver" }, { steady: () => ms });
    expect((await load()).plan.placement).toBeUndefined();
    expect(await answer()).toBe(tinySentence);
    const reason = /^CUDA failed: its driver is too old for this card's kernels: update it, or run/;
    expect((await engine.health(never)).message).toMatch(reason);
    expect((await status()).warning).toMatch(reason);
    await engine.residency?.unload(model, never);
    ms += 11 * 60_000;
    await load();
    expect(await loads()).toHaveLength(1);
  });

  it("for ten minutes if it didn't start, as on a full card", async () => {
    let ms = 0;
    const { load, loads, engine, estimate, free } = await machine({ start: "no card" }, { steady: () => ms });
    await load();
    await engine.residency?.unload(model, never);
    await free();
    await load();
    expect(await loads()).toEqual([]);
    await engine.residency?.unload(model, never);
    ms += 11 * 60_000;
    expect((await load()).plan.placement).toMatchObject({ cards: [{ name: "Fake RTX" }] });
    expect((await estimate())?.byLayers).toBeDefined();
    expect(await loads()).toHaveLength(1);
  });

  it("if its driver hangs in a load", async () => {
    let attempts = 0;
    const loadLimitMs = () => (++attempts === 1 ? 500 : 60_000);
    const { load, loads, answer, engine } = await machine({ load: "hangs" }, { loadLimitMs });
    expect((await load()).plan.placement).toBeUndefined();
    expect(await answer()).toBe(tinySentence);
    expect((await engine.health(never)).message).toMatch(
      /CUDA failed: practice:tiny could not be loaded: it did not load/,
    );
    expect(await loads()).toHaveLength(1);
  });

  it("after its driver crashed in an answer, which fails and may be repeated", async () => {
    const { load, loads, answer, engine, status } = await machine({ answer: "crashes" });
    await load();
    const request = { model, messages: [{ role: "user", content: "Hi" }], maxTokens: 50, sampling: {}, contextTokens };
    const sink = { phase: () => undefined, text: () => undefined, thinking: () => undefined };
    await expect(engine.generate(request as never, sink, never)).rejects.toMatchObject({ name: "ConnectionLost" });
    expect(await answer()).toBe(tinySentence);
    expect(await loads()).toHaveLength(1);
    expect((await status()).warning).toMatch(/CUDA failed with practice:tiny: its process ended \(exit code 9\)/);
  });
});
