import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { handMachine, type HandModel } from "./hand-machine.ts";

const seconds = 1_000;
const names = ["a", "b", "c", "d"] as const;
type Name = (typeof names)[number];

interface Later {
  readonly model: Name;
  readonly atMs: number;
  readonly answerMs: number;
}

const boundMs = 10 * seconds;

/**
 * Milliseconds that a request for `first` waits on a machine whose memory is taken by two answering models, while
 * `later` requests come.
 */
async function waitOfFirst(
  first: Name,
  later: readonly Later[],
  model: HandModel,
  slots: number,
  busy: readonly Name[],
): Promise<number> {
  const machine = handMachine(Object.fromEntries(names.map((name) => [name, model])), {
    capacity: 2,
    maxOvertakeMs: boundMs,
    world: { embeddedSlots: slots },
  });
  const { clock } = machine;
  const waitedMs: number[] = [];
  const go = (name: Name, caller: string, answerMs: number, onServed: () => void = () => undefined) => {
    void machine.ask(name, { caller }).then((slot) => {
      onServed();
      clock.after(answerMs, slot.release);
    });
  };
  for (const name of ["a", "b"] as const) {
    go(name, "warm", seconds);
    await machine.pass(model.loadMs + 2 * seconds);
  }
  for (const name of busy) go(name, "busy", model.answerMs ?? 0);
  await machine.settle();
  const askedAtMs = clock.now();
  go(first, "first", seconds, () => {
    waitedMs.push(clock.now() - askedAtMs);
  });
  for (const [index, { model: name, atMs, answerMs }] of later.entries()) {
    clock.after(atMs, () => go(name, `later ${index % 5}`, answerMs));
  }
  for (let step = 0; step < 600 && waitedMs.length === 0; step += 1) await machine.pass(500);
  return waitedMs[0] ?? Number.POSITIVE_INFINITY;
}

const kinds: readonly (readonly [string, HandModel, number, readonly Name[]])[] = [
  ["four answers a model", { loadMs: 3_000, answerMs: 2_000, maxParallel: 4 }, 1, ["a", "b"]],
  ["two long answers a model", { loadMs: 3_000, answerMs: 6_000, maxParallel: 2 }, 1, ["a", "a", "b"]],
  ["one answer a model", { loadMs: 3_000, answerMs: 2_000, maxParallel: 1 }, 1, ["a"]],
  ["two slots for all", { loadMs: 3_000, answerMs: 2_000, maxParallel: 2, isEmbedded: true }, 2, ["a", "b"]],
  ["four slots for all", { loadMs: 3_000, answerMs: 4_000, maxParallel: 2, isEmbedded: true }, 4, ["a", "b"]],
];

describe("the first request is delayed by later ones no longer than the limit, with", () => {
  it.each(kinds)("%s", async (_name, model, slots, busy) => {
    const later = fc.record({
      model: fc.constantFrom(...names),
      atMs: fc.integer({ min: 0, max: 30 * seconds }),
      answerMs: fc.integer({ min: 100, max: model.answerMs ?? 100 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.array(later, { minLength: 5, maxLength: 60, size: "max" }),
        async (first, all) => {
          const uncontested = await waitOfFirst(first, [], model, slots, busy);
          expect((await waitOfFirst(first, all, model, slots, busy)) - uncontested).toBeLessThanOrEqual(boundMs);
        },
      ),
      { numRuns: 25 },
    );
  });

  it.each([
    ["a", "b"],
    ["b", "a"],
  ] as const)(
    "answers of %s that its load waits for, and then those of %s, which has to be evicted",
    async (one, other) => {
      const model: HandModel = { loadMs: 3_000, answerMs: 2_000, maxParallel: 4 };
      const flood = (name: Name, fromMs: number) =>
        Array.from({ length: 40 }, (_unused, index) => ({ model: name, atMs: fromMs + index * 500, answerMs: 1_900 }));
      const uncontested = await waitOfFirst("c", [], model, 1, [one]);
      const later = [...flood(one, 0), ...flood(other, boundMs - 500)];
      expect((await waitOfFirst("c", later, model, 1, [one])) - uncontested).toBeLessThanOrEqual(boundMs);
    },
  );

  it("constant requests for the models to evict, which use the limit", async () => {
    const model: HandModel = { loadMs: 3_000, answerMs: 2_000, maxParallel: 4 };
    // Twice a second, for a minute.
    const flood = Array.from({ length: 120 }, (_unused, index) => ({
      model: (["a", "b"] as const)[index % 2] ?? "a",
      atMs: index * 500,
      answerMs: 1_900,
    }));
    const uncontested = await waitOfFirst("c", [], model, 1, ["a", "b"]);
    const late = (await waitOfFirst("c", flood, model, 1, ["a", "b"])) - uncontested;
    expect(late).toBeLessThanOrEqual(boundMs);
    expect(late).toBeGreaterThan(boundMs / 2);
  });
});
