import { expect, it } from "vitest";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";

const none = () => undefined;
const load = { name: "a", requestedSeconds: undefined, sentSeconds: 900 };
const facts = { ...fakeModel("a", 1), capabilities: [], contextTokens: 4_096, weightsDigest: "w" };

function setup() {
  const engine = createFakeEngine("ollama", []);
  const observations = createObservations(() => 0);
  const slots = new Slots({ now: () => 0, steady: () => 0, observations, isPinned: () => false });
  return { slots, engine, slot: slots.of(engine, "a") };
}

it("a model in use is neither evicted nor loaded again; one that is leaving or loading gives no lease", () => {
  const { slot } = setup();
  const lease = slot.take("a");
  expect(() => slot.beginEvicting()).toThrow("evicting while it is ready with 1 leases");
  expect(() => slot.beginLoad(none)).toThrow("loading while it is ready with 1 leases");
  lease.release();
  lease.release();
  slot.beginEvicting();
  expect(() => slot.take("a")).toThrow("while it is evicting");
  expect(() => slot.beginLoad(none)).toThrow("while it is evicting");
  slot.evicted();
  slot.beginLoad(none);
  expect(() => slot.take("a")).toThrow("while it is loading");
});

it("passes through the states of the table, and ends its reservation once", () => {
  const { slots, engine, slot } = setup();
  const states = [slot.state];
  const note = () => states.push(slot.state);
  let ended = 0;
  const end = () => void (ended += 1);
  for (const step of [
    () => slot.beginLoad(end),
    () => slot.loadFailed(),
    () => slot.beginLoad(end),
    () => slot.loaded(load),
    () => slot.stalled("no token"),
    () => slot.alive(),
    () => slots.observe(engine, []),
  ]) {
    step();
    note();
  }
  expect(states).toEqual(["absent", "loading", "absent", "loading", "ready", "stuck", "ready", "absent"]);
  expect(ended).toBe(2);
});

it("names whose weights turn out to be the same share a slot, with the leases that they had", () => {
  const { slots, engine } = setup();
  const lease = slots.of(engine, "b").take("b");
  slots.note(engine, "a", facts);
  slots.note(engine, "b", facts);
  const slot = slots.of(engine, "a");
  expect(slots.of(engine, "b")).toBe(slot);
  expect([slot.leases, slot.isUsedAs("a"), slot.isUsedAs("b")]).toEqual([1, false, true]);
  lease.release();
  slots.forget("ollama registry.ollama.ai/library/b/latest");
  expect([slot.leases, slots.of(engine, "b") === slot]).toEqual([0, false]);
});

it("an engine and its successor have slots of their own", () => {
  const { slots, slot } = setup();
  slot.take("a");
  expect(slots.of(createFakeEngine("ollama", []), "a").leases).toBe(0);
});
