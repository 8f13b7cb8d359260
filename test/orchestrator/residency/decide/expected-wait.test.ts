import { describe, expect, it } from "vitest";
import { countAhead, expectedWaitMs } from "../../../../src/orchestrator/residency/decide/expected-wait.ts";
import type {
  QueuedModel,
  QueueState,
  WaitingRequest,
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

const resident = (more: Partial<QueuedModel> = {}): QueuedModel => ({
  state: "resident",
  running: 0,
  maxParallel: 1,
  loadMs: 5 * seconds,
  answerMs: 2 * seconds,
  ...more,
});

const absent = (evicts: readonly string[] = []): QueuedModel => ({ ...resident(), state: "absent", evicts });

function queue(waiting: readonly WaitingRequest[], models: Readonly<Record<string, QueuedModel>>): QueueState {
  return {
    nowMs: 0,
    maxOvertakeMs: 30 * seconds,
    embeddedSlots: 1,
    mayLoad: true,
    waiting,
    models: new Map(Object.entries(models)),
    runningOf: new Map(),
  };
}

const newcomer = (model: string, more: Partial<WaitingRequest> = {}) => request("new", model, more);

describe("the expected wait of a request", () => {
  it("counts down while the answer before it runs, also of one that takes longer than usual", () => {
    const after = (runningMs: number, model: Partial<QueuedModel> = {}) =>
      expectedWaitMs(queue([], { a: resident({ running: 1, answerMs: 10_000, runningMs, ...model }) }), newcomer("a"));
    expect([0, 4_000, 9_000].map((ms) => after(ms))).toEqual([10_000, 6_000, 2_250]);
    expect([20_000, 35_000].map((ms) => after(ms))).toEqual([5_000, 8_750]);
    // Two that run beside each other have run 3 s each.
    expect(after(6_000, { running: 2, maxParallel: 2, hasOwnThreads: true })).toBe(7_000);
    // The answers to evict, the load, and what shares the embedded slot.
    const evicting = { a: resident({ running: 1, answerMs: 10_000, runningMs: 4_000 }), b: absent(["a"]) };
    expect(expectedWaitMs(queue([], evicting), newcomer("b"))).toBe(6_000 + 5_000 + 6_000);
  });

  it("is zero if its model is loaded and free, and its load time if it isn't loaded", () => {
    expect(expectedWaitMs(queue([], { a: resident() }), newcomer("a"))).toBe(0);
    expect(expectedWaitMs(queue([], { a: absent() }), newcomer("a"))).toBe(5 * seconds);
    expect(expectedWaitMs(queue([], { a: { ...absent(), state: "loading" } }), newcomer("a"))).toBe(5 * seconds);
  });

  it("on shared cores includes all earlier answers of any model, and no loads of others", () => {
    const waiting = [request("1", "a"), request("2", "b")];
    const models = { a: resident({ running: 1 }), b: absent() };
    expect(expectedWaitMs(queue(waiting, models), newcomer("a"))).toBe(3 * 2 * seconds);
  });

  it("of a model with its own threads includes only the turns of its own slots", () => {
    const own = { hasOwnThreads: true, maxParallel: 2 };
    const models = { a: resident({ ...own, running: 2 }), b: resident({ ...own, running: 2 }) };
    expect(expectedWaitMs(queue([], models), newcomer("a"))).toBe(2 * seconds);
    const waiting = [request("1", "a"), request("2", "a"), request("3", "b")];
    expect(expectedWaitMs(queue(waiting, models), newcomer("a"))).toBe(4 * seconds);
    expect(expectedWaitMs(queue([], { a: resident({ ...own, running: 1 }) }), newcomer("a"))).toBe(0);
  });

  it("includes earlier loads, and the active answers of models to evict", () => {
    const own = { hasOwnThreads: true };
    const models = {
      a: { ...absent(["c"]), ...own },
      b: { ...absent(), ...own, loadMs: 7 * seconds },
      c: resident({ ...own, running: 1, answerMs: 3 * seconds }),
      d: { ...absent(), ...own },
    };
    expect(expectedWaitMs(queue([request("1", "b")], models), newcomer("a"))).toBe((3 + 7 + 5) * seconds);
  });

  it("excludes requests behind it: of lower priority, of a later turn, or later in the queue", () => {
    const waiting = [
      request("background", "a", { priority: -1 }),
      request("flood 1", "a", { turn: 3 }),
      request("flood 2", "a", { turn: 4 }),
    ];
    const state = queue(waiting, { a: resident() });
    expect(expectedWaitMs(state, newcomer("a", { turn: 3 }))).toBe(2 * seconds);
    expect(expectedWaitMs(state, newcomer("a", { turn: 3, priority: -1 }))).toBe(6 * seconds);
    expect(waiting.map((each) => countAhead(state, each))).toEqual([2, 0, 1]);
    expect(waiting.map((each) => expectedWaitMs(state, each))).toEqual([4 * seconds, 0, 2 * seconds]);
  });
});
