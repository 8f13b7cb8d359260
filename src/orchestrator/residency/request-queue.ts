import { ModelDoesNotFit } from "../api/errors.ts";
import type { LoadResult } from "../api/facade.ts";
import type { Progress } from "../api/types.ts";
import type { LoadOptions, Report } from "../engines/engine.ts";
import { expectedWaitMs } from "./decide/expected-wait.ts";
import { afterDecision, nextToServe, type QueueState } from "./decide/queue-order.ts";
import { crowdOf } from "./more-sequences.ts";
import type { LoadAhead } from "./plans.ts";
import {
  cancelled,
  FairTurns,
  flowOf,
  type QueuedRequests,
  type QueueRequest,
  type QueueWorld,
  type Held,
  type Permit,
  Running,
  Waiter,
  Waiters,
} from "./queue-requests.ts";
import {
  cannotAnswerInTime,
  isThere,
  pollMs,
  QueuedModels,
  queuedRequests,
  queueFull,
  queueState,
  type QueueView,
  reportWaits,
  type RoomTaker,
} from "./queue-view.ts";
import { once } from "../util/values.ts";

interface Loading extends RoomTaker {
  readonly controller: AbortController;
  newest: Progress | undefined;
  ended: Promise<void>;
}

/** A wait is reported once it lasts this long, and its changes at most this often. */
const reportMs = 250;

/**
 * The requests that wait for the models of one memory domain. `nextToServe` decides which one goes next: on every
 * arrival, end or change, and when a request may not be overtaken any longer. The queue executes the decisions:
 *
 * | decision | effect                                                                                                           |
 * |----------|------------------------------------------------------------------------------------------------------------------|
 * | serve    | the lease is taken before the next decision, so that nothing evicts the model in between                         |
 * | load     | one at a time; all requests for the model get its progress and its error; the one that caused it is served first |
 * | wait     | until the next event; for memory at most 2 s, since other programs free and take it unnoticed                    |
 *
 * A request for a loaded model with a free slot gets its permit at once, unless others wait: the queue exists only for
 * requests that must wait.
 */
export class RequestQueue {
  readonly #world: QueueWorld;
  readonly #waiters = new Waiters();
  readonly #running: Running;
  readonly #turns = new FairTurns();
  readonly #models: QueuedModels;
  #loading: Loading | undefined;
  /** Requests that a model was loaded and is held for: served before the next look and decision. */
  readonly #held = new Map<Waiter, Held>();
  #isRunning = false;
  #isDirty = false;
  #isWoken = false;
  #cancelTimer: (() => void) | undefined;
  #cancelReport: (() => void) | undefined;

  constructor(world: QueueWorld) {
    this.#world = world;
    this.#running = new Running(world);
    this.#models = new QueuedModels(world, this.#waiters, this.#running, {
      planned: () => this.#ask(),
      failed: (id, error) => {
        for (const waiter of this.#waiters.ofModel(id)) this.#fail(waiter, error);
      },
    });
  }

  /** A permit if the model has a free slot and nothing is under way: then there is nothing to decide. */
  grantFree(request: QueueRequest): Permit | undefined {
    const { id, located, neededTokens, signal } = request;
    if (this.#waiters.all.length > 0 || this.#loading !== undefined || this.#running.hasShared || signal.aborted)
      return undefined;
    if (!this.#running.hasFreeSlot(request, this.#world.usesOf(id))) return undefined;
    const held = this.#world.use(located, neededTokens);
    if (held === undefined) return undefined;
    this.#turns.served([], { flow: flowOf(request), arrivedTurn: this.#turns.newest });
    return this.#slotFor({ request, arrivedMs: this.#world.timers.now(), loadMs: 0 }, held);
  }

  /** Waits for its turn. Throws `QueueFull`, `Cancelled`, and what the load of the model throws. */
  grant(request: QueueRequest): Promise<Permit> {
    return new Promise((resolve, reject) => {
      const waiter = this.#arrive(request, reject);
      waiter.grant = (use) => resolve(this.#slotFor(waiter, use));
      this.#enter(waiter);
    });
  }

  load(request: QueueRequest): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const waiter = this.#arrive(request, reject);
      waiter.loaded = resolve;
      this.#enter(waiter);
    });
  }

  /** Something changed: a lease was released, a load began or ended, a model was evicted. */
  wake(): void {
    this.#models.events += 1;
    if (this.#isRunning) this.#isDirty = true;
    else if (!this.#isWoken && this.#waiters.all.length > 0) {
      this.#isWoken = true; // Once for all events of this turn.
      queueMicrotask(() => {
        this.#isWoken = false;
        this.#ask();
      });
    }
  }

  snapshot(): readonly QueuedRequests[] {
    return queuedRequests(this.#view(), this.#waiters.all.length === 0 ? undefined : this.#state());
  }

  #arrive(request: QueueRequest, reject: (error: unknown) => void): Waiter {
    const { id, located, signal } = request;
    const ahead = this.#waiters.ofModel(id).length;
    const free = Math.max(0, this.#world.maxParallel(located) - this.#running.of(id));
    if (ahead >= this.#world.maxWaiting() + free) throw queueFull(this.#state(), request, ahead);
    if (signal.aborted) throw cancelled(request);
    const arrivedMs = this.#world.timers.now();
    return new Waiter(request, { arrivedMs, arrivedTurn: this.#turns.newest }, reject);
  }

  #enter(waiter: Waiter): void {
    this.#waiters.add(waiter);
    const newest = this.#loading?.id === waiter.request.id ? this.#loading.newest : undefined;
    if (newest !== undefined) waiter.request.report(newest);
    this.#models.events += 1;
    this.#ask();
    if (this.#waiters.has(waiter))
      waiter.watch(
        () => this.#abort(waiter),
        () => this.wake(),
      );
  }

  #leave(waiter: Waiter): void {
    this.#waiters.remove(waiter);
    this.#held.get(waiter)?.release();
    this.#held.delete(waiter);
    if (this.#waiters.all.length > 0) return;
    this.#cancelTimer?.();
    this.#cancelReport?.();
    this.#cancelReport = undefined;
  }

  #fail(waiter: Waiter, error: unknown): void {
    this.#leave(waiter);
    waiter.reject(error);
  }

  #ask(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#waiters.all.length === 0) return;
    this.#isDirty = true;
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isDirty) {
      this.#isDirty = false;
      try {
        this.#giveHeld();
        const looking = this.#models.look(this.#loading?.id);
        if (looking !== undefined) await looking;
        await this.#decide();
      } catch (error) {
        // A defect must not leave requests waiting forever.
        for (const waiter of this.#waiters.all) this.#fail(waiter, error);
      }
    }
    this.#isRunning = false;
  }

  #view(): QueueView {
    return {
      world: this.#world,
      nowMs: this.#world.timers.now(),
      waiting: this.#waiters.all,
      models: this.#models,
      running: this.#running,
      loading: this.#loading,
    };
  }

  #state(): QueueState {
    const view = this.#view();
    this.#turns.assign(view.waiting);
    return queueState(view);
  }

  /** Decides until there is nothing to do, or the state has changed. */
  async #decide(): Promise<void> {
    while (!this.#isDirty && this.#waiters.all.length > 0) {
      const state = this.#state();
      if (this.#settleSome(state)) continue;
      const decision = nextToServe(state);
      if (decision.kind === "wait") return this.#rest(state, decision.untilMs);
      const waiter = this.#waiters.get(decision.id);
      if (waiter === undefined) continue;
      const { id, located, neededTokens } = waiter.request;
      if (decision.kind === "expire") this.#fail(waiter, cannotAnswerInTime(state, waiter));
      else if (decision.kind === "serve") {
        const use = this.#world.use(located, neededTokens);
        if (use === undefined) {
          const looking = this.#models.look(this.#loading?.id);
          // What was seen became too old meanwhile, or it was unloaded.
          if (looking === undefined) this.#models.seen.set(id, undefined);
          else await looking;
          continue;
        }
        this.#give(waiter, use);
      } else {
        const contextTokens = this.#waiters.largestContext(id);
        const ahead = this.#models.ahead(id, contextTokens);
        if (ahead === undefined) return this.#rest(state, undefined);
        this.#begin(waiter, contextTokens, ahead);
      }
      for (const other of afterDecision(state.waiting, decision, state.nowMs)) {
        const overtaken = this.#waiters.get(other.id);
        if (overtaken !== undefined) overtaken.overtakenSinceMs = other.overtakenSinceMs;
      }
    }
  }

  /** Answers the requests that need no decision. Returns whether there were any. */
  #settleSome(state: QueueState): boolean {
    const before = this.#waiters.all.length;
    for (const waiter of this.#waiters.all) {
      if (waiter.grant === undefined && isThere(state, waiter)) this.#renew(waiter);
    }
    if (this.#waiters.all.length < before) return true;
    for (const waiter of this.#waiters.all) {
      if (waiter.isChecked) continue;
      this.#refuseIfHopeless(state, waiter);
      // The others wait less without it.
      if (this.#waiters.all.length < before) return true;
    }
    return false;
  }

  /** Refuses a new request that is not expected to be served in time. */
  #refuseIfHopeless(state: QueueState, waiter: Waiter): void {
    const { id, maxWaitMs } = waiter.request;
    if (!this.#models.seen.has(id)) return;
    waiter.isChecked = true;
    if (maxWaitMs !== undefined && expectedWaitMs(state, waiter) > maxWaitMs)
      this.#fail(waiter, cannotAnswerInTime(state, waiter));
  }

  /** Waits for the next event. Plans are made meanwhile. */
  #rest(state: QueueState, untilMs: number | undefined): void {
    const { timers } = this.#world;
    this.#cancelReport ??= timers.after(reportMs, () => {
      this.#cancelReport = undefined;
      reportWaits(this.#view(), this.#state());
    });
    const nowMs = timers.now();
    const moments = untilMs === undefined ? [] : [untilMs];
    const isPolled =
      this.#loading === undefined ? this.#models.makePlans(state) : this.#models.followRoom(this.#loading);
    if (isPolled) moments.push(nowMs + pollMs);
    const ahead = moments.filter((moment) => moment > nowMs);
    if (ahead.length > 0) this.#cancelTimer = timers.after(Math.min(...ahead) - nowMs, () => this.wake());
  }

  #giveHeld(): void {
    for (const [waiter, use] of this.#held) {
      if (!this.#running.hasFreeSlot(waiter.request)) continue;
      this.#held.delete(waiter);
      this.#give(waiter, use);
    }
  }

  #give(waiter: Waiter, use: Held): void {
    this.#turns.served(this.#waiters.all, waiter);
    this.#leave(waiter);
    waiter.grant?.(use);
  }

  /** A load request for a loaded model, which only restarts its keep-alive. */
  #renew(waiter: Waiter): void {
    const { located, contextTokens, report, signal } = waiter.request;
    this.#leave(waiter);
    const work = this.#world.load({ located, options: loadOptions(waiter.request, contextTokens), report, signal });
    void work.then(waiter.loaded, (error: unknown) => waiter.reject(error));
  }

  #begin(waiter: Waiter, contextTokens: number, ahead: LoadAhead): void {
    const { id, located } = waiter.request;
    const controller = new AbortController();
    const report: Report = (progress) => {
      current.newest = progress;
      for (const { request } of this.#waiters.ofModel(id)) request.report(progress);
    };
    const request = { located, options: loadOptions(waiter.request, contextTokens), report, signal: controller.signal };
    // In a microtask, so that `#loading` is set before the first report.
    const work = Promise.resolve().then(() => this.#world.load(request, ahead));
    const current: Loading = {
      id,
      located,
      contextTokens,
      evicts: ahead.evicts,
      startedMs: this.#world.timers.now(),
      controller,
      newest: undefined,
      ended: work
        .then((result) => this.#loaded(waiter, contextTokens, result))
        .catch((error: unknown) => this.#loadFailed(current, error)),
    };
    this.#loading = current;
  }

  #loaded(cause: Waiter, contextTokens: number, result: LoadResult): void {
    const { id, located } = cause.request;
    const joined = this.#waiters.ofModel(id);
    for (const each of joined) each.loadMs += result.loadMs;
    // The request that caused the load may have left; one that joined is served first then.
    const successor = joined.includes(cause)
      ? cause
      : joined.find(({ request }) => request.neededTokens <= contextTokens);
    // Without a check whether it is loaded: if an engine doesn't list it, the load would repeat forever.
    if (successor?.grant !== undefined) {
      const use = this.#world.hold(located, result);
      if (use !== undefined) this.#held.set(successor, use);
    } else if (successor !== undefined) {
      this.#leave(successor);
      successor.loaded?.(result);
    }
    this.#loadEnded();
  }

  #loadFailed({ id, contextTokens, controller }: Loading, error: unknown): void {
    // Requests that came during the abort load it again; those with less context may fit.
    const isTooLarge = error instanceof ModelDoesNotFit;
    for (const each of controller.signal.aborted ? [] : this.#waiters.ofModel(id)) {
      if (!isTooLarge || each.request.contextTokens >= contextTokens) this.#fail(each, error);
    }
    this.#loadEnded();
  }

  #loadEnded(): void {
    this.#loading = undefined;
    this.#models.memoryEvents += 1;
    this.wake();
  }

  #abort(waiter: Waiter): void {
    if (!this.#waiters.has(waiter)) return;
    this.#leave(waiter);
    const { request } = waiter;
    if (this.#loading?.id === request.id && this.#waiters.ofModel(request.id).length === 0) {
      this.#loading.controller.abort(request.signal.reason);
      // The load has ended when the caller gets the error.
      void this.#loading.ended.then(() => waiter.reject(cancelled(request)));
    } else waiter.reject(cancelled(request));
    this.wake();
  }

  #slotFor({ request, arrivedMs, loadMs }: Pick<Waiter, "request" | "arrivedMs" | "loadMs">, use: Held): Permit {
    const startedMs = this.#world.timers.now();
    const crowd = request.located.engine.pausesAnswers && crowdOf(request, this.#running, this.#waiters, this.#world);
    const end = this.#running.begin(request, () => this.wake());
    return {
      waitedMs: Math.max(0, startedMs - arrivedMs - loadMs),
      ...use,
      loadMs,
      crowd,
      release: once(() => {
        this.#world.answered(request.id, this.#world.timers.now() - startedMs - end());
        use.release();
        this.wake();
      }),
    };
  }
}

function loadOptions({ keepAliveSeconds }: QueueRequest, contextTokens: number): LoadOptions {
  return { contextTokens, ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }) };
}
