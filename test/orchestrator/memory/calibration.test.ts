import fc from "fast-check";
import { expect, it } from "vitest";
import { calibrate, unobserved } from "../../../src/orchestrator/memory/compute.ts";

const formula = { batchBytes: 500, sequencesBytes: 100 };

it("without observations the larger formula applies", () => {
  expect(calibrate([])).toEqual(unobserved);
});

it("the formula that explains an observation better is chosen and scaled to it", () => {
  expect(calibrate([{ ...formula, observedBytes: 110 }])).toMatchObject({ outputs: "sequences", scale: 1.1 });
  expect(calibrate([{ ...formula, observedBytes: 600 }])).toMatchObject({ outputs: "batch", scale: 1.2 });
});

it("an observation below the formula widens the spread and doesn't lower the scale", () => {
  const calibration = calibrate([{ ...formula, observedBytes: 60 }]);
  expect(calibration).toMatchObject({ outputs: "sequences", scale: 1, observations: 1 });
  expect(calibration.spread).toBeCloseTo(0.4);
});

it("differing observations give the largest scale and their spread", () => {
  const calibration = calibrate([80, 120].map((observedBytes) => ({ ...formula, observedBytes })));
  expect(calibration).toMatchObject({ outputs: "sequences", scale: 1.2, observations: 2 });
  expect(calibration.spread).toBeCloseTo(1 / 3);
});

it("observations that neither formula explains are ignored", () => {
  expect(calibrate([{ ...formula, observedBytes: -300 }])).toEqual(unobserved);
  expect(calibrate([{ ...formula, observedBytes: 9_000 }])).toEqual(unobserved);
  const mixed = calibrate([110, 9_000].map((observedBytes) => ({ ...formula, observedBytes })));
  expect(mixed).toMatchObject({ outputs: "sequences", observations: 1 });
});

it("a size that fits both formulas keeps the larger one and its margin", () => {
  // starcoder2, whose block is wider than its logits; falcon, where both are nearly the same.
  for (const either of [
    { batchBytes: 600, sequencesBytes: 640 },
    { batchBytes: 520, sequencesBytes: 500 },
  ]) {
    expect(calibrate([{ ...either, observedBytes: 490 }])).toEqual(unobserved);
    expect(calibrate([{ ...either, observedBytes: 1_200 }])).toMatchObject({ outputs: "batch", observations: 0 });
    expect(calibrate([{ ...either, observedBytes: 1_200 }]).scale).toBeGreaterThan(1.9);
    const combined = calibrate([
      { ...either, observedBytes: 490 },
      { ...formula, observedBytes: 100 },
    ]);
    expect(combined).toMatchObject({ outputs: "sequences" });
  }
});

it("contradicting observations keep the larger formula", () => {
  const calibration = calibrate([110, 480].map((observedBytes) => ({ ...formula, observedBytes })));
  expect(calibration.outputs).toBe("batch");
});

it("a size slightly below the larger formula doesn't indicate the smaller one", () => {
  expect(calibrate([{ batchBytes: 500, sequencesBytes: 390, observedBytes: 425 }]).outputs).toBe("batch");
});

it("no counted observation is above the scaled formula", () => {
  const observation = fc.record({
    observedBytes: fc.integer({ min: 1, max: 10_000 }),
    batchBytes: fc.integer({ min: 100, max: 2_000 }),
    sequencesBytes: fc.integer({ min: 10, max: 99 }),
  });
  fc.assert(
    fc.property(fc.array(observation, { minLength: 1, maxLength: 8 }), (observations) => {
      const { outputs, scale, spread, observations: counted } = calibrate(observations);
      expect(spread).toBeGreaterThanOrEqual(0);
      if (counted < observations.length) return;
      for (const { observedBytes, batchBytes, sequencesBytes } of observations) {
        const bytes = outputs === "batch" ? batchBytes : sequencesBytes;
        expect(observedBytes).toBeLessThanOrEqual(bytes * scale * (1 + 1e-9));
      }
    }),
  );
});
