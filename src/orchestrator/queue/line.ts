import type { LoadOptions, Report } from "../engines/engine.ts";
import { ModelDoesNotFit, QueueFull } from "../errors.ts";
import type { LoadResult } from "../facade.ts";
import type { LocatedModel } from "../inventory/inventory.ts";
import { afterDecision, expectedWaitMs, fairTurn, nextToServe, type QueueState } from "../scheduler/queue-order.ts";
import type { Progress } from "../types.ts";
import { keyOf, type LineView, queueState, type Running, type Seen, whyWaiting } from "./line-state.ts";
import type { LineRequest, LineWorld, Place, QueuedRequests, Use } from "./line-world.ts";
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
 * | wait     | until the next event; every 2 s for memory, since another program may free some without a word           |
 */
export interface Line {
  /** Throws `QueueFull`, `Cancelled`, and what the load of the model throws. */
  answer(request: LineRequest): Promise<Place>;
  load(request: LineRequest): Promise<LoadResult>;
  /** Something changed: a lease was released, a load began or ended, a model was evicted. */
  wake(): void;
  isAwaited(id: string): boolean;
  snapshot(): readonly QueuedRequests[];
}

interface Loading {
  readonly id: string;
  readonly contextTokens: number;
  readonly evicts: readonly string[];
  readonly startedMs: number;
  readonly controller: AbortController;
  newest: Progress | undefined;
  ended: Promise<void>;
}

const pollMs = 2_000;

export function createLine(world: LineWorld): Line {
  const { timers } = world;
  const waiters = createWaiters();
  const seen = new Map<string, Seen>();
  const running = new Map<string, Running>();
  const runningOf = new Map<string, number>();
  /** Caller → its last turn; and the turn that was served last. */
  const turns = new Map<string, number>();
  let servedTurn = 0;
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
    letGo();
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
        letGo();
      }
    }
    isRunning = false;
  }

  /** Of what is held for those who left. */
  function letGo(): void {
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

  function view(): LineView {
    return { world, nowMs: timers.now(), waiting: waiters.all(), seen, running, runningOf, loading };
  }

  /** Until there is nothing to do, or what was seen is old. */
  async function decide(): Promise<void> {
    for (;;) {
      if (isDirty) return;
      const { models } = queueState(view());
      for (const waiter of waiters.all()) if (waiter.grant === undefined && isThere(models, waiter)) reload(waiter);
      for (const due of owed) {
        if (!isPlaceFree(due.waiter)) continue;
        owed = owed.filter((each) => each !== due);
        give(due.waiter, due.use);
      }
      if (isDraining()) return rest(undefined);
      const state = queueState(view());
      const decision = nextToServe(state);
      if (decision.kind === "wait") return rest(decision.untilMs);
      const waiter = waiters.all().find(({ number }) => number === decision.id);
      if (waiter === undefined) continue;
      if (decision.kind === "expire") waiters.fail(waiter, tooLate(waiter));
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

  /** Whoever makes room may wait for what others keep busy: those go on no longer than anybody may be overtaken. */
  function isDraining(): boolean {
    if (loading === undefined || world.isLoading(loading.id)) return false;
    return timers.now() >= loading.startedMs + world.maxOvertakeMs();
  }

  /** Until the next event. Plans are made meanwhile. */
  function rest(untilMs: number | undefined): void {
    const state = queueState(view());
    for (const waiter of waiters.all()) tell(state, waiter);
    const nowMs = timers.now();
    const moments = untilMs === undefined ? [] : [untilMs];
    if (loading !== undefined) moments.push(loading.startedMs + world.maxOvertakeMs());
    else if (makePlans(state)) moments.push(nowMs + pollMs);
    const ahead = moments.filter((moment) => moment > nowMs);
    if (ahead.length > 0) cancelTimer = timers.after(Math.min(...ahead) - nowMs, wake);
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
      const evicts = await world.wouldEvict(located, contextTokens);
      const known = seen.get(id);
      if (known !== undefined) seen.set(id, { ...known, plan: { contextTokens, evicts, atEvent, atMemoryEvent } });
    } catch (error) {
      for (const waiter of waiters.ofModel(id)) waiters.fail(waiter, error);
    } finally {
      planning.delete(id);
    }
    ask();
  }

  function tell(state: QueueState, waiter: Waiter): void {
    const why = whyWaiting(view(), state, waiter);
    if (why === undefined || why.text === waiter.told) return;
    waiter.told = why.text;
    if (why.isForMemory && waiters.ofModel(waiter.id)[0] === waiter) world.waits(waiter.located, why.text);
    waiter.report({ message: why.text });
  }

  function mostTokens(id: string): number {
    return Math.max(...waiters.ofModel(id).map(({ contextTokens }) => contextTokens));
  }

  /** In memory with enough context, and neither coming nor going. */
  function isThere(models: QueueState["models"], waiter: Waiter): boolean {
    return models.get(keyOf(view(), waiter))?.state === "resident";
  }

  function isPlaceFree({ id, located }: Waiter): boolean {
    if ((running.get(id)?.count ?? 0) >= world.maxParallel(located)) return false;
    const sharing = [...running.values()].filter((each) => !world.hasOwnThreads(each.located));
    return world.hasOwnThreads(located) || sharing.length < world.slots;
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
      waiters.leave(waiter);
      servedTurn = Math.max(servedTurn, waiter.turn);
      waiter.grant?.(use);
    }
  }

  /** Cheap: it is loaded, and only told how long it stays. */
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
        for (const each of waiters.ofModel(id)) each.loadMs += result.loadMs;
        if (!waiters.has(waiter)) return loadEnded();
        // Without looking whether it is there: an engine may not say so, and nobody is to have it loaded for ever.
        if (waiter.grant !== undefined) owed = [...owed, { waiter, use: world.hold(located, result) }];
        else {
          waiters.leave(waiter);
          waiter.loaded(result);
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
    const current: Loading = { id, contextTokens, evicts, startedMs, controller, newest: undefined, ended };
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

  function checkBound({ id, located }: LineRequest): void {
    const ahead = waiters.ofModel(id).length;
    const free = Math.max(0, world.maxParallel(located) - (running.get(id)?.count ?? 0));
    if (ahead < world.maxWaiting() + free) return;
    const expectedSeconds = Math.ceil(expectedWaitMs(queueState(view()), id) / 1_000);
    throw new QueueFull(
      `${ahead} requests already wait for ${located.model.name}; one more would wait about ${expectedSeconds} s`,
      { hint: "try again later, name another model, or raise queue.maxWaiting" },
    );
  }

  function place(waiter: Waiter, use: Use): Place {
    const startedMs = timers.now();
    const { id, located, caller, loadMs } = waiter;
    const count = (change: 1 | -1) => {
      const next = (running.get(id)?.count ?? 0) + change;
      if (next > 0) running.set(id, { located, count: next });
      else running.delete(id);
      add(runningOf, caller, change);
    };
    count(1);
    let isReleased = false;
    return {
      ...use,
      waitedMs: Math.max(0, startedMs - waiter.arrivedMs - loadMs),
      loadMs,
      release() {
        if (isReleased) return;
        isReleased = true;
        count(-1);
        world.answered(id, timers.now() - startedMs);
        use.release();
        wake();
      },
    };
  }

  async function enqueue<Result>(
    request: LineRequest,
    answers: (waiter: () => Waiter, resolve: (result: Result) => void) => Pick<Waiter, "grant" | "loaded">,
  ): Promise<Result> {
    checkBound(request);
    // Who hasn't asked for a while begins anew.
    for (const [caller, last] of turns) if (last < servedTurn) turns.delete(caller);
    const turn = fairTurn(servedTurn, turns.get(request.caller));
    turns.set(request.caller, turn);
    const outcome = waiters.add(request, { arrivedMs: timers.now(), turn }, abort, answers);
    if (loading?.id === request.id && loading.newest !== undefined) request.report(loading.newest);
    wake();
    return await outcome;
  }

  return {
    answer: (request) =>
      enqueue<Place>(request, (waiter, resolve) => ({
        grant: (use) => resolve(place(waiter(), use)),
        loaded: () => undefined,
      })),
    load: (request) => enqueue<LoadResult>(request, (_waiter, loaded) => ({ grant: undefined, loaded })),
    wake,
    isAwaited: (id) => waiters.ofModel(id).length > 0,
    snapshot() {
      const queued = new Map([...running].map(([id, { located }]) => [id, located]));
      for (const { id, located } of waiters.all()) queued.set(id, located);
      return [...queued].map(([id, located]) => ({
        located,
        running: running.get(id)?.count ?? 0,
        waiting: waiters.ofModel(id).length,
      }));
    },
  };
}

function tooLate({ located }: LineRequest): QueueFull {
  return new QueueFull(`${located.model.name} did not begin to answer in time`, {
    hint: "try again later, or name another model",
  });
}

function loadOptions({ keepAliveSeconds }: LineRequest, contextTokens: number): LoadOptions {
  return { contextTokens, ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }) };
}

function add(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const next = (counts.get(key) ?? 0) + change;
  if (next > 0) counts.set(key, next);
  else counts.delete(key);
}
