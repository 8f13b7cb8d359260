import type { LoadOptions, Report } from "../engines/engine.ts";
import { ModelDoesNotFit } from "../errors.ts";
import type { LoadResult } from "../facade.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import { expectedWaitMs } from "../scheduler/expected-wait.ts";
import { afterDecision, nextToServe, type QueueState } from "../scheduler/queue-order.ts";
import type { Progress } from "../types.ts";
import { createFairTurns } from "./fair-turns.ts";
import { isPlanKept, keyOf, type QueueView, outlook, queueState, type Seen, whyWaiting } from "./queue-view.ts";
import type { QueueRequest, QueueWorld, RequestSlot, QueuedRequests, Use } from "./queue-world.ts";
import { full, tooLate } from "./refusals.ts";
import { createRunning } from "./running.ts";
import { cancelled, createWaiters, type Waiter } from "./waiters.ts";

/**
 * Those who wait for the models of one memory domain. Whom it lets go on is decided by `nextToServe`, asked anew
 * whenever something arrives, ends or changes, and when the patience of somebody overtaken ends; this is where the
 * effects happen:
 *
 * | decision | effect                                                                                                   |
 * |----------|----------------------------------------------------------------------------------------------------------|
 * | serve    | its lease is taken before anything else is decided, so nothing evicts the model in between               |
 * | load     | one at a time; all who wait for the model hear of it and fail with it; who asked for it is served first  |
 * | wait     | until the next event; every 2 s for memory, since another program may free or take some without a word   |
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
  /** Other than planned where another program took memory before it had its room. */
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
  /** Whose models were loaded for them, and are held: they are served before anybody is asked. */
  let owed: readonly { readonly waiter: Waiter; readonly use: Use }[] = [];
  /** Of everything that may change a plan; and of what changes what is in memory. */
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
        // A defect must not leave anybody waiting for good.
        for (const waiter of waiters.all()) waiters.fail(waiter, error);
        releaseAbandoned();
      }
    }
    isRunning = false;
  }

  /** Releases what is held for waiters that have left. */
  function releaseAbandoned(): void {
    const left = owed.filter(({ waiter }) => !waiters.has(waiter));
    owed = owed.filter((due) => !left.includes(due));
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

  /** Until there is nothing to do, or what was seen is old. */
  async function decide(): Promise<void> {
    for (;;) {
      if (isDirty) return;
      const { models } = queueState(view());
      for (const waiter of waiters.all()) if (waiter.grant === undefined && isThere(models, waiter)) reload(waiter);
      for (const due of owed) {
        if (!running.hasFreeSlot(due.waiter.id, due.waiter.located)) continue;
        owed = owed.filter((each) => each !== due);
        give(due.waiter, due.use);
      }
      weigh();
      releaseAbandoned();
      const state = queueState(view());
      const decision = nextToServe(state);
      if (decision.kind === "wait") return rest(decision.untilMs);
      const waiter = waiters.all().find(({ number }) => number === decision.id);
      if (waiter === undefined) continue;
      if (decision.kind === "expire") waiters.fail(waiter, tooLate(state, waiter));
      else if (decision.kind === "serve") {
        if (!(await serve(waiter))) continue;
      } else {
        const contextTokens = mostTokens(waiter.id);
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

  /** Who just came, and is not expected to be served in time, is told at once. */
  function weigh(): void {
    for (const waiter of waiters.all()) {
      if (waiter.isWeighed || !seen.has(waiter.id)) continue;
      waiter.isWeighed = true;
      if (waiter.maxWaitMs === undefined) continue;
      const state = queueState(view());
      const asked = state.waiting.find(({ id }) => id === waiter.number);
      if (asked !== undefined && expectedWaitMs(state, asked) > waiter.maxWaitMs)
        waiters.fail(waiter, tooLate(state, waiter));
    }
  }

  /** Until the next event. Plans are made meanwhile. */
  function rest(untilMs: number | undefined): void {
    const state = queueState(view());
    for (const waiter of waiters.all()) tell(state, waiter);
    const nowMs = timers.now();
    const moments = untilMs === undefined ? [] : [untilMs];
    if (loading !== undefined ? followRoom(loading) : makePlans(state)) moments.push(nowMs + pollMs);
    const ahead = moments.filter((moment) => moment > nowMs);
    if (ahead.length > 0) cancelTimer = timers.after(Math.min(...ahead) - nowMs, wake);
  }

  /**
   * What has to go for a load that still waits for its room isn't served any more; all others are. False: it has its
   * room.
   */
  function followRoom(current: Loading): boolean {
    if (world.isLoading(current.id)) return false;
    const isSlow = timers.now() >= current.startedMs + pollMs;
    if (!isSlow || planning.has(current.id)) return true;
    planning.add(current.id);
    // Where that can't be found out, its load tells why.
    void world.wouldEvict(current.located, current.contextTokens).then(
      (evicts) => {
        planning.delete(current.id);
        // Those that were in its way before go on letting it pass, as in `isPlanKept`.
        const others = evicts.filter((other) => !current.evicts.includes(other));
        if (others.length === 0) return;
        current.evicts = [...current.evicts, ...others];
        ask();
      },
      () => void planning.delete(current.id),
    );
    return true;
  }

  /** Of all that is to be loaded, where the last plan is older than the last event; false: nothing is. */
  function makePlans({ models }: QueueState): boolean {
    let isAnyMissing = false;
    for (const [id, { located, plan }] of seen) {
      if (waiters.ofModel(id).every((waiter) => isThere(models, waiter))) continue;
      isAnyMissing = true;
      const contextTokens = mostTokens(id);
      if (plan?.atEvent !== events || plan.contextTokens !== contextTokens) void makePlan(id, located, contextTokens);
    }
    return isAnyMissing;
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

  function tell(state: QueueState, waiter: Waiter): void {
    const why = whyWaiting(view(), state, waiter);
    if (why === undefined) return;
    if (why.isForMemory && why.text !== waiter.noted && waiters.ofModel(waiter.id)[0] === waiter) {
      waiter.noted = why.text;
      world.waits(waiter.located, why.text);
    }
    const message = `${why.text}; ${outlook(state, waiter)}`;
    if (message === waiter.told) return;
    waiter.told = message;
    waiter.report({ message });
  }

  function mostTokens(id: string): number {
    return Math.max(...waiters.ofModel(id).map(({ contextTokens }) => contextTokens));
  }

  /** In memory with enough context, and neither coming nor going. */
  function isThere(models: QueueState["models"], waiter: Waiter): boolean {
    return models.get(keyOf(view(), waiter))?.state === "resident";
  }

  /** False: it is not there any more, and is to be loaded. */
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
    // Cancelled meanwhile.
    if (!waiters.has(waiter)) use.release();
    else {
      fair.served(waiters.all(), waiter);
      waiters.leave(waiter);
      waiter.grant?.(use);
    }
  }

  /** Cheap: it is loaded, and only its keep-alive restarts. */
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
    // In its own turn, so that it is noted before it reports.
    const work = Promise.resolve().then(() =>
      world.load(located, loadOptions(waiter, contextTokens), report, controller.signal),
    );
    const ended = work.then(
      (result) => {
        const joined = waiters.ofModel(id);
        for (const each of joined) each.loadMs += result.loadMs;
        // Who asked for it may have left it to one that joined.
        const heir = waiters.has(waiter) ? waiter : joined.find(({ neededTokens }) => neededTokens <= contextTokens);
        // Without looking whether it is there: an engine may not say so, and nobody is to have it loaded for ever.
        if (heir?.grant !== undefined) owed = [...owed, { waiter: heir, use: world.hold(located, result) }];
        else if (heir !== undefined) {
          waiters.leave(heir);
          heir.loaded(result);
        }
        loadEnded();
      },
      (error: unknown) => {
        // Who came while it was being aborted has it loaded anew; with less context it may fit.
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
      // No work is left behind when the caller is told.
      void loading.ended.then(() => waiter.reject(cancelled(waiter)));
    } else waiter.reject(cancelled(waiter));
    wake();
  }

  function checkBound(request: QueueRequest): void {
    const { id, located } = request;
    const ahead = waiters.ofModel(id).length;
    const free = Math.max(0, world.maxParallel(located) - running.of(id));
    if (ahead >= world.maxWaiting() + free) throw full(queueState(view()), request, ahead);
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
