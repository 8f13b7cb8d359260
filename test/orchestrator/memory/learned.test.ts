import { expect, it } from "vitest";
import { createLearnedSizes, learnedEstimate } from "../../../src/orchestrator/memory/learned.ts";

const key = { host: "ollama", digest: "a", contextTokens: 4_096, parallel: 1 };

it("a size is remembered for exactly its host, model, context, sequences and version", () => {
  const sizes = createLearnedSizes();
  sizes.observe(key, "0.33", 100);
  expect(sizes.find(key, "0.33")).toBe(100);
  for (const other of [{ host: "b" }, { digest: "b" }, { contextTokens: 8_192 }, { parallel: 2 }])
    expect(sizes.find({ ...key, ...other }, "0.33")).toBeUndefined();
  expect(sizes.find(key, "0.34")).toBeUndefined();
});

it("the last size counts, and one of nothing doesn't", () => {
  const sizes = createLearnedSizes();
  for (const size of [100, 90, 0]) sizes.observe(key, "0.33", size);
  expect(sizes.find(key, "0.33")).toBe(90);
});

it("the oldest are forgotten beyond 512", () => {
  const sizes = createLearnedSizes();
  for (let context = 1; context <= 513; context += 1)
    sizes.observe({ ...key, contextTokens: context }, "0.33", context);
  expect(sizes.find({ ...key, contextTokens: 1 }, "0.33")).toBeUndefined();
  expect(sizes.readings("ollama", "0.33")).toHaveLength(512);
});

it("its parts are those of the formula, with the difference in the compute buffer", () => {
  const parts = { weightsBytes: 70, cacheBytes: 20, computeBytes: 30, otherBytes: 0 };
  const computed = { method: "computed", predictedBytes: 120, margin: 0.1, processBytes: 5, parts } as const;
  expect(learnedEstimate(100, computed)).toEqual({
    method: "learned",
    predictedBytes: 100,
    margin: 0.01,
    processBytes: 5,
    parts: { ...parts, computeBytes: 10 },
  });
  // The formula overrates more than the compute buffer: better no parts than wrong ones.
  expect(learnedEstimate(80, computed)).not.toHaveProperty("parts");
});
