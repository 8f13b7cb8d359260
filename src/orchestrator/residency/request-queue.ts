import type { LoadOptions, Report } from "../engines/engine.ts";
import { ModelDoesNotFit } from "../api/errors.ts";
import type { LoadResult } from "../api/facade.ts";
import type { LocatedModel } from "../models/located-model.ts";
import { expectedWaitMs } from "./decide/expected-wait.ts";
import { afterDecision, nextToServe, type QueueState } from "./decide/queue-order.ts";
import type { Progress } from "../api/types.ts";
import { createFairTurns } from "./fair-turns.ts";
import { isPlanKept, keyOf, type QueueView, outlook, queueState, type Seen, whyWaiting } from "./queue-view.ts";
import type { QueueRequest, QueueWorld, RequestSlot, QueuedRequests, Use } from "./queue-world.ts";
import { cannotAnswerInTime, queueFull } from "./refusals.ts";
import { createRunning } from "./running.ts";
import { cancelled, createWaiters, type Waiter } from "./waiters.ts";

/**
 * The requests that wait for the models of one memory domain. `nextToServe` decides which one goes next: on every
 * arrival, end or change, and when a request may not be overtaken any longer. The queue executes the decisions:
 *
 * | decision | effect                                                                                                           |
 * |----------|------------------------------------------------------------------------------------------------------------------|
 * | serve    | the lease is taken before the next decision, so that nothing evicts the model in between                         |
 * | load     | one at a time; all requests for the model get its progress and its error; the one that caused it is served first |
 * | wait     | until the next event; for memory at most 2 s, since other programs free and take it unnoticed                    |
 */
export interface RequestQueue {
  /** Throws `QueueFull`, `Cancelled`, and what the load of the model throws. */
  answer(request: QueueRequest): Promise<RequestSlot>;
  load(request: QueueRequest): Promise<LoadResult>;
  /** Something changed: a lease was released, a load began or ended, a model was evicted. */
  wake(): void;
  isAwaited(id: string): boolean;
  snapshot(): readonly QueuedRequests[];
}

interface Loading {
  readonly id: string;
  readonly located: LocatedModel;
  readonly contextTokens: number;
  /** Extended if another program takes memory before the load has its room. */
  evicts: readonly string[];
  readonly startedMs: number;
  readonly controller: AbortController;
  newest: Progress | undefined;
  ended: Promise<void>;
}

const pollMs = 2_000;

export function createRequestQueue(world: QueueWorld): RequestQueue {
  const { timers } = world;
  const waiters = createWaiters();
  const seen = new Map<string, Seen>();
  const running = createRunning(world);
  const fair = createFairTurns();
  const planning = new Set<string>();
  let loading: Loading | undefined;
  /** Requests that a model was loaded and is held for: served before the next decision. */
  let held: readonly { readonly waiter: Waiter; readonly use: Use }[] = [];
  /** Counts of events that may change a plan, and of those that change what is loaded. */
  let [events, memoryEvents] = [0, 0];
  let [isRunning, isDirty] = [false, false];
  let cancelTimer: (() => void) | undefined;

  function wake(): void {
    events += 1;
    ask();
  }

  function ask(): void {
    cancelTimer?.();
    cancelTimer = undefined;
    releaseAbandoned();
    if (waiters.all().length === 0) return;
    isDirty = true;
    if (!isRunning) void run();
  }

  async function run(): Promise<void> {
    isRunning = true;
    while (isDirty) {
      isDirty = false;
      try {
        await look();
        await decide();
      } catch (error) {
        // A defect must not leave requests waiting forever.
        for (const waiter of waiters.all()) waiters.fail(waiter, error);
        releaseAbandoned();
      }
    }
    isRunning = false;
  }

  /** Releases what is held for waiters that have left. */
  function releaseAbandoned(): void {
    const left = held.filter(({ waiter }) => !waiters.has(waiter));
    held = held.filter((due) => !left.includes(due));
    for (const { use } of left) use.release();
  }

  async function look(): Promise<void> {
    const wanted = new Map(waiters.all().map(({ id, located }) => [id, located]));
    for (const id of seen.keys()) if (!wanted.has(id)) seen.delete(id);
    await Promise.all(
      [...wanted].map(async ([id, located]) => {
        const resident = await world.resident(located);
        seen.set(id, { located, plan: seen.get(id)?.plan, resident });
      }),
    );
  }

  function view(): QueueView {
    const waiting = waiters.all();
    return { world, nowMs: timers.now(), waiting, turns: fair.of(waiting), seen, running, loading };
  }

  /** Decides until there is nothing to do, or the state has changed. */
  async function decide(): Promise<void> {
    for (;;) {
      if (isDirty) return;
      const { models } = queueState(view());
      for (const waiter of waiters.all()) if (waiter.grant === undefined && isThere(models, waiter)) reload(waiter);
      for (const due of held) {
        if (!running.hasFreeSlot(due.waiter.id, due.waiter.located)) continue;
        held = held.filter((each) => each !== due);
        give(due.waiter, due.use);
      }
      refuseHopeless();
      releaseAbandoned();
      const state = queueState(view());
      const decision = nextToServe(state);
      if (decision.kind === "wait") return rest(decision.untilMs);
      const waiter = waiters.all().find(({ number }) => number === decision.id);
      if (waiter === undefined) continue;
      if (decision.kind === "expire") waiters.fail(waiter, cannotAnswerInTime(state, waiter));
      else if (decision.kind === "serve") {
        if (!(await serve(waiter))) continue;
      } else {
        const contextTokens = largestContext(waiter.id);
        const plan = seen.get(waiter.id)?.plan;
        if (plan?.atMemoryEvent !== memoryEvents || plan.contextTokens !== contextTokens) return rest(undefined);
        begin(waiter, contextTokens, plan.evicts);
      }
      for (const { id, overtakenSinceMs } of afterDecision(state.waiting, decision, state.nowMs)) {
        const overtaken = waiters.all().find(({ number }) => number === id);
        if (overtaken !== undefined) overtaken.overtakenSinceMs = overtakenSinceMs;
      }
    }
  }

  /** Refuses new requests that are not expected to be served in time. */
  function refuseHopeless(): void {
    for (const waiter of waiters.all()) {
      if (waiter.isChecked || !seen.has(waiter.id)) continue;
      waiter.isChecked = true;
      if (waiter.maxWaitMs === undefined) continue;
      const state = queueState(view());
      const asked = state.waiting.find(({ id }) => id === waiter.number);
      if (asked !== undefined && expectedWaitMs(state, asked) > waiter.maxWaitMs)
        waiters.fail(waiter, cannotAnswerInTime(state, waiter));
    }
  }

  /** Waits for the next event. Plans are made meanwhile. */
  function rest(untilMs: number | undefined): void {
    const state = queueState(view());
    for (const waiter of waiters.all()) reportWait(state, waiter);
    const nowMs = timers.now();
    const moments = untilMs === undefined ? [] : [untilMs];
    if (loading !== undefined ? followRoom(loading) : makePlans(state)) moments.push(nowMs + pollMs);
    const ahead = moments.filter((moment) => moment > nowMs);
    if (ahead.length > 0) cancelTimer = timers.after(Math.min(...ahead) - nowMs, wake);
  }

  /**
   * Extends the victims of a load that still waits for its room, which are not served any more. Returns false once it
   * has its room.
   */
  function followRoom(current: Loading): boolean {
    if (world.isLoading(current.id)) return false;
    const isSlow = timers.now() >= current.startedMs + pollMs;
    if (!isSlow || planning.has(current.id)) return true;
    planning.add(current.id);
    // If the plan fails, the load reports the reason.
    void world.wouldEvict(current.located, current.contextTokens).then(
      (evicts) => {
        planning.delete(current.id);
        // Earlier victims remain, as in `isPlanKept`.
        const others = evicts.filter((other) => !current.evicts.includes(other));
        if (others.length === 0) return;
        current.evicts = [...current.evicts, ...others];
        ask();
      },
      () => void planning.delete(current.id),
    );
    return true;
  }

  /** Renews the plans of models to load that are older than the last event. Returns false if there are none to load. */
  function makePlans({ models }: QueueState): boolean {
    let isAnyUnloaded = false;
    for (const [id, { located, plan }] of seen) {
      if (waiters.ofModel(id).every((waiter) => isThere(models, waiter))) continue;
      isAnyUnloaded = true;
      const contextTokens = largestContext(id);
      if (plan?.atEvent !== events || plan.contextTokens !== contextTokens) void makePlan(id, located, contextTokens);
    }
    return isAnyUnloaded;
  }

  async function makePlan(id: string, located: LocatedModel, contextTokens: number): Promise<void> {
    if (planning.has(id)) return;
    planning.add(id);
    const [atEvent, atMemoryEvent] = [events, memoryEvents];
    try {
      const found = await world.wouldEvict(located, contextTokens);
      const known = seen.get(id);
      const plan = { contextTokens, evicts: found, atEvent, atMemoryEvent };
      const evicts = isPlanKept(view(), id, plan) ? (known?.plan?.evicts ?? found) : found;
      if (known !== undefined) seen.set(id, { ...known, plan: { ...plan, evicts } });
    } catch (error) {
      for (const waiter of waiters.ofModel(id)) waiters.fail(waiter, error);
    } finally {
      planning.delete(id);
    }
    ask();
  }

  function reportWait(state: QueueState, waiter: Waiter): void {
    const why = whyWaiting(view(), state, waiter);
    if (why === undefined) return;
    if (why.isForMemory && why.text !== waiter.noted && waiters.ofModel(waiter.id)[0] === waiter) {
      waiter.noted = why.text;
      world.waits(waiter.located, why.text);
    }
    const message = `${why.text}; ${outlook(state, waiter)}`;
    if (message === waiter.reported) return;
    waiter.reported = message;
    waiter.report({ message });
  }

  function largestContext(id: string): number {
    return Math.max(...waiters.ofModel(id).map(({ contextTokens }) => contextTokens));
  }

  /** Whether it is loaded with enough context, and neither loading nor being evicted. */
  function isThere(models: QueueState["models"], waiter: Waiter): boolean {
    return models.get(keyOf(view(), waiter))?.state === "resident";
  }

  /** Returns false if the model is no longer loaded. */
  async function serve(waiter: Waiter): Promise<boolean> {
    const use = await world.use(waiter.located, waiter.neededTokens);
    if (use === undefined) {
      const known = seen.get(waiter.id);
      if (known !== undefined) seen.set(waiter.id, { ...known, resident: undefined });
      return false;
    }
    give(waiter, use);
    return true;
  }

  function give(waiter: Waiter, use: Use): void {
    // It was cancelled meanwhile.
    if (!waiters.has(waiter)) use.release();
    else {
      fair.served(waiters.all(), waiter);
      waiters.leave(waiter);
      waiter.grant?.(use);
    }
  }

  /** A load request for a loaded model, which only restarts its keep-alive. */
  function reload(waiter: Waiter): void {
    const { located, contextTokens, report, signal } = waiter;
    waiters.leave(waiter);
    void world.load(located, loadOptions(waiter, contextTokens), report, signal).then(waiter.loaded, waiter.reject);
  }

  function begin(waiter: Waiter, contextTokens: number, evicts: readonly string[]): void {
    const { id, located } = waiter;
    const controller = new AbortController();
    const report: Report = (progress) => {
      current.newest = progress;
      for (const each of waiters.ofModel(id)) each.report(progress);
    };
    const startedMs = timers.now();
    // In a microtask, so that `loading` is set before the first report.
    const work = Promise.resolve().then(() =>
      world.load(located, loadOptions(waiter, contextTokens), report, controller.signal),
    );
    const ended = work.then(
      (result) => {
        const joined = waiters.ofModel(id);
        for (const each of joined) each.loadMs += result.loadMs;
        // The request that caused the load may have left; one that joined is served first then.
        const successor = waiters.has(waiter)
          ? waiter
          : joined.find(({ neededTokens }) => neededTokens <= contextTokens);
        // Without a check whether it is loaded: if an engine doesn't list it, the load would repeat forever.
        if (successor?.grant !== undefined) held = [...held, { waiter: successor, use: world.hold(located, result) }];
        else if (successor !== undefined) {
          waiters.leave(successor);
          successor.loaded(result);
        }
        loadEnded();
      },
      (error: unknown) => {
        // Requests that came during the abort load it again; those with less context may fit.
        const isTooLarge = error instanceof ModelDoesNotFit;
        for (const each of controller.signal.aborted ? [] : waiters.ofModel(id)) {
          if (!isTooLarge || each.contextTokens >= contextTokens) waiters.fail(each, error);
        }
        loadEnded();
      },
    );
    const current: Loading = { id, located, contextTokens, evicts, startedMs, controller, newest: undefined, ended };
    loading = current;
  }

  function loadEnded(): void {
    loading = undefined;
    memoryEvents += 1;
    wake();
  }

  function abort(waiter: Waiter): void {
    if (!waiters.has(waiter)) return;
    waiters.leave(waiter);
    if (loading?.id === waiter.id && waiters.ofModel(waiter.id).length === 0) {
      loading.controller.abort(waiter.signal.reason);
      // The load has ended when the caller gets the error.
      void loading.ended.then(() => waiter.reject(cancelled(waiter)));
    } else waiter.reject(cancelled(waiter));
    wake();
  }

  function checkBound(request: QueueRequest): void {
    const { id, located } = request;
    const ahead = waiters.ofModel(id).length;
    const free = Math.max(0, world.maxParallel(located) - running.of(id));
    if (ahead >= world.maxWaiting() + free) throw queueFull(queueState(view()), request, ahead);
  }

  function slotFor(waiter: Waiter, use: Use): RequestSlot {
    const startedMs = timers.now();
    const { id, located, caller, loadMs } = waiter;
    const end = running.begin(id, located, caller);
    let isReleased = false;
    return {
      ...use,
      waitedMs: Math.max(0, startedMs - waiter.arrivedMs - loadMs),
      loadMs,
      release() {
        if (isReleased) return;
        isReleased = true;
        end();
        world.answered(id, timers.now() - startedMs);
        use.release();
        wake();
      },
    };
  }

  async function enqueue<Result>(
    request: QueueRequest,
    answers: (waiter: () => Waiter, resolve: (result: Result) => void) => Pick<Waiter, "grant" | "loaded">,
  ): Promise<Result> {
    checkBound(request);
    const outcome = waiters.add(request, { arrivedMs: timers.now(), arrivedTurn: fair.now() }, abort, answers);
    if (loading?.id === request.id && loading.newest !== undefined) request.report(loading.newest);
    wake();
    return await outcome;
  }

  return {
    answer: (request) =>
      enqueue<RequestSlot>(request, (waiter, resolve) => ({
        grant: (use) => resolve(slotFor(waiter(), use)),
        loaded: () => undefined,
      })),
    load: (request) => enqueue<LoadResult>(request, (_waiter, loaded) => ({ grant: undefined, loaded })),
    wake,
    isAwaited: (id) => waiters.ofModel(id).length > 0,
    snapshot() {
      const queued = new Map([...running.models].map(([id, { located }]) => [id, located]));
      for (const { id, located } of waiters.all()) queued.set(id, located);
      return [...queued].map(([id, located]) => ({
        located,
        running: running.of(id),
        waiting: waiters.ofModel(id).length,
      }));
    },
  };
}

function loadOptions({ keepAliveSeconds }: QueueRequest, contextTokens: number): LoadOptions {
  return { contextTokens, ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }) };
}
