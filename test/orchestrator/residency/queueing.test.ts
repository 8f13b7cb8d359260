import { describe, expect, it } from "vitest";
import type { LoadTarget, MemoryState, SlotView } from "../../../src/orchestrator/memory/state.ts";
import { modelId } from "../../../src/orchestrator/catalog/located-model.ts";
import { victimsOf } from "../../../src/orchestrator/residency/plans.ts";
import { gigabyte } from "../../support/fake-engine.ts";

function resident(name: string, gigabytes: number, more: Partial<SlotView> = {}): SlotView {
  return {
    name,
    engine: "ollama",
    sizeBytes: gigabytes * gigabyte,
    mappedBytes: 0,
    isBusy: false,
    isPinned: false,
    lastUsedMs: 0,
    isForeign: false,
    ...more,
  };
}

function target(gigabytes: number): LoadTarget {
  const predictedBytes = gigabytes * gigabyte;
  return {
    model: "new:1b",
    engine: "ollama",
    contextTokens: 4_096,
    estimate: { method: "configured", predictedBytes, margin: 0, processBytes: 0 },
    fileBytes: predictedBytes,
    isLoaded: false,
  };
}

function memory(freeGigabytes: number, ...entries: readonly SlotView[]): MemoryState {
  return {
    availableBytes: freeGigabytes * gigabyte,
    isOverridden: false,
    bufferBytes: 0,
    smallModelBytes: 0,
    reservedBytes: 0,
    resident: entries,
  };
}

const ids = (...names: readonly string[]) => names.map((name) => modelId("ollama", name));

describe("the victims of a waiting load", () => {
  it("are none if the model fits without evictions", () => {
    expect(victimsOf(target(4), memory(5, resident("a:1b", 3)))).toEqual([]);
  });

  it("are idle models if they suffice", () => {
    const state = memory(1, resident("busy:1b", 4, { isBusy: true }), resident("idle:1b", 5));
    expect(victimsOf(target(4), state)).toEqual(ids("idle:1b"));
  });

  it("are busy models if the idle ones don't suffice", () => {
    const state = memory(1, resident("busy:1b", 4, { isBusy: true }), resident("idle:1b", 1));
    expect(victimsOf(target(4), state)).toEqual(ids("busy:1b"));
  });

  it("are those left when loads in progress are done, in RAM and on cards", () => {
    const card = { name: "RTX", totalBytes: 12 * gigabyte, freeBytes: 6 * gigabyte, reservedBytes: 6 * gigabyte };
    const onCard = resident("idle:1b", 6, { vramBytes: 6 * gigabyte });
    const state = { ...memory(3, onCard), gpus: [card], mayUseGpus: true };
    expect(victimsOf(target(9), state)).toEqual(ids("idle:1b"));
  });

  it("don't include the instance of the model with less context", () => {
    expect(victimsOf(target(4), memory(1, resident("new:1b", 3)))).toEqual([]);
  });

  it("are none if no eviction helps, so that the load fails at once", () => {
    const state = memory(1, resident("pinned:1b", 9, { isPinned: true }));
    expect(victimsOf(target(8), state)).toEqual([]);
  });
});
