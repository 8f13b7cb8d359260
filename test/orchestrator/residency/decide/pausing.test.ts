import { describe, expect, it } from "vitest";
import { expectedWaitMs } from "../../../../src/orchestrator/residency/decide/expected-wait.ts";
import {
  nextToServe,
  type QueuedModel,
  type QueueState,
  type WaitingRequest,
} from "../../../../src/orchestrator/residency/decide/queue-order.ts";

const seconds = 1_000;
const request = (id: string, model: string, more: Partial<WaitingRequest> = {}): WaitingRequest => ({
  id,
  caller: id,
  model,
  arrivedMs: 0,
  priority: 0,
  ...more,
});

/** A model with a job in the background. */
const withJob = (more: Partial<QueuedModel> = {}): QueuedModel => ({
  state: "resident",
  running: 1,
  maxParallel: 1,
  loadMs: 5 * seconds,
  answerMs: 60 * seconds,
  pausable: [{}],
  hasRoomBeside: true,
  ...more,
});
const idle: QueuedModel = { state: "resident", running: 0, maxParallel: 1, loadMs: 5 * seconds, answerMs: 2 * seconds };

const queue = (
  waiting: readonly WaitingRequest[],
  models: Readonly<Record<string, QueuedModel>>,
  more: Partial<QueueState> = {},
): QueueState => ({
  nowMs: 100 * seconds,
  maxOvertakeMs: 30 * seconds,
  embeddedSlots: 1,
  mayLoad: true,
  waiting,
  models: new Map(Object.entries(models)),
  runningOf: new Map(),
  ...more,
});

const question = request("question", "a");
const serve = { kind: "serve", id: "question" };
const wait = { kind: "wait" };

describe("a question beside a job in the background", () => {
  it.each<[string, QueueState, object]>([
    ["is served on the same model", queue([question], { a: withJob() }), serve],
    ["is served on another model", queue([request("question", "b")], { a: withJob(), b: idle }), serve],
    ["waits without memory for a second cache", queue([question], { a: withJob({ hasRoomBeside: false }) }), wait],
    [
      "is served on another model without memory for a second cache",
      queue([request("question", "b")], { a: withJob({ hasRoomBeside: false }), b: idle }),
      serve,
    ],
    ["waits if the engine doesn't pause answers", queue([question], { a: withJob({ pausable: [] }) }), wait],
    [
      "waits if it is in the background, too",
      queue([request("question", "a", { priority: -1 })], { a: withJob() }),
      wait,
    ],
    ["waits if another question is answered beside the job", queue([question], { a: withJob({ running: 2 }) }), wait],
    [
      "is served before a job that waits, for however long that was overtaken",
      queue([request("other job", "a", { priority: -1, overtakenSinceMs: 0 }), question], { a: withJob() }),
      serve,
    ],
    [
      "is served while the job was paused for less than 30 s",
      queue([question], { a: withJob({ pausable: [{ pausedSinceMs: 71 * seconds, continuedMs: 100 * seconds }] }) }),
      serve,
    ],
    [
      "waits for 5 s once the job was paused for 30 s",
      queue([question], { a: withJob({ pausable: [{ pausedSinceMs: 70 * seconds, continuedMs: 98 * seconds }] }) }),
      { kind: "wait", untilMs: 103 * seconds },
    ],
    [
      "is served after those 5 s",
      queue([question], { a: withJob({ pausable: [{ pausedSinceMs: 1, continuedMs: 95 * seconds }] }) }),
      serve,
    ],
  ])("%s", (_name, state, decision) => {
    expect(nextToServe(state)).toMatchObject(decision);
  });

  it("loads its model at once although that evicts, unless it would evict the job's", () => {
    const absent = (evicts: string): QueuedModel => ({ ...idle, state: "absent", evicts: [evicts] });
    const waiting = [request("question", "b", { arrivedMs: 99 * seconds })];
    const models = { a: withJob(), c: idle };
    expect(nextToServe(queue(waiting, { ...models, b: absent("c") }))).toMatchObject({ kind: "load", model: "b" });
    expect(nextToServe(queue(waiting, { ...models, b: absent("a") }))).toMatchObject({ kind: "wait" });
  });

  it("is expected to wait only for those that it can't pause", () => {
    const waits = (more: Partial<QueuedModel>, priority = 0) =>
      expectedWaitMs(queue([], { a: withJob(more) }), request("question", "a", { priority }));
    expect(waits({})).toBe(0);
    expect(waits({ hasRoomBeside: false })).toBe(60 * seconds);
    expect(waits({}, -1)).toBe(60 * seconds);
    expect(waits({ running: 2 })).toBe(60 * seconds);
  });
});
