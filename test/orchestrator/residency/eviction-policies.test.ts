import { expect, it } from "vitest";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { modelId } from "../../../src/orchestrator/catalog/located-model.ts";
import { createEvictionPolicies } from "../../../src/orchestrator/residency/eviction-policies.ts";

const engine = { id: "ollama", memoryDomain: "local" };
const other = { id: "embedded", memoryDomain: "local" };
const elsewhere = { id: "remote", memoryDomain: "remote" };
const GB = 1e9;

function setup(pinned = "") {
  const observations = createObservations(() => 0);
  const policies = createEvictionPolicies({ observations, isPinned: (name) => name === pinned });
  const serve = (at: typeof engine, name: string) => policies.served(at, { name, sizeBytes: GB });
  const loss = (at: typeof engine, name: string) => policies.losses(at)(modelId(at.id, name));
  return { observations, policies, serve, loss };
}

it("uses before the first measurement of the memory count", () => {
  const { serve, loss } = setup();
  for (const name of ["often", "seldom", "often"]) serve(engine, name);
  expect(loss(engine, "often")).toBeGreaterThan(loss(engine, "seldom") ?? Number.NaN);
});

it("engines with the same memory domain share a policy", () => {
  const { policies, serve } = setup();
  serve(engine, "model");
  expect(policies.losses(other)(modelId(engine.id, "model"))).toBeGreaterThan(0);
  expect(policies.losses(elsewhere)(modelId(engine.id, "model"))).toBeUndefined();
});

it("measured load times count until they are forgotten", () => {
  const { observations, policies, serve, loss } = setup();
  observations.loaded(modelId(engine.id, "slow"), 60_000);
  for (const name of ["slow", "model"]) serve(engine, name);
  const known = loss(engine, "slow") ?? Number.NaN;
  expect(known).toBeGreaterThan(30 * 100);
  policies.forget(modelId(engine.id, "slow"));
  expect(loss(engine, "slow")).toBeUndefined();
});

it("pinned models are ignored: they can't be evicted", () => {
  const { serve, loss } = setup("pinned");
  serve(engine, "pinned");
  expect(loss(engine, "pinned")).toBeUndefined();
});

it("the losses for a planned load assume that its model was used already", () => {
  const { observations, policies } = setup();
  const model = (name: string) => ({ name, sizeBytes: 8 * GB });
  const rest = { isOverridden: true, bufferBytes: 0, smallModelBytes: 0, reservedBytes: 0, resident: [] };
  policies.measured(engine, { availableBytes: 20 * GB, ...rest });
  for (const name of ["often", "seldom", "next"])
    observations.loaded(modelId(engine.id, name), name === "seldom" ? 8_000 : 9_000);
  for (const name of ["often", "often", "seldom", "often"]) policies.served(engine, model(name));
  const before = policies.losses(engine);
  const planned = policies.losses(engine, model("next"));
  // Both fit so far, but only one of them beside the next model.
  const lossOfHeld = 100 * 8;
  expect(before(modelId(engine.id, "seldom"))).toBeGreaterThan(lossOfHeld);
  expect(planned(modelId(engine.id, "seldom"))).toBeLessThan(lossOfHeld);
  expect(planned(modelId(engine.id, "often"))).toBeGreaterThan(lossOfHeld);
  expect(before(modelId(engine.id, "next"))).toBeUndefined();
});
