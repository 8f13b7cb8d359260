import { describe, expect, it } from "vitest";
import type { ModelFacts } from "../../../src/orchestrator/api/types.ts";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { modelId } from "../../../src/orchestrator/catalog/located-model.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import { createFakeEngine } from "../../support/fake-engine.ts";

const engine = createFakeEngine("ollama", []);
const weights = (weightsDigest: string) => ({ weightsDigest }) as ModelFacts;
const idOf = (name: string) => modelId(engine.id, name);

/** With `names` of the same weights. */
function setup(...names: readonly string[]): Slots {
  const slots = new Slots({
    now: () => 1,
    steady: () => 1,
    observations: createObservations(() => 1),
    isPinned: () => false,
  });
  for (const name of names) slots.note(engine, name, weights("same"));
  return slots;
}

describe("a name that was deleted", () => {
  it("leaves no slot behind", () => {
    const slots = setup("a", "b");
    slots.of(engine, "c");
    for (const name of ["a", "b", "c"]) slots.forget(idOf(name));
    expect(slots.ofEngine(engine)).toEqual([]);
    expect(slots.find(idOf("a"))).toBeUndefined();
  });

  it("has one slot again when it is pulled anew, however it is found", () => {
    const slots = setup();
    slots.of(engine, "c").beginLoad(() => undefined);
    slots.of(engine, "c").loadFailed();
    slots.forget(idOf("c"));
    const again = slots.of(engine, "c");
    again.beginLoad(() => undefined);
    again.loaded({ name: "c", requestedSeconds: undefined, sentSeconds: -1 });
    expect(slots.find(idOf("c"))).toBe(again);
    expect(slots.owned(engine)).toEqual([again]);
  });

  it("keeps its slot while requests wait for it", () => {
    const slots = setup();
    const leave = slots.of(engine, "a").await("a");
    slots.forget(idOf("a"));
    expect(slots.of(engine, "a").isAwaited).toBe(true);
    leave();
  });
});

describe("a name that gets other weights", () => {
  it("during its load: the load ends in the slot that it began in, and the reservation with it", () => {
    const slots = setup("a", "b");
    let reserved = 1;
    slots.of(engine, "a").beginLoad(() => void (reserved = 0));
    slots.forget(idOf("a"));
    slots.note(engine, "a", weights("other"));
    slots.of(engine, "a").loaded({ name: "a", requestedSeconds: undefined, sentSeconds: 60 });
    expect(reserved).toBe(0);
    expect(slots.of(engine, "b").isLoading).toBe(false);
    slots.note(engine, "a", weights("other"));
    expect(slots.of(engine, "a")).not.toBe(slots.of(engine, "b"));
  });

  it("takes our load by it along", () => {
    const slots = setup("a", "b");
    slots.of(engine, "a").beginLoad(() => undefined);
    slots.of(engine, "a").loaded({ name: "a", requestedSeconds: undefined, sentSeconds: 60 });
    slots.forget(idOf("a"));
    expect(slots.of(engine, "a").ownedLoad?.name).toBe("a");
    expect(slots.of(engine, "b").ownedLoad).toBeUndefined();
  });
});
