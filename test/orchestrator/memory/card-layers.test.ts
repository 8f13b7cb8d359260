import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { setAsideOnCardBytes } from "../../../src/orchestrator/memory/limits.ts";
import { planLoad } from "../../../src/orchestrator/memory/plan.ts";
import type { LoadTarget, MemoryState, SlotView } from "../../../src/orchestrator/memory/state.ts";

const gigabyte = 1_000_000_000;
/** A model of 5 GB: four layers of 1 GB, and 1 GB that is never on a card. */
const byLayers = [0, 1, 2, 3, 4].map((layers) => ({ vramBytes: layers * gigabyte, contextBytes: layers }));
const target: LoadTarget = {
  model: "large",
  engine: "llama-cpp",
  contextTokens: 4_096,
  isLoaded: false,
  fileBytes: 5 * gigabyte,
  estimate: { method: "simulated", predictedBytes: 5 * gigabyte, margin: 0, processBytes: 0, byLayers },
};
const state = (ramBytes: number, cardBytes: number, more: Partial<MemoryState> = {}): MemoryState => ({
  availableBytes: ramBytes,
  isOverridden: false,
  bufferBytes: gigabyte,
  smallModelBytes: 0,
  reservedBytes: 0,
  resident: [],
  gpus: [{ name: "card", totalBytes: 24 * gigabyte, freeBytes: cardBytes + setAsideOnCardBytes, reservedBytes: 0 }],
  mayUseGpus: true,
  ...more,
});
const idle = (name: string, ramBytes: number, vramBytes: number): SlotView => ({
  name,
  engine: "llama-cpp",
  sizeBytes: ramBytes + vramBytes,
  vramBytes,
  mappedBytes: 0,
  isBusy: false,
  isPinned: false,
  lastUsedMs: 0,
  isForeign: false,
});

describe("a load by layers", () => {
  it.each<[string, number, number, number | undefined]>([
    ["a whole card", 3, 4, 4],
    ["a card with room for two and a half layers", 10, 2.5, 2],
    ["a full card", 10, 0.5, 0],
    ["a card and a RAM that hold it together", 4, 2, 2],
    ["a card and a RAM that don't", 3.9, 2, undefined],
    ["a card that holds its layers, without RAM for the rest", 1.9, 9, undefined],
  ])("on %s", (_case, ram, card, layers) => {
    const plan = planLoad(target, state(ram * gigabyte, card * gigabyte));
    expect(plan.fits).toBe(layers !== undefined);
    if (layers === undefined) return;
    const vramBytes = layers * gigabyte;
    expect(plan.placement).toMatchObject({ layers, vramBytes, ramBytes: 5 * gigabyte - vramBytes });
  });

  it("unloads only what is in the way, not all models of the engine", () => {
    const resident = [idle("small", 0, gigabyte), idle("other", gigabyte, 2 * gigabyte)];
    const plan = planLoad(target, state(10 * gigabyte, 3 * gigabyte, { resident }));
    expect(plan.evict.map(({ name }) => name)).toEqual(["small"]);
    expect(plan.placement?.layers).toBe(4);
  });

  it("is split beside models that can't be unloaded", () => {
    const resident = [{ ...idle("pinned", 0, 9 * gigabyte), isPinned: true }];
    const plan = planLoad(target, state(10 * gigabyte, 3 * gigabyte, { resident }));
    expect(plan).toMatchObject({ fits: true, evict: [], placement: { layers: 3 } });
  });

  it("is in RAM while something keeps the model off the cards", () => {
    const plan = planLoad(target, state(10 * gigabyte, 9 * gigabyte, { mayUseGpus: false }));
    expect(plan).toMatchObject({ fits: true });
    expect(plan.placement).toBeUndefined();
  });

  it("never takes more of card or RAM than is free, and leaves the buffer", () => {
    const bytes = fc.integer({ min: 0, max: 12 * gigabyte });
    const property = fc.property(bytes, bytes, fc.double({ min: 0, max: 0.2, noNaN: true }), (ram, card, margin) => {
      const estimate = { ...target.estimate, margin };
      const plan = planLoad({ ...target, estimate }, state(ram, card));
      if (!plan.fits || plan.placement === undefined) return;
      const { ramBytes, vramBytes, layers = 0 } = plan.placement;
      expect(vramBytes).toBeLessThanOrEqual(card);
      expect(ramBytes + gigabyte).toBeLessThanOrEqual(ram);
      expect(vramBytes).toBe(Math.ceil((byLayers[layers]?.vramBytes ?? 0) * (1 + margin)));
      const next = byLayers[layers + 1];
      if (next !== undefined) expect(Math.ceil(next.vramBytes * (1 + margin))).toBeGreaterThan(card);
    });
    fc.assert(property, { numRuns: 500 });
  });
});
