import { expect, it } from "vitest";
import { createObservations } from "../../../src/orchestrator/memory/measure/observations.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";
import type { ResidentModel } from "../../../src/orchestrator/api/types.ts";

const engine = createFakeEngine("ollama", []);
const MiB = 1024 ** 2;
const model = (name: string, more: Partial<ResidentModel> = {}): ResidentModel => ({
  name,
  digest: name,
  sizeBytes: 31_559_956_561,
  vramBytes: 31_559_956_561,
  contextTokens: 4_096,
  ...more,
});

function setup() {
  const slots = new Slots({
    now: () => 0,
    steady: () => 0,
    observations: createObservations(() => 0),
    isPinned: () => false,
  });
  return (residents: readonly ResidentModel[], freeMib: number) => {
    slots.observe(engine, residents);
    return residents.map((each) => slots.of(engine, each.name).freeAfterLoad(each, freeMib * MiB) / MiB);
  };
}

it("is the free memory when a model was first seen, also after others were unloaded", () => {
  const observe = setup();
  observe([model("a")], 50_384);
  observe([model("a"), model("b")], 19_685);
  expect(observe([model("b")], 50_384)).toEqual([19_685]);
});

it("is measured again for a model that was reloaded or unloaded in between", () => {
  const observe = setup();
  observe([model("a")], 10_000);
  expect(observe([model("a", { contextTokens: 8_192 })], 9_000)).toEqual([9_000]);
  observe([], 81_079);
  expect(observe([model("a")], 50_384)).toEqual([50_384]);
});
