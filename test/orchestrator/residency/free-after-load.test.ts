import { expect, it } from "vitest";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import type { Engine, ResidentModel } from "../../../src/orchestrator/engines/engine.ts";
import type { GpuMemory } from "../../../src/orchestrator/memory/measure/system-probe.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";

const engine = createFakeEngine("ollama", []);
const MiB = 1024 ** 2;
const h100 = (freeMib?: number) => [
  {
    name: "NVIDIA H100 80GB HBM3",
    totalBytes: 81_559 * MiB,
    ...(freeMib === undefined ? {} : { freeBytes: freeMib * MiB }),
  },
];
const model = (name: string, more: Partial<ResidentModel> = {}): ResidentModel => ({
  name,
  digest: name,
  sizeBytes: 31_559_956_561,
  vramBytes: 31_559_956_561,
  contextTokens: 4_096,
  ...more,
});

function setup(of: Engine = engine) {
  const observations = createObservations(() => 0);
  const slots = new Slots({ now: () => 0, steady: () => 0, observations, isPinned: () => false });
  return (residents: readonly ResidentModel[], gpus: readonly GpuMemory[]) => {
    slots.observe(of, residents);
    return residents.map((each) => slots.of(of, each.name).freeAfterLoad(each, gpus));
  };
}

it("is the free memory when a model was first seen, also after others were unloaded", () => {
  const observe = setup();
  observe([model("a")], h100(50_384));
  observe([model("a"), model("b")], h100(19_685));
  expect(observe([model("b")], h100(50_384))).toEqual([19_685 * MiB]);
});

it("is measured again for a model that was reloaded or unloaded in between", () => {
  const observe = setup();
  observe([model("a")], h100(10_000));
  expect(observe([model("a", { contextTokens: 8_192 })], h100(9_000))).toEqual([9_000 * MiB]);
  observe([], h100(81_079));
  expect(observe([model("a")], h100(50_384))).toEqual([50_384 * MiB]);
});

it("is unknown without cards, without their free memory, in RAM, and for other engines", () => {
  const observe = setup();
  expect(observe([model("a")], [])).toEqual([undefined]);
  expect(observe([model("a")], h100())).toEqual([undefined]);
  expect(observe([model("a", { vramBytes: 0 })], h100(10_000))).toEqual([undefined]);
  const { usesCards: _usesCards, ...onProcessor } = createFakeEngine("embedded", []) as Engine;
  expect(setup(onProcessor)([model("a")], h100(10_000))).toEqual([undefined]);
});
