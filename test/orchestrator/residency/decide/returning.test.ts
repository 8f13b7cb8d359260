import { expect, it } from "vitest";
import {
  nextToServe,
  type QueuedModel,
  type QueueState,
} from "../../../../src/orchestrator/residency/decide/queue-order.ts";

const resident: QueuedModel = { state: "resident", running: 0, maxParallel: 1, loadMs: 5_000, answerMs: 2_000 };
const absent = (evicts: readonly string[]): QueuedModel => ({ ...resident, state: "absent", evicts });
const ofX = { id: "1", caller: "x", model: "b", arrivedMs: 0, priority: 0 };

/** `y` was answered by `a` at 1,000; `x` waits for `b`, whose load evicts `a`. */
function state(more: Partial<QueueState> = {}): QueueState {
  return {
    nowMs: 1_000,
    maxOvertakeMs: 30_000,
    embeddedSlots: 1,
    mayLoad: true,
    waiting: [ofX],
    models: new Map([
      ["a", resident],
      ["b", absent(["a"])],
    ]),
    runningOf: new Map(),
    answeredMs: new Map([["y", 1_000]]),
    ...more,
  };
}

it("a load that evicts waits a moment for a caller that was just answered", () => {
  expect(nextToServe(state())).toEqual({ kind: "wait", untilMs: 1_100 });
  expect(nextToServe(state({ nowMs: 1_100 }))).toMatchObject({ kind: "load", id: "1" });
});

it("it doesn't wait for a caller that is back, nor if it evicts nothing", () => {
  expect(nextToServe(state({ answeredMs: new Map([["x", 1_000]]) }))).toMatchObject({ kind: "load", id: "1" });
  const waiting = [ofX, { ...ofX, id: "2", caller: "y", model: "a" }];
  expect(nextToServe(state({ waiting }))).toMatchObject({ kind: "serve", id: "2" });
  const models = new Map([
    ["a", resident],
    ["b", absent([])],
  ]);
  expect(nextToServe(state({ models }))).toMatchObject({ kind: "load", id: "1" });
});

it("it doesn't wait beyond the limit", () => {
  expect(nextToServe(state({ maxOvertakeMs: 1_000 }))).toMatchObject({ kind: "load", id: "1" });
  expect(nextToServe(state({ maxOvertakeMs: 1_050 }))).toEqual({ kind: "wait", untilMs: 1_050 });
});
