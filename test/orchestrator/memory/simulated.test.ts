import { expect, it } from "vitest";
import { calibrate, computeBytes } from "../../../src/orchestrator/memory/compute.ts";
import { residentPart, simulatedElsewhere } from "../../../src/orchestrator/memory/predict.ts";
import { load as loadOf, published } from "./metadata.ts";

const model = published("SmolLM2 135M");
const load = loadOf(4_096);
const mib = 1024 ** 2;
/** From the allocator, whose split of the context is a guess. */
const bytes = { weightsBytes: 90 * mib, cacheBytes: 88 * mib, computeBytes: 102 * mib };

it("the parts add up: the cache is exact, and the rest of the context is compute", () => {
  const { predictedBytes, parts, method } = simulatedElsewhere(bytes, load, model, 7);
  expect(method).toBe("simulated");
  expect(parts).toEqual({
    weightsBytes: 90 * mib,
    cacheBytes: 90 * mib,
    computeBytes: 100 * mib,
    otherBytes: 7,
  });
  expect(predictedBytes).toBe(280 * mib + 7);
});

it("the compute buffer follows the outputs observed of the other build, and the margin narrows", () => {
  const [batchBytes, sequencesBytes] = [computeBytes(model, load, "batch"), computeBytes(model, load, "sequences")];
  const observed = calibrate([{ observedBytes: sequencesBytes, batchBytes, sequencesBytes }]);
  const [before, after] = [
    simulatedElsewhere(bytes, load, model, 0),
    simulatedElsewhere(bytes, load, model, 0, observed),
  ];
  expect(after.parts?.computeBytes).toBe(Math.ceil((100 * mib * sequencesBytes) / batchBytes));
  expect(after.margin).toBeLessThan(before.margin / 2);
});

it("a model that the formula doesn't support keeps the numbers of the allocator", () => {
  expect(simulatedElsewhere(bytes, load, undefined, 0)).toMatchObject({
    predictedBytes: 280 * mib,
    parts: { cacheBytes: 88 * mib, computeBytes: 102 * mib },
  });
});

it("the embedded engine's own simulation excludes logits that are never computed", () => {
  const own = loadOf(8_192, { batchTokens: 128 });
  const parts = { weightsBytes: 90 * mib, cacheBytes: 180 * mib, computeBytes: 25 * mib, otherBytes: 20 * mib };
  const estimate = {
    method: "simulated",
    predictedBytes: 315 * mib,
    margin: 0.05,
    processBytes: 88 * mib,
    parts,
  } as const;
  const resident = residentPart(estimate, own, model);
  // 24 MiB are logits of SmolLM2's 49,152 words for 128 tokens, where masks and results of a block are placed, too.
  expect(resident.parts?.computeBytes).toBeLessThan(7 * mib);
  expect(resident.parts?.computeBytes).toBeGreaterThan(4 * mib);
  expect(315 * mib - resident.predictedBytes).toBe(25 * mib - (resident.parts?.computeBytes ?? 0));
  expect(residentPart(estimate, own, undefined)).toBe(estimate);
});
