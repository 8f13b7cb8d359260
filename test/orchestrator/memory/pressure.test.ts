import { expect, it } from "vitest";
import { pressureWarnings } from "../../../src/orchestrator/memory/state.ts";

const calm = { swapTotalBytes: 8e9, swapUsedBytes: 0 };

it.each([
  { case: "the machine is idle", pressure: { ...calm, loadPerCore: 0 } },
  { case: "one model computes on all cores", pressure: { ...calm, loadPerCore: 1.2 } },
  { case: "a little swap is used", pressure: { ...calm, swapUsedBytes: 200e6 } },
  { case: "the system reports no load", pressure: calm },
])("no warning when $case", ({ pressure }) => {
  expect(pressureWarnings(pressure)).toEqual([]);
});

it("used swap and a busy CPU give one sentence each", () => {
  expect(pressureWarnings({ swapTotalBytes: 8e9, swapUsedBytes: 3e9, loadPerCore: 2.44 })).toEqual([
    "3.0 GB of 8.0 GB swap in use: answers will be slow",
    "CPU busy (load 2.4 per core): answers will be slow",
  ]);
});
