import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  afterDecision,
  fairTurn,
  nextToServe,
  type QueuedModel,
  type QueueState,
  type WaitingRequest,
} from "../../../../src/orchestrator/residency/decide/queue-order.ts";

const seconds = 1_000;

function request(id: string, model: string, more: Partial<WaitingRequest> = {}): WaitingRequest {
  return { id, caller: id, model, arrivedMs: 0, priority: 0, ...more };
}

function resident(more: Partial<QueuedModel> = {}): QueuedModel {
  return { state: "resident", running: 0, maxParallel: 1, loadMs: 5 * seconds, answerMs: 2 * seconds, ...more };
}

function absent(evicts: readonly string[] = [], more: Partial<QueuedModel> = {}): QueuedModel {
  return { ...resident(), state: "absent", evicts, ...more };
}

function queue(
  waiting: readonly WaitingRequest[],
  models: Readonly<Record<string, QueuedModel>>,
  more: Partial<QueueState> = {},
): QueueState {
  return {
    nowMs: 0,
    maxOvertakeMs: 30 * seconds,
    embeddedSlots: 2,
    mayLoad: true,
    waiting,
    models: new Map(Object.entries(models)),
    runningOf: new Map(),
    ...more,
  };
}

describe("the next request", () => {
  it("is none if none waits", () => {
    expect(nextToServe(queue([], { a: resident() }))).toEqual({ kind: "wait" });
  });

  it("is one whose model is resident, before an earlier one that needs a load", () => {
    const state = queue([request("1", "b"), request("2", "a")], { a: resident(), b: absent(["a"]) });
    expect(nextToServe(state)).toEqual({ kind: "serve", id: "2", model: "a", overtakes: ["1"] });
  });

  it("overtakes no request that it doesn't delay", () => {
    const models = { a: resident(), b: absent(["c"]), c: resident() };
    const state = queue([request("1", "b"), request("2", "a")], models, { nowMs: 30 * seconds });
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "2", overtakes: [] });
    // Its load still waits for active answers, of which this is one more.
    expect(nextToServe({ ...state, nowMs: 0 })).toMatchObject({ overtakes: ["1"] });
  });

  it("is the first one once the limit leaves no time for another", () => {
    const late = { nowMs: 29 * seconds };
    const models = { a: resident(), b: absent(["a"]) };
    const overtaken = request("1", "b", { overtakenSinceMs: 0 });
    expect(nextToServe(queue([overtaken, request("2", "a")], models, late))).toMatchObject({ kind: "load", id: "1" });
    const barely = request("1", "b", { overtakenSinceMs: 1 * seconds });
    expect(nextToServe(queue([barely, request("2", "a")], models, late))).toMatchObject({ kind: "serve", id: "2" });
  });

  it("is none that keeps a victim busy when the limit is reached; other loaded models are still served", () => {
    const waiting = [request("1", "b", { overtakenSinceMs: 0 }), request("2", "a"), request("3", "c")];
    const models = { a: resident({ running: 1, maxParallel: 4 }), b: absent(["a"]), c: resident() };
    const state = queue(waiting, models, { nowMs: 30 * seconds, embeddedSlots: 4 });
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "3" });
    expect(nextToServe({ ...state, waiting: waiting.slice(0, 2) })).toEqual({ kind: "wait" });
  });

  it("also overtakes requests behind one that it delays", () => {
    const waiting = [request("1", "b"), request("2", "c"), request("3", "a")];
    const models = { a: resident({ running: 1, maxParallel: 4 }), b: absent(["a"]), c: absent(["idle"]) };
    const state = queue(waiting, models, { embeddedSlots: 4 });
    // One load at a time: that of c comes after that of b, which evicts a.
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "3", overtakes: ["1", "2"] });
    expect(nextToServe({ ...state, waiting: waiting.slice(1), nowMs: 30 * seconds })).toMatchObject({ overtakes: [] });
  });

  it("is none for a model that is loading; loaded models are served meanwhile", () => {
    const models = { a: resident(), b: absent([], { state: "loading" }) };
    const state = queue([request("1", "b"), request("2", "b"), request("3", "a")], models, { mayLoad: false });
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "3", overtakes: [] });
    expect(nextToServe({ ...state, waiting: state.waiting.slice(0, 2) })).toEqual({ kind: "wait" });
  });

  it("is none if its model or the thread budget is full", () => {
    const one = [request("1", "a")];
    expect(nextToServe(queue(one, { a: resident({ running: 1 }) }, { embeddedSlots: 2 }))).toEqual({ kind: "wait" });
    const busy = { a: resident({ maxParallel: 4 }), b: resident({ running: 2, maxParallel: 2 }) };
    expect(nextToServe(queue(one, busy, { embeddedSlots: 2 }))).toEqual({ kind: "wait" });
  });

  it("alternates between callers, however many requests one of them has", () => {
    const waiting = [
      request("1", "a", { caller: "many" }),
      request("2", "a", { caller: "many" }),
      request("3", "a", { caller: "one" }),
    ];
    const models = { a: resident({ running: 1, maxParallel: 2 }) };
    const state = queue(waiting, models, { runningOf: new Map([["many", 1]]) });
    expect(nextToServe(state)).toMatchObject({ id: "3", overtakes: ["1", "2"] });
    expect(nextToServe({ ...state, runningOf: new Map() })).toMatchObject({ id: "1" });
  });

  it("alternates between callers over time by their start tags", () => {
    // Tag 3 was served last. `many` sent three requests at once, `new` one after them.
    const turns = [fairTurn(3, undefined), fairTurn(3, 3), fairTurn(3, 4)];
    expect(turns).toEqual([3, 4, 5]);
    expect(fairTurn(3, undefined)).toBe(3);
    expect(fairTurn(9, 5)).toBe(9);
    const waiting = [
      ...turns.slice(1).map((turn, index) => request(`many ${index}`, "a", { caller: "many", turn })),
      request("new", "a", { turn: fairTurn(3, undefined) }),
    ];
    expect(nextToServe(queue(waiting, { a: resident() }))).toMatchObject({ id: "new" });
  });

  it("is one of higher priority, which overtakes no request beyond the limit", () => {
    const high = request("2", "a", { priority: 1 });
    const models = { a: resident() };
    expect(nextToServe(queue([request("1", "a"), high], models))).toMatchObject({ id: "2", overtakes: ["1"] });
    const overtaken = request("1", "a", { overtakenSinceMs: 0 });
    expect(nextToServe(queue([overtaken, high], models, { nowMs: 29 * seconds }))).toMatchObject({ id: "1" });
  });

  it("is a load of higher priority before an answer of lower priority that would delay it", () => {
    const waiting = [request("1", "a"), request("2", "b", { priority: 1 })];
    const state = queue(waiting, { a: resident(), b: absent(["a"]) });
    expect(nextToServe(state)).toMatchObject({ kind: "load", id: "2", overtakes: ["1"] });
  });

  it("is the one with the earlier deadline at equal turns", () => {
    const waiting = [request("1", "a", { deadlineMs: 60 * seconds }), request("2", "a", { deadlineMs: 20 * seconds })];
    expect(nextToServe(queue(waiting, { a: resident() }))).toMatchObject({ id: "2" });
  });

  it("overtakes no request beyond the last moment at which its deadline can be met", () => {
    const waiting = [request("1", "b", { deadlineMs: 6 * seconds }), request("2", "a")];
    expect(nextToServe(queue(waiting, { a: resident(), b: absent(["a"]) }))).toMatchObject({ kind: "load", id: "1" });
  });

  it("expires if its deadline has passed", () => {
    const waiting = [request("1", "a", { deadlineMs: 1 })];
    expect(nextToServe(queue(waiting, { a: resident() }, { nowMs: 2 }))).toEqual({ kind: "expire", id: "1" });
    expect(nextToServe(queue(waiting, { a: resident() }, { nowMs: 1 }))).toMatchObject({ kind: "serve" });
  });

  it("expires as soon as its load can't end in time, unless the load is in progress", () => {
    const waiting = [request("1", "a", { deadlineMs: 9 * seconds })];
    const busy = { a: absent(["b"]), b: resident({ running: 1 }) };
    expect(nextToServe(queue(waiting, busy, { nowMs: 3 * seconds }))).toEqual({ kind: "wait", untilMs: 4_001 });
    expect(nextToServe(queue(waiting, busy, { nowMs: 4_001 }))).toEqual({ kind: "expire", id: "1" });
    const loading = { a: absent([], { state: "loading" }) };
    expect(nextToServe(queue(waiting, loading, { nowMs: 9 * seconds })).kind).toBe("wait");
    expect(nextToServe(queue(waiting, loading, { nowMs: 9_001 })).kind).toBe("expire");
  });
});

describe("the next load", () => {
  it("is the one with the cheapest evictions, before an earlier one", () => {
    const models = {
      dear: resident({ lossSeconds: 9 }),
      cheap: resident({ lossSeconds: 1 }),
      a: absent(["dear"]),
      b: absent(["cheap"]),
    };
    expect(nextToServe(queue([request("1", "a"), request("2", "b")], models))).toEqual({
      kind: "load",
      id: "2",
      model: "b",
      overtakes: ["1"],
    });
  });

  it("is one that evicts no awaited model, whatever the loss", () => {
    const models = {
      awaited: resident({ running: 0, maxParallel: 0, lossSeconds: 0 }),
      idle: resident({ lossSeconds: 50 }),
      a: absent(["awaited"]),
      b: absent(["idle"]),
    };
    const waiting = [request("0", "awaited"), request("1", "a"), request("2", "b")];
    expect(nextToServe(queue(waiting, models))).toMatchObject({ kind: "load", id: "2" });
  });

  it("waits with evictions while answers are active, up to the limit", () => {
    const models = { a: resident({ running: 1 }), idle: resident(), b: absent(["idle"]) };
    const state = queue([request("1", "b", { arrivedMs: 1 * seconds })], models, { nowMs: 2 * seconds });
    expect(nextToServe(state)).toEqual({ kind: "wait", untilMs: 31 * seconds });
    expect(nextToServe({ ...state, nowMs: 31 * seconds })).toMatchObject({ kind: "load", id: "1" });
    const quiet = { ...models, a: resident() };
    expect(nextToServe(queue(state.waiting, quiet))).toMatchObject({ kind: "load", id: "1" });
  });

  it("does not wait if it evicts nothing", () => {
    const models = { a: resident({ running: 1 }), b: absent([]) };
    expect(nextToServe(queue([request("1", "b")], models))).toMatchObject({ kind: "load", id: "1" });
  });

  it("is none while another load is in progress, its victims are busy, or no eviction helps", () => {
    const one = [request("1", "b")];
    expect(nextToServe(queue(one, { b: absent([]) }, { mayLoad: false })).kind).toBe("wait");
    const busy = { a: resident({ running: 1 }), b: absent(["a"]) };
    expect(nextToServe(queue(one, busy, { nowMs: 99 * seconds })).kind).toBe("wait");
    const { evicts: _evicts, ...tooLarge } = absent();
    expect(nextToServe(queue(one, { b: tooLarge })).kind).toBe("wait");
  });
});

describe("a model that is loaded with too little context", () => {
  const grown = absent([], { replaces: "a" });

  it("is reloaded when its answers are done, without waiting for those of others", () => {
    const one = [request("1", "a+")];
    const models = { a: resident({ running: 1 }), b: resident({ running: 1 }), "a+": grown };
    expect(nextToServe(queue(one, models, { embeddedSlots: 4 })).kind).toBe("wait");
    expect(nextToServe(queue(one, { ...models, a: resident() }, { embeddedSlots: 4 }))).toMatchObject({
      kind: "load",
      id: "1",
    });
  });

  it("is not kept from being reloaded by small requests beyond the limit", () => {
    const waiting = [request("1", "a+"), request("2", "a")];
    const models = { a: resident({ running: 1, maxParallel: 4 }), "a+": grown };
    const state = queue(waiting, models, { embeddedSlots: 4 });
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "2", overtakes: ["1"] });
    const late = { ...state, waiting: [request("1", "a+", { overtakenSinceMs: 0 }), request("2", "a")] };
    expect(nextToServe({ ...late, nowMs: 29 * seconds }).kind).toBe("wait");
  });
});

describe("models of engines with their own threads", () => {
  const own = { hasOwnThreads: true, maxParallel: 4 };

  it("use no embedded slot and wait for none", () => {
    const models = { a: resident({ running: 1 }), b: resident({ ...own, running: 3 }), c: resident() };
    const state = queue([request("1", "c"), request("2", "b")], models, { embeddedSlots: 1 });
    expect(nextToServe(state)).toMatchObject({ kind: "serve", id: "2", overtakes: [] });
    const last = queue([request("1", "c")], { ...models, a: resident() }, { embeddedSlots: 1 });
    expect(nextToServe(last)).toMatchObject({ kind: "serve", id: "1" });
  });
});

describe("after a decision", () => {
  it("a served request no longer waits, and the time of the first overtaking is kept", () => {
    const waiting = [request("1", "b", { overtakenSinceMs: 3 }), request("2", "b"), request("3", "a")];
    const decision = { kind: "serve", id: "3", model: "a", overtakes: ["1", "2"] } as const;
    expect(afterDecision(waiting, decision, 7)).toEqual([
      request("1", "b", { overtakenSinceMs: 3 }),
      request("2", "b", { overtakenSinceMs: 7 }),
    ]);
  });

  it("a request that causes a load keeps waiting", () => {
    const waiting = [request("1", "b"), request("2", "a")];
    const left = afterDecision(waiting, { kind: "load", id: "1", model: "b", overtakes: [] }, 7);
    expect(left).toEqual(waiting);
  });
});

interface Job {
  readonly atMs: number;
  readonly caller: string;
  readonly model: string;
  readonly priority: number;
}

const answerMs: Readonly<Record<string, number>> = { a: 1_000, b: 3_000, c: 6_000, d: 2_000 };
const loadMs: Readonly<Record<string, number>> = { a: 2_000, b: 9_000, c: 4_000, d: 12_000 };
const capacity = 2;

/**
 * A machine with memory for two models that does one thing at a time, or answers in several slots while it loads.
 * Records when each job arrived, began, and ended.
 */
function simulate(jobs: readonly Job[], slots: number) {
  const open = jobs.map((job, index) => ({ ...job, id: String(index) })).toSorted((a, b) => a.atMs - b.atMs);
  const orderOf = new Map(open.map(({ id }, index) => [id, index]));
  const started: { readonly id: string; readonly startMs: number; readonly endMs: number }[] = [];
  const occupied: { readonly order: number; readonly startMs: number; readonly endMs: number }[] = [];
  const lru: string[] = [];
  const running: { readonly model: string; readonly caller: string; readonly endMs: number }[] = [];
  let [nowMs, arrived] = [0, 0];
  let waiting: readonly WaitingRequest[] = [];
  let load: { readonly model: string; readonly endMs: number } | undefined;
  for (let step = 0; started.length < jobs.length; step += 1) {
    if (step > jobs.length * 20) throw new Error(`${waiting.length} are never served`);
    for (; (open[arrived]?.atMs ?? Infinity) <= nowMs; arrived += 1) {
      const { id, caller, model, priority, atMs } = open[arrived] ?? {
        id: "",
        caller: "",
        model: "",
        priority: 0,
        atMs: 0,
      };
      waiting = [...waiting, { id, caller, model, priority, arrivedMs: atMs }];
    }
    const count = (key: string) => running.filter(({ model }) => model === key).length;
    const models = new Map<string, QueuedModel>(
      ["a", "b", "c", "d"].map((key) => {
        const base = { running: count(key), maxParallel: 2, loadMs: loadMs[key] ?? 0, answerMs: answerMs[key] ?? 0 };
        if (load?.model === key) return [key, { ...base, state: "loading" }];
        if (lru.includes(key)) return [key, { ...base, state: "resident", lossSeconds: lru.indexOf(key) }];
        const isFull = lru.length + Number(load !== undefined) >= capacity;
        const victim = lru.find((other) => count(other) === 0) ?? lru[0];
        return [key, { ...base, state: "absent", evicts: isFull && victim !== undefined ? [victim] : [] }];
      }),
    );
    const runningOf = new Map<string, number>();
    for (const { caller } of running) runningOf.set(caller, (runningOf.get(caller) ?? 0) + 1);
    const isSingleSlot = slots === 1;
    const mayLoad = load === undefined && (!isSingleSlot || running.length === 0);
    const state = { nowMs, maxOvertakeMs: 30_000, embeddedSlots: slots, mayLoad, waiting, models, runningOf };
    const decision = isSingleSlot && load !== undefined ? ({ kind: "wait" } as const) : nextToServe(state);
    waiting = afterDecision(waiting, decision, nowMs);
    if (decision.kind === "serve") {
      const endMs = nowMs + (answerMs[decision.model] ?? 0);
      const { caller } = open[orderOf.get(decision.id) ?? 0] ?? { caller: "" };
      started.push({ id: decision.id, startMs: nowMs, endMs });
      occupied.push({ order: orderOf.get(decision.id) ?? 0, startMs: nowMs, endMs });
      running.push({ model: decision.model, caller, endMs });
      lru.splice(lru.indexOf(decision.model), 1);
      lru.push(decision.model);
    } else if (decision.kind === "load") {
      for (const victim of models.get(decision.model)?.evicts ?? []) lru.splice(lru.indexOf(victim), 1);
      load = { model: decision.model, endMs: nowMs + (loadMs[decision.model] ?? 0) };
      occupied.push({ order: orderOf.get(decision.id) ?? 0, startMs: nowMs, endMs: load.endMs });
    } else {
      const next = [
        ...running.map(({ endMs }) => endMs),
        ...(load === undefined ? [] : [load.endMs]),
        ...(arrived < open.length ? [open[arrived]?.atMs ?? Infinity] : []),
        ...("untilMs" in decision && decision.untilMs !== undefined ? [decision.untilMs] : []),
      ];
      nowMs = Math.min(...next);
      if (load !== undefined && load.endMs <= nowMs) {
        lru.push(load.model);
        load = undefined;
      }
      for (const done of running.filter(({ endMs }) => endMs <= nowMs)) running.splice(running.indexOf(done), 1);
    }
  }
  return { started, occupied, open };
}

const arbitraryJobs = fc.array(
  fc.record({
    atMs: fc.integer({ min: 0, max: 60_000 }),
    caller: fc.constantFrom("x", "y", "z"),
    model: fc.constantFrom("a", "b", "c", "d"),
    priority: fc.integer({ min: 0, max: 1 }),
  }),
  { minLength: 1, maxLength: 30 },
);

describe("for all arrivals", () => {
  it.each([1, 2, 4])("every request is served, with %d slots", (slots) => {
    fc.assert(
      fc.property(arbitraryJobs, (jobs) => {
        expect(
          simulate(jobs, slots)
            .started.map(({ id }) => id)
            .toSorted(),
        ).toEqual(jobs.map((_unused, index) => String(index)).toSorted());
      }),
    );
  });

  it("on a machine that does one thing at a time no request is overtaken for more than the limit", () => {
    fc.assert(
      fc.property(arbitraryJobs, (jobs) => {
        const { started, occupied, open } = simulate(jobs, 1);
        for (const { id, startMs } of started) {
          const order = open.findIndex((job) => job.id === id);
          const arrivedMs = open[order]?.atMs ?? 0;
          const ahead = occupied.filter(
            (other) => other.order > order && other.startMs >= arrivedMs && other.startMs < startMs,
          );
          if (ahead.length === 0) continue;
          const first = Math.min(...ahead.map((other) => other.startMs));
          const last = Math.max(...ahead.map((other) => other.endMs));
          expect(last - first).toBeLessThanOrEqual(30_000);
        }
      }),
      { numRuns: 300 },
    );
  });
});
