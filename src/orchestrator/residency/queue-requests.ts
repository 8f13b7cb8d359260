import { Cancelled } from "../api/errors.ts";
import type { LoadResult } from "../api/facade.ts";
import type { Report, ResidentModel } from "../engines/engine.ts";
import type { Awaitable, LocatedModel } from "../catalog/located-model.ts";
import type { Timers } from "../util/timers.ts";
import type { Loader } from "./loader.ts";
import type { LoadAhead } from "./plans.ts";
import { fairTurn, hasRecovered, type PausableAnswer, type WaitingRequest } from "./decide/queue-order.ts";

/** A request for an answer of a model, or for its load. */
export interface QueueRequest {
  /** `modelId`: the key under which the model is queued, leased and observed. */
  readonly id: string;
  readonly located: LocatedModel;
  /** Callers take turns. */
  readonly caller: string;
  /** Higher goes first. */
  readonly priority: number;
  /** A model that is loaded with at least this context is used as it is. */
  readonly neededTokens: number;
  /** Context to load it with if necessary; the largest of all requests for the model is used. */
  readonly contextTokens: number;
  readonly keepAliveSeconds?: number;
  /** The request is refused if its answer can't begin within this time. */
  readonly maxWaitMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
  /** Aborted: no call waits for it any more, so it goes behind the requests of other calls. */
  readonly background?: AbortSignal;
}

/** A permit to generate on a model, which stays in memory until `release`. `release` is idempotent. */
export interface Permit {
  /** Absent for a model that uses no memory here. */
  readonly resident?: ResidentModel;
  /** Milliseconds waited, without `loadMs`. */
  readonly waitedMs: number;
  readonly loadMs: number;
  /** The answers that share its process: this one and those beside it, with those that wait. Undefined: it is no such engine. */
  readonly crowd: { readonly answered: number; readonly wanted: number; readonly isBesidePaused: boolean } | undefined;
  release(): void;
}

/** A lease on a loaded model, before it is a `Permit` of a request. */
export type Held = Pick<Permit, "resident" | "release">;

/** A model with running or waiting requests. */
export interface QueuedRequests {
  readonly located: LocatedModel;
  readonly running: number;
  readonly waiting: number;
  /** Milliseconds until the last of those that wait is expected to be answered; absent while none waits. */
  readonly expectedWaitMs?: number;
}

/** What a queue reads and calls. Ids are those of `QueueRequest`. */
export interface QueueWorld {
  readonly timers: Timers;
  /** `queue.maxWaiting`, called on each use. */
  readonly maxWaiting: () => number;
  /** The longest time that an earlier request is passed over for later ones whose model is loaded. */
  readonly maxOvertakeMs: number;
  /** Models of the embedded engine that answer at a time. */
  readonly embeddedSlots: number;
  maxParallel(located: LocatedModel): number;
  hasOwnThreads(located: LocatedModel): boolean;
  /** Undefined if it isn't loaded. Without a promise where that is known. */
  resident(located: LocatedModel): Awaitable<ResidentModel | undefined>;
  /** Undefined unless it is known to be loaded with enough context. */
  use(located: LocatedModel, neededTokens: number): Held | undefined;
  /** Like `use`, but right after the load of the model, whether it is listed or not. Undefined: it is unloaded again. */
  hold(located: LocatedModel, loaded: LoadResult): Held | undefined;
  /** Makes room and loads, by the plan that the queue has decided on if it still holds; throws what a load throws. */
  load: Loader["load"];
  /** The plan of its load, which evicts busy models only if the idle ones don't suffice. */
  ahead(located: LocatedModel, contextTokens: number): Promise<LoadAhead>;
  /** Number of current uses of the model. */
  usesOf(id: string): number;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  /** Whether there is memory for an answer of the model beside so many, which may be paused. */
  hasRoomBeside(located: LocatedModel, contextTokens: number, beside: number, arePaused: boolean): Promise<boolean>;
  /** The expected cost of losing the model; undefined before its first use. */
  lossSeconds(located: LocatedModel): number | undefined;
  /** Milliseconds of a load, and of a long answer. */
  loadMs(located: LocatedModel): number;
  answerMs(located: LocatedModel): number;
  answered(id: string, durationMs: number): void;
  /** Records in the log of decisions why a request waits for memory. */
  waits(located: LocatedModel, why: string): void;
}

/** A waiting request, and the callbacks that answer it. */
export class Waiter implements WaitingRequest {
  /** Counts arrivals. */
  id = "";
  readonly request: QueueRequest;
  readonly caller: string;
  priority: number;
  flow: string;
  readonly arrivedMs: number;
  /** `FairTurns.newest` at its arrival. */
  readonly arrivedTurn: number;
  readonly deadlineMs: number | undefined;
  readonly #reject: (error: Error) => void;
  /** Undefined if the model is only to be loaded. */
  grant: ((use: Held) => void) | undefined;
  loaded: ((result: LoadResult) => void) | undefined;
  /** As the last look found them; see `keyOf`. */
  model: string;
  turn = 0;
  overtakenSinceMs: number | undefined;
  /** Milliseconds of loads that it has waited for. */
  loadMs = 0;
  /** The last reasons for the wait that its caller and the log of decisions got. */
  reported: string | undefined;
  noted: string | undefined;
  /** Whether its expected wait was compared with `maxWaitMs`. */
  isChecked = false;
  #onAbort: (() => void) | undefined;
  #onBackground: (() => void) | undefined;

  constructor(
    request: QueueRequest,
    arrival: Pick<Waiter, "arrivedMs" | "arrivedTurn">,
    reject: (error: Error) => void,
  ) {
    this.request = request;
    this.arrivedMs = arrival.arrivedMs;
    this.arrivedTurn = arrival.arrivedTurn;
    this.caller = request.caller;
    this.priority = priorityOf(request);
    this.flow = flowOf(this);
    this.model = request.id;
    this.deadlineMs = request.maxWaitMs === undefined ? undefined : arrival.arrivedMs + request.maxWaitMs;
    this.#reject = reject;
  }

  reject(error: unknown): void {
    this.#reject(error instanceof Error ? error : new Error(String(error)));
  }

  watch(onAbort: () => void, onChange: () => void): void {
    this.#onAbort = onAbort;
    this.#onBackground = () => {
      this.priority = priorityOf(this.request);
      this.flow = flowOf(this);
      onChange();
    };
    this.request.signal.addEventListener("abort", onAbort, { once: true });
    this.request.background?.addEventListener("abort", this.#onBackground, { once: true });
  }

  unwatch(): void {
    const { signal, background } = this.request;
    if (this.#onAbort !== undefined) signal.removeEventListener("abort", this.#onAbort);
    if (this.#onBackground !== undefined) background?.removeEventListener("abort", this.#onBackground);
  }
}

/** The waiting requests. */
export class Waiters {
  /** By `Waiter.id`, in the order of arrival. */
  readonly #byId = new Map<string, Waiter>();
  /** In that order, too; another list after each change. */
  all: readonly Waiter[] = [];
  #arrivals = 0;

  get(id: string): Waiter | undefined {
    return this.#byId.get(id);
  }

  has({ id }: Waiter): boolean {
    return this.#byId.has(id);
  }

  /** Those for a model, by its `QueueRequest.id`. */
  ofModel(id: string): readonly Waiter[] {
    return this.all.filter(({ request }) => request.id === id);
  }

  /** The context to load a model with. */
  largestContext(id: string): number {
    return Math.max(...this.ofModel(id).map(({ request }) => request.contextTokens));
  }

  add(waiter: Waiter): void {
    this.#arrivals += 1;
    waiter.id = String(this.#arrivals);
    this.#byId.set(waiter.id, waiter);
    this.all = [...this.all, waiter];
  }

  remove(waiter: Waiter): void {
    if (this.#byId.delete(waiter.id)) this.all = [...this.#byId.values()];
    waiter.unwatch();
  }
}

/** The error of a request that was cancelled while it waited. */
export function cancelled({ located, signal }: QueueRequest): Cancelled {
  return new Cancelled(`waiting for ${located.model.name} was cancelled`, { cause: signal.reason });
}

/** The priority of requests that no call waits for. */
export const backgroundPriority = -1;

/** Its priority at present. */
function priorityOf({ priority, background }: QueueRequest): number {
  return background?.aborted === true ? Math.min(priority, backgroundPriority) : priority;
}

/** Requests share turns by caller and priority: background requests of a caller must not delay its others. */
export function flowOf({ caller, priority }: Pick<WaitingRequest, "caller" | "priority">): string {
  return `${priority} ${caller}`;
}

interface TurnTaker {
  /** `flowOf` it. */
  readonly flow: string;
  /** `newest` at its arrival. */
  readonly arrivedTurn: number;
  turn?: number;
}

/**
 * Turns of callers (`fairTurn`), computed from the requests that wait now: one that leaves without an answer uses no
 * turn.
 */
export class FairTurns {
  /** The highest turn that was served. */
  newest = 0;
  /** By `flow`: the turn that was served last. */
  readonly #last = new Map<string, number>();

  /** Sets the turns of all waiting requests, which are in the order of arrival. */
  assign(waiting: readonly TurnTaker[]): void {
    const previous = new Map(this.#last);
    for (const request of waiting) {
      request.turn = fairTurn(request.arrivedTurn, previous.get(request.flow));
      previous.set(request.flow, request.turn);
    }
  }

  /** A request of `waiting` is served; its caller is charged the first of its turns, whichever request that is for. */
  served(waiting: readonly TurnTaker[], request: TurnTaker): void {
    const { flow } = request;
    const first = waiting.find((each) => each.flow === flow) ?? request;
    const turn = fairTurn(first.arrivedTurn, this.#last.get(flow));
    this.newest = Math.max(this.newest, turn);
    this.#last.set(flow, turn);
    // Those without waiting requests that have fallen behind start over.
    const awaited = new Set(waiting.map((each) => each.flow));
    for (const [other, its] of this.#last) if (its < this.newest && !awaited.has(other)) this.#last.delete(other);
  }
}

/** Longer than `nextToServe` waits for a caller to return. */
const rememberedMs = 1_000;

/** An active answer of an engine that pauses answers: while others run, those beside the first of them compute. */
interface SharedAnswer extends PausableAnswer {
  readonly request: QueueRequest;
  pausedSinceMs: number | undefined;
  continuedMs: number | undefined;
  /** Start of its present pause. */
  pausedAtMs: number | undefined;
  pausedMs: number;
}

/** The active answers of one queue. */
export class Running {
  /** `begunMs`: the sum of when they began. */
  readonly models = new Map<
    string,
    { readonly located: LocatedModel; readonly count: number; readonly begunMs: number }
  >();
  /** By caller, as is when the last answer of each ended; older ones are dropped. */
  readonly callers = new Map<string, number>();
  readonly answeredMs = new Map<string, number>();
  readonly #world: Pick<QueueWorld, "embeddedSlots" | "maxParallel" | "hasOwnThreads" | "timers">;
  /** Those of engines that pause answers, in the order in which they began. */
  readonly #shared = new Set<SharedAnswer>();

  constructor(world: Pick<QueueWorld, "embeddedSlots" | "maxParallel" | "hasOwnThreads" | "timers">) {
    this.#world = world;
  }

  get hasShared(): boolean {
    return this.#shared.size > 0;
  }

  /** Number of active answers of the model. */
  of(id: string): number {
    return this.models.get(id)?.count ?? 0;
  }

  /** Those of the model in the background, on an engine that pauses them. */
  pausableOf(id: string): readonly PausableAnswer[] {
    return [...this.#shared].filter(({ request }) => request.id === id && priorityOf(request) < 0);
  }

  /** Number of active answers of the model on an engine that pauses them. */
  sharedOf(id: string): number {
    let count = 0;
    for (const { request } of this.#shared) if (request.id === id) count += 1;
    return count;
  }

  /** Whether the model, which has `uses`, and the embedded slots if it needs one, have room for one more. */
  hasFreeSlot(request: QueueRequest, uses = 0): boolean {
    const { id, located } = request;
    const { maxParallel, hasOwnThreads, embeddedSlots } = this.#world;
    if (Math.max(this.of(id), uses) >= maxParallel(located)) return false;
    if (hasOwnThreads(located)) return true;
    const sharing = [...this.models].filter(([, each]) => !hasOwnThreads(each.located));
    const inTheWay = ([other, { count }]: (typeof sharing)[number]) =>
      priorityOf(request) < 0 ? count : count - this.pausableOf(other).length;
    return sharing.reduce((sum, each) => sum + inTheWay(each), 0) < embeddedSlots;
  }

  /**
   * An answer begins. `onChange`: it is in the background from now on. The returned function, called once, ends it and
   * returns the milliseconds that it was paused.
   */
  begin(request: QueueRequest, onChange: () => void): () => number {
    const begunMs = this.#world.timers.now();
    this.#change(request, 1, begunMs);
    const shared = request.located.engine.pausesAnswers === true ? this.#beginShared(request, onChange) : undefined;
    return () => {
      this.#change(request, -1, begunMs);
      const nowMs = this.#world.timers.now();
      for (const [other, atMs] of this.answeredMs) if (atMs < nowMs - rememberedMs) this.answeredMs.delete(other);
      this.answeredMs.set(request.caller, nowMs);
      return shared?.() ?? 0;
    };
  }

  #beginShared(request: QueueRequest, onChange: () => void): () => number {
    const nothing = { pausedSinceMs: undefined, continuedMs: undefined, pausedAtMs: undefined };
    const answer: SharedAnswer = { request, pausedMs: 0, ...nothing };
    const changed = () => {
      this.#share();
      onChange();
    };
    this.#shared.add(answer);
    this.#share();
    request.background?.addEventListener("abort", changed, { once: true });
    return () => {
      request.background?.removeEventListener("abort", changed);
      this.#continue(answer);
      this.#shared.delete(answer);
      this.#share();
      return answer.pausedMs;
    };
  }

  /** As the engine does: computes the first one that is not in the background, else the first one, and its like beside it. */
  #share(): void {
    const [first] = [...this.#shared].toSorted((a, b) => priorityOf(b.request) - priorityOf(a.request));
    for (const answer of this.#shared) {
      const { request } = answer;
      if (request.id === first?.request.id && priorityOf(request) < 0 === priorityOf(first.request) < 0)
        this.#continue(answer);
      else this.#pause(answer);
    }
  }

  #pause(answer: SharedAnswer): void {
    if (answer.pausedAtMs !== undefined) return;
    const nowMs = this.#world.timers.now();
    if (hasRecovered(answer, nowMs)) answer.pausedSinceMs = nowMs;
    answer.pausedAtMs = nowMs;
    answer.continuedMs = undefined;
  }

  #continue(answer: SharedAnswer): void {
    if (answer.pausedAtMs === undefined) return;
    const nowMs = this.#world.timers.now();
    answer.pausedMs += nowMs - answer.pausedAtMs;
    answer.pausedAtMs = undefined;
    answer.continuedMs = nowMs;
  }

  #change({ id, located, caller }: QueueRequest, by: 1 | -1, atMs: number): void {
    const { count = 0, begunMs = 0 } = this.models.get(id) ?? {};
    if (count + by > 0) this.models.set(id, { located, count: count + by, begunMs: begunMs + by * atMs });
    else this.models.delete(id);
    const ofCaller = (this.callers.get(caller) ?? 0) + by;
    if (ofCaller > 0) this.callers.set(caller, ofCaller);
    else this.callers.delete(caller);
  }
}
