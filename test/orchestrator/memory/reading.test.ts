import { expect, it } from "vitest";
import { cacheBytes, calibrate } from "../../../src/orchestrator/memory/compute.ts";
import { computedEstimate } from "../../../src/orchestrator/memory/predict.ts";
import { completeReading, computeObservation } from "../../../src/orchestrator/memory/reading.ts";
import { load, published } from "./metadata.ts";

const MiB = 1024 ** 2;
const gemma = published("Gemma 3 270M");
const weights = { weightsBytes: 246_587_904 };
/** Context and batch; size reported by `/api/ps` of Ollama 0.33; caches, compute and output from its runner's log. */
const reports = [
  [2_048, 512, 285_149_756, 6 + 15, 20.77 + 1],
  [4_096, 512, 287_246_908, 12 + 15, 22.77 + 1],
  [8_192, 1_024, 328_424_488, 24 + 22.5, 54.54 + 1],
] as const;

it.each(reports)("the size of a model with two caches at %d tokens is completed by the missing one", (...reading) => {
  const [contextTokens, batchTokens, reported, cacheMiB, computeMiB] = reading;
  const shape = load(contextTokens, { batchTokens });
  expect(cacheBytes(gemma, shape)).toBe(cacheMiB * MiB);
  const logged = weights.weightsBytes + (cacheMiB + computeMiB) * MiB;
  expect(Math.abs(completeReading(gemma, shape, weights, reported) - logged)).toBeLessThan(0.02 * MiB);
});

it.each(reports)("a size at %d tokens that includes both caches is unchanged", (...reading) => {
  const [contextTokens, batchTokens, , cacheMiB, computeMiB] = reading;
  const logged = weights.weightsBytes + (cacheMiB + computeMiB) * MiB;
  expect(completeReading(gemma, load(contextTokens, { batchTokens }), weights, logged)).toBe(logged);
});

it("the size of a model with one kind of cache is unchanged", () => {
  expect(completeReading(published("SmolLM2 135M"), load(4_096), { weightsBytes: 96_576_768 }, 1)).toBe(1);
  expect(completeReading(published("Mamba 130M"), load(4_096), { weightsBytes: 96_576_768 }, 1)).toBe(1);
});

it.each(reports)("a size observed at %d tokens predicts every other context within its margin", (...reading) => {
  const [contextTokens, batchTokens, reported] = reading;
  const shape = load(contextTokens, { batchTokens });
  const completed = completeReading(gemma, shape, weights, reported);
  const calibration = calibrate([computeObservation(gemma, shape, weights, completed)]);
  expect(calibration.outputs).toBe("sequences");
  for (const [context, batch, , cacheMiB, computeMiB] of reports) {
    const actual = weights.weightsBytes + (cacheMiB + computeMiB) * MiB;
    const other = computedEstimate(gemma, load(context, { batchTokens: batch }), weights, calibration);
    expect(Math.abs(other.predictedBytes / actual - 1)).toBeLessThan(0.01);
    expect(other.predictedBytes * (1 + other.margin)).toBeGreaterThan(actual);
  }
});
