import { describe, expect, it } from "vitest";
import {
  nextToServe,
  type QueuedModel,
  type QueueState,
  type WaitingRequest,
} from "../../../../src/orchestrator/residency/decide/queue-order.ts";
import { countsFor } from "../../../../src/orchestrator/residency/more-sequences.ts";

const request = (id: string, model: string, more: Partial<WaitingRequest> = {}): WaitingRequest => ({
  id,
  caller: id,
  model,
  arrivedMs: 0,
  priority: 0,
  ...more,
});
/** A model of the embedded engine that answers. */
const answering = (more: Partial<QueuedModel> = {}): QueuedModel => ({
  state: "resident",
  running: 1,
  maxParallel: 4,
  loadMs: 5_000,
  answerMs: 2_000,
  hasRoomBeside: true,
  ...more,
});
const queue = (waiting: readonly WaitingRequest[], models: Readonly<Record<string, QueuedModel>>): QueueState => ({
  nowMs: 1_000,
  maxOvertakeMs: 30_000,
  embeddedSlots: 1,
  mayLoad: true,
  waiting,
  models: new Map(Object.entries(models)),
  runningOf: new Map(),
});
const serve = { kind: "serve", id: "1" };
const wait = { kind: "wait" };
const job = { priority: -1 };

describe("a request beside answers of its model", () => {
  it.each<[string, QueueState, object]>([
    ["is served", queue([request("1", "a")], { a: answering() }), serve],
    ["waits without memory for it", queue([request("1", "a")], { a: answering({ hasRoomBeside: false }) }), wait],
    ["waits if as many as may are answered", queue([request("1", "a")], { a: answering({ running: 4 }) }), wait],
    ["waits if one after the other is faster", queue([request("1", "a")], { a: answering({ maxParallel: 1 }) }), wait],
    [
      "waits beside those of another model",
      queue([request("1", "b")], { a: answering(), b: answering({ running: 0 }) }),
      wait,
    ],
    ["waits if it is in the background, and they aren't", queue([request("1", "a", job)], { a: answering() }), wait],
    [
      "is served if all are in the background",
      queue([request("1", "a", job)], { a: answering({ pausable: [{}] }) }),
      serve,
    ],
    [
      "is served beside one for which another was paused",
      queue([request("1", "a")], { a: answering({ running: 2, pausable: [{}] }) }),
      serve,
    ],
    [
      "waits if only a paused one has memory, and none is free",
      queue([request("1", "a")], { a: answering({ pausable: [{}], hasRoomBeside: false }) }),
      wait,
    ],
  ])("%s", (_, state, expected) => {
    expect(nextToServe(state)).toMatchObject(expected);
  });

  it("doesn't pass over one for another model for more than 30 s", () => {
    const overtaken = request("other", "b", { overtakenSinceMs: 1_000 });
    const models = { a: answering(), b: answering({ running: 0 }) };
    const state = queue([overtaken, request("1", "a")], models);
    expect(nextToServe(state)).toMatchObject(serve);
    expect(nextToServe({ ...state, nowMs: 30_000 })).toMatchObject(wait);
  });
});

describe("numbers of caches", () => {
  const crowd = (answered: number, wanted: number, isBesidePaused = false) => ({ answered, wanted, isBesidePaused });
  it.each([
    ["are enough for all that wait", crowd(2, 5), [8, 4, 2]],
    ["or for those that are answered, if there is no memory for more", crowd(3, 3), [4]],
    ["double", crowd(1, 2), [2]],
    ["are eight at most", crowd(9, 20), []],
    ["are one more beside paused answers, which don't compute", crowd(2, 6, true), [2]],
  ])("%s", (_, asked, expected) => {
    expect(countsFor(asked)).toEqual(expected);
  });
});
