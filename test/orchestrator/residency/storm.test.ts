import fc from "fast-check";
import { expect, it } from "vitest";
import { Cancelled, ModelDoesNotFit, QueueFull } from "../../../src/orchestrator/api/errors.ts";
import type { Permit } from "../../../src/orchestrator/residency/queue-requests.ts";
import { damaged, expectQuiet, handMachine } from "./hand-machine.ts";

const models = {
  own: { loadMs: 2_000, answerMs: 1_000, maxParallel: 2 },
  large: { loadMs: 5_000, answerMs: 3_000, size: 2 },
  core: { loadMs: 1_000, answerMs: 2_000, isEmbedded: true },
  other: { loadMs: 3_000, answerMs: 1_000, isEmbedded: true },
  huge: { loadMs: 1_000, size: 9 },
} as const;
type Name = keyof typeof models;

const names = Object.keys(models) as Name[];
const event = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      model: fc.constantFrom(...names),
      caller: fc.constantFrom("x", "y", "z"),
      priority: fc.constantFrom(0, 0, -1),
      contextTokens: fc.constantFrom(4_096, 4_096, 16_384),
      isOnlyLoaded: fc.constantFrom(false, false, false, true),
      answerMs: fc.integer({ min: 0, max: 6_000 }),
      maxWaitMs: fc.option(fc.integer({ min: 1, max: 9_000 }), { nil: undefined, freq: 2 }),
      cancelledAfterMs: fc.option(fc.integer({ min: 0, max: 9_000 }), { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 4_000 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("turns" as const), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("cancel" as const), which: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("damage" as const), model: fc.constantFrom(...names) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("repair" as const) }) },
  // Another program unloads it while it is idle.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("vanish" as const), model: fc.constantFrom(...names) }) },
);

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Results that the queue waits for are delayed by these numbers of turns of the event loop, in order. */
function slowMachine(delays: readonly number[]) {
  let asked = 0;
  const late = async <Value>(work: () => Promise<Value>): Promise<Value> => {
    await turns(delays[(asked += 1) % delays.length] ?? 0);
    return work();
  };
  return handMachine(models, { capacity: 2, maxWaiting: 1_000, slow: late });
}

it("each request settles once and no lease is left, whatever arrives, fails, ends, disappears or is cancelled", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { minLength: 1, maxLength: 60 }),
      fc.array(fc.nat(5), { minLength: 1 }),
      async (events, delays) => {
        const machine = slowMachine(delays);
        const calls: AbortController[] = [];
        const hasty = new Set<number>();
        const outcomes: Promise<unknown>[] = [];
        const ended: ("answered" | "failed")[][] = [];
        const grantedAfterCancel: number[] = [];
        for (const each of events) {
          if (each.kind === "pass") await machine.pass(each.ms);
          else if (each.kind === "turns") await turns(each.count);
          else if (each.kind === "cancel") calls[each.which % calls.length]?.abort("cancelled");
          else if (each.kind === "damage") machine.failing.set(each.model, damaged);
          else if (each.kind === "repair") machine.failing.clear();
          else if (each.kind === "vanish") {
            if ((machine.leases.get(each.model) ?? 0) === 0) machine.resident.delete(each.model);
          } else {
            const index = calls.length;
            const call = new AbortController();
            calls.push(call);
            ended.push([]);
            const { model, answerMs, isOnlyLoaded, cancelledAfterMs, maxWaitMs, kind: _kind, ...more } = each;
            if (cancelledAfterMs !== undefined) machine.clock.after(cancelledAfterMs, () => call.abort("cancelled"));
            const isHasty = maxWaitMs !== undefined;
            if (isHasty) hasty.add(index);
            const asked = { ...more, ...(isHasty && { maxWaitMs }), signal: call.signal };
            const note = (end: "answered" | "failed") => ended[index]?.push(end);
            const work = isOnlyLoaded
              ? machine.load(model, asked).then(() => void note("answered"))
              : machine.ask(model, asked).then((slot: Permit) => {
                  if (call.signal.aborted) grantedAfterCancel.push(index);
                  note("answered");
                  machine.clock.after(answerMs, slot.release);
                });
            outcomes.push(
              work.catch((error: unknown) => {
                note("failed");
                return error;
              }),
            );
          }
        }
        machine.failing.clear();
        // Every answer ends after at most 6 s; every request is served within the sum of all loads, answers and limits.
        await machine.pass(60_000 + calls.length * 12_000);
        const settled = await Promise.race([
          Promise.all(outcomes),
          machine.settle().then(() => "a request is pending" as const),
        ]);
        expect(settled).not.toBe("a request is pending");
        expect(ended.every((ends) => ends.length === 1)).toBe(true);
        for (const [index, outcome] of (settled as unknown[]).entries()) {
          if (outcome === undefined) continue;
          const isTooLate = outcome instanceof QueueFull && hasty.has(index);
          const isExpected = outcome === damaged || outcome instanceof ModelDoesNotFit || isTooLate;
          if (!isExpected) expect(outcome).toBeInstanceOf(Cancelled);
          if (outcome instanceof Cancelled) expect(calls[index]?.signal.aborted).toBe(true);
        }
        expectQuiet(machine);
        expect(machine.clock.waiting).toBe(0);
      },
    ),
    { numRuns: 100 },
  );
});
