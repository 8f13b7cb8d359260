import { expect, it } from "vitest";
import { createLearnedSizes, learnedEstimate } from "../../../src/orchestrator/memory/reading.ts";

const key = {
  host: "ollama",
  version: "0.33",
  digest: "a",
  contextTokens: 4_096,
  parallel: 1,
  cacheType: "f16",
} as const;
const inRam = { vramBytes: 0 };

it("a size is remembered for exactly its host, model, context, sequences, cache type and version", () => {
  const sizes = createLearnedSizes();
  sizes.observe({ ...key, ...inRam, sizeBytes: 100 });
  expect(sizes.find(key)?.sizeBytes).toBe(100);
  for (const other of [
    { host: "b" },
    { digest: "b" },
    { contextTokens: 8_192 },
    { parallel: 2 },
    { cacheType: "q8_0" as const },
    { version: "0.34" },
  ])
    expect(sizes.find({ ...key, ...other })).toBeUndefined();
});

it("the last size counts, and a size of 0 is ignored", () => {
  const sizes = createLearnedSizes();
  for (const size of [100, 90, 0]) sizes.observe({ ...key, ...inRam, sizeBytes: size });
  expect(sizes.find(key)?.sizeBytes).toBe(90);
});

it("`observe` returns whether a reading is new", () => {
  const sizes = createLearnedSizes();
  const compute = { observedBytes: 1, batchBytes: 2, sequencesBytes: 3 };
  expect(sizes.observe({ ...key, ...inRam, sizeBytes: 100 })).toBe(true);
  expect(sizes.observe({ ...key, ...inRam, sizeBytes: 100 })).toBe(false);
  expect(sizes.observe({ ...key, ...inRam, sizeBytes: 100, compute })).toBe(true);
  expect(sizes.observe({ ...key, ...inRam, sizeBytes: 100 })).toBe(false);
  expect(sizes.find(key)).toMatchObject({ compute });
  expect(sizes.observe({ ...key, sizeBytes: 100, vramBytes: 50 })).toBe(true);
  expect(sizes.observe({ ...key, ...inRam, sizeBytes: 101 })).toBe(true);
});

it("beyond 512 readings the oldest are dropped", () => {
  const sizes = createLearnedSizes();
  for (let context = 1; context <= 513; context += 1)
    sizes.observe({ ...key, ...inRam, contextTokens: context, sizeBytes: context });
  expect(sizes.find({ ...key, contextTokens: 1 })).toBeUndefined();
  expect(sizes.readings("ollama", "0.33")).toHaveLength(512);
});

it("the parts are those of the formula, with the difference assigned to the compute buffer", () => {
  const parts = { weightsBytes: 70, cacheBytes: 20, computeBytes: 30, otherBytes: 0 };
  const computed = { method: "computed", predictedBytes: 120, margin: 0.1, processBytes: 5, parts } as const;
  expect(learnedEstimate({ sizeBytes: 100, vramBytes: 25 }, computed)).toEqual({
    method: "learned",
    predictedBytes: 100,
    margin: 0.01,
    processBytes: 5,
    vramShare: 0.25,
    parts: { ...parts, computeBytes: 10 },
  });
  // The difference exceeds the compute buffer: no parts rather than wrong ones.
  expect(learnedEstimate({ sizeBytes: 80, vramBytes: 0 }, computed)).not.toHaveProperty("parts");
});
