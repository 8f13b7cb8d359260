import { expect, it } from "vitest";
import { createFreeAfterLoad } from "../../../src/orchestrator/residency/free-after-load.ts";
import type { ResidentModel } from "../../../src/orchestrator/api/types.ts";

const engine = { id: "ollama", usesCards: true } as const;
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

it("is the free memory when a model was first seen, also after others were unloaded", () => {
  const memory = createFreeAfterLoad();
  memory.observe(engine, [model("a")], h100(50_384));
  memory.observe(engine, [model("a"), model("b")], h100(19_685));
  expect([...memory.observe(engine, [model("b")], h100(50_384))]).toEqual([["b", 19_685 * MiB]]);
});

it("is measured again for a model that was reloaded or unloaded in between", () => {
  const memory = createFreeAfterLoad();
  memory.observe(engine, [model("a")], h100(10_000));
  expect(memory.observe(engine, [model("a", { contextTokens: 8_192 })], h100(9_000)).get("a")).toBe(9_000 * MiB);
  memory.observe(engine, [], h100(81_079));
  expect(memory.observe(engine, [model("a")], h100(50_384)).get("a")).toBe(50_384 * MiB);
});

it("is unknown without cards, without their free memory, in RAM, and for other engines", () => {
  const { observe } = createFreeAfterLoad();
  expect(observe(engine, [model("a")], []).size).toBe(0);
  expect(observe(engine, [model("a")], h100()).size).toBe(0);
  expect(observe(engine, [model("a", { vramBytes: 0 })], h100(10_000)).size).toBe(0);
  expect(observe({ id: "embedded" }, [model("a")], h100(10_000)).size).toBe(0);
});
