import { QueueFull } from "../api/errors.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import type { ResidentModel } from "../engines/engine.ts";
import type { Awaitable, LocatedModel } from "../catalog/located-model.ts";
import { countAhead, expectedWaitMs } from "./decide/expected-wait.ts";
import type { QueuedModel, QueueState } from "./decide/queue-order.ts";
import type { LoadAhead } from "./plans.ts";
import type { QueuedRequests, QueueRequest, QueueWorld, Running, Waiter, Waiters } from "./queue-requests.ts";
import { defined } from "../util/values.ts";
import { formatWait } from "../util/format-bytes.ts";

/** What a load with `contextTokens` would evict, and the event counts when that was planned. */
interface SeenPlan extends LoadAhead {
  readonly contextTokens: number;
  readonly atEvent: number;
  readonly atMemoryEvent: number;
}

/** A load in progress, from its decision on. */
export interface RoomTaker {
  readonly id: string;
  readonly located: LocatedModel;
  readonly contextTokens: number;
  /** Extended if another program takes memory before the load has its room. */
  evicts: readonly string[];
  readonly startedMs: number;
}

interface PlanEvents {
  /** After each plan. */
  planned(): void;
  failed(id: string, error: unknown): void;
}

export const pollMs = 2_000;

/** The models that requests wait for, as engines and plans describe them. */
export class QueuedModels {
  /** By `QueueRequest.id`: what each of them was loaded as, when engines were asked last. */
  readonly seen = new Map<string, ResidentModel | undefined>();
  readonly plans = new Map<string, SeenPlan>();
  /** Those with memory for one more answer beside those of the same model; known only while there are some. */
  readonly roomBeside = new Set<string>();
  /** Counts of events that may change a plan, and of those that change what is loaded. */
  events = 0;
  memoryEvents = 0;
  readonly #world: QueueWorld;
  readonly #waiters: Waiters;
  readonly #running: Running;
  readonly #events: PlanEvents;
  readonly #planning = new Set<string>();

  constructor(world: QueueWorld, waiters: Waiters, running: Running, events: PlanEvents) {
    this.#world = world;
    this.#waiters = waiters;
    this.#running = running;
    this.#events = events;
  }

  /** Reads what is loaded, but for the model that is being loaded. Undefined if no engine has to be asked. */
  look(loadingId: string | undefined): Promise<unknown> | undefined {
    const wanted = new Map<string, LocatedModel>();
    for (const { request } of this.#waiters.all) wanted.set(request.id, request.located);
    for (const id of this.seen.keys()) {
      if (wanted.has(id)) continue;
      this.seen.delete(id);
      this.plans.delete(id);
    }
    const asked: Promise<void>[] = [];
    for (const [id, located] of wanted) {
      const see = (found: ResidentModel | undefined) => {
        this.seen.set(id, found);
        this.roomBeside.delete(id);
      };
      const resident = id === loadingId ? undefined : this.#world.resident(located);
      if (this.#running.sharedOf(id) > 0) asked.push(this.#lookBeside(id, located, resident));
      else if (resident instanceof Promise) asked.push(resident.then(see));
      else see(resident);
    }
    return asked.length === 0 ? undefined : Promise.all(asked);
  }

  async #lookBeside(id: string, located: LocatedModel, found: Awaitable<ResidentModel | undefined>): Promise<void> {
    const resident = await found;
    const beside = this.#running.sharedOf(id);
    const arePaused =
      this.#running.pausableOf(id).length === beside &&
      this.#waiters.all.some(({ request, priority }) => request.id === id && priority >= 0);
    const hasRoomBeside = await this.#world.hasRoomBeside(located, resident?.contextTokens ?? 0, beside, arePaused);
    this.seen.set(id, resident);
    if (hasRoomBeside) this.roomBeside.add(id);
    else this.roomBeside.delete(id);
  }

  /** The plan of a load; undefined until there is one for the present state. */
  ahead(id: string, contextTokens: number): LoadAhead | undefined {
    const plan = this.plans.get(id);
    return plan?.atMemoryEvent === this.memoryEvents && plan.contextTokens === contextTokens ? plan : undefined;
  }

  /**
   * Renews the plans of models to load that are older than the last event. Returns whether a request waits for memory, which
   * other programs free unnoticed.
   */
  makePlans(state: QueueState): boolean {
    let isForMemory = false;
    for (const id of this.seen.keys()) {
      const waiters = this.#waiters.ofModel(id);
      const plan = this.plans.get(id);
      if (waiters.some((waiter) => lacksRoomBeside(state, waiter))) isForMemory = true;
      const absent = waiters.findLast((waiter) => !isThere(state, waiter));
      if (absent === undefined) continue;
      isForMemory = true;
      const contextTokens = this.#waiters.largestContext(id);
      if (plan?.atEvent !== this.events || plan.contextTokens !== contextTokens)
        void this.#makePlan(id, absent.request.located, contextTokens);
    }
    return isForMemory;
  }

  /**
   * Extends the victims of a load that still waits for its room, which are not served any more. Returns false once it
   * has its room.
   */
  followRoom(current: RoomTaker): boolean {
    const { id, located, contextTokens, startedMs } = current;
    if (this.#world.isLoading(id)) return false;
    if (this.#world.timers.now() < startedMs + pollMs || this.#planning.has(id)) return true;
    this.#planning.add(id);
    // If the plan fails, the load reports the reason.
    void this.#world.ahead(located, contextTokens).then(
      ({ evicts }) => {
        this.#planning.delete(id);
        // Earlier victims remain, as in `#isPlanKept`.
        const others = evicts.filter((other) => !current.evicts.includes(other));
        if (others.length === 0) return;
        current.evicts = [...current.evicts, ...others];
        this.#events.planned();
      },
      () => void this.#planning.delete(id),
    );
    return true;
  }

  async #makePlan(id: string, located: LocatedModel, contextTokens: number): Promise<void> {
    if (this.#planning.has(id)) return;
    this.#planning.add(id);
    const made = { contextTokens, atEvent: this.events, atMemoryEvent: this.memoryEvents };
    try {
      const plan = { ...made, ...(await this.#world.ahead(located, contextTokens)) };
      const kept = this.#isPlanKept(id, plan) ? this.plans.get(id) : undefined;
      if (this.seen.has(id)) this.plans.set(id, kept === undefined ? plan : { ...made, evicts: kept.evicts });
    } catch (error) {
      this.#events.failed(id, error);
    } finally {
      this.#planning.delete(id);
    }
    this.#events.planned();
  }

  /**
   * Whether the earlier plan for a model stays in force instead of `found`. The busy models that a plan would evict are
   * eventually no longer served. If plans alternated between two models, each would be busy again while the other is
   * idle, and the load would never begin.
   */
  #isPlanKept(id: string, found: SeenPlan): boolean {
    const before = this.plans.get(id);
    const isSame = before?.atMemoryEvent === found.atMemoryEvent && before.contextTokens === found.contextTokens;
    const isOvertaken = this.#waiters.ofModel(id).some(({ overtakenSinceMs }) => overtakenSinceMs !== undefined);
    const isBusy = (other: string) => this.#world.usesOf(other) > 0;
    return isSame && isOvertaken && before.evicts.some(isBusy) && found.evicts.some(isBusy);
  }
}

/** A queue at one moment. */
export interface QueueView {
  readonly world: QueueWorld;
  readonly nowMs: number;
  readonly waiting: readonly Waiter[];
  readonly models: Pick<QueuedModels, "seen" | "plans" | "roomBeside">;
  readonly running: Running;
  readonly loading: RoomTaker | undefined;
}

/**
 * The key under which `nextToServe` sees the model of a request. A loaded model with too little context has another key than its
 * reload with more: that one is absent and replaces it.
 */
function keyOf({ models: { seen }, loading }: QueueView, { request: { id, neededTokens } }: Waiter): string {
  const isLoading = loading?.id === id;
  const contextTokens = isLoading ? loading.contextTokens : seen.get(id)?.contextTokens;
  return contextTokens === undefined || contextTokens >= neededTokens ? id : `${id} +`;
}

/** The input of `nextToServe`. */
export function queueState(view: QueueView): QueueState {
  const { world, nowMs, waiting, running, loading } = view;
  const models = new Map<string, QueuedModel>();
  for (const waiter of waiting) {
    waiter.model = keyOf(view, waiter);
    if (view.models.seen.has(waiter.request.id) && !models.has(waiter.model)) {
      models.set(waiter.model, queuedModel(view, waiter.request, waiter.model));
    }
  }
  // Models without waiting requests are included, too, if they are answering or would be evicted.
  const victims = [...models.values()].flatMap(({ evicts, replaces }) => [
    ...(evicts ?? []),
    ...(replaces === undefined ? [] : [replaces]),
  ]);
  for (const [id, { located }] of running.models) {
    if (!models.has(id)) models.set(id, { ...baseOf(view, id, located), state: "resident" });
  }
  for (const id of victims) {
    if (!models.has(id)) models.set(id, { ...unknownModel, running: usesOf(view, id) });
  }
  return {
    nowMs,
    maxOvertakeMs: world.maxOvertakeMs,
    embeddedSlots: world.embeddedSlots,
    mayLoad: loading === undefined,
    waiting,
    models,
    runningOf: running.callers,
    answeredMs: running.answeredMs,
  };
}

/** Models with running or waiting requests. `state` is needed while any wait. */
export function queuedRequests(
  { running, waiting }: QueueView,
  state: QueueState | undefined,
): readonly QueuedRequests[] {
  const queued = new Map([...running.models].map(([id, { located }]) => [id, located]));
  for (const { request } of waiting) queued.set(request.id, request.located);
  return [...queued].map(([id, located]) => {
    const own = waiting.filter(({ request }) => request.id === id);
    const last = own.at(-1);
    return {
      located,
      running: running.of(id),
      waiting: own.length,
      ...(last !== undefined && state !== undefined && { expectedWaitMs: expectedWaitMs(state, last) }),
    };
  });
}

/** A model that no request waits for. */
const unknownModel = { state: "resident", maxParallel: 1, loadMs: 0, answerMs: 0, hasOwnThreads: true } as const;

function queuedModel(view: QueueView, { id, located }: QueueRequest, key: string): QueuedModel {
  const { world, loading } = view;
  const { seen, plans } = view.models;
  const evicts = plans.get(id)?.evicts;
  const base = baseOf(view, id, located);
  if (key !== id) return { ...base, running: 0, state: "absent", evicts: evicts ?? [], replaces: id };
  if (loading?.id === id || world.isLoading(id) || world.isEvicting(id)) return { ...base, state: "loading" };
  // About to be evicted for the load in progress: serving it would delay that load.
  const isVictim = loading?.evicts.includes(id) === true && !world.isLoading(loading.id);
  if (isVictim) return { ...base, state: "absent", evicts: [loading.id] };
  if (seen.get(id) !== undefined) return { ...base, state: "resident" };
  // Until there is a plan, any loaded model may have to be evicted.
  const others = () => [...seen].filter(([other, resident]) => other !== id && resident !== undefined);
  return { ...base, state: "absent", evicts: evicts ?? others().map(([other]) => other) };
}

function baseOf(view: QueueView, id: string, located: LocatedModel): Omit<QueuedModel, "state"> {
  const { world, running, models, nowMs } = view;
  const { count = 0, begunMs = 0 } = running.models.get(id) ?? {};
  const lossSeconds = world.lossSeconds(located);
  const isShared = running.sharedOf(id) > 0;
  const pausable = isShared ? running.pausableOf(id) : [];
  return {
    running: usesOf(view, id),
    runningMs: count * nowMs - begunMs,
    maxParallel: world.maxParallel(located),
    loadMs: world.loadMs(located),
    answerMs: world.answerMs(located),
    hasOwnThreads: world.hasOwnThreads(located),
    ...(pausable.length > 0 && { pausable }),
    ...(isShared && { hasRoomBeside: models.roomBeside.has(id) }),
    ...defined({ lossSeconds }),
  };
}

function usesOf({ world, running }: QueueView, id: string): number {
  return Math.max(running.of(id), world.usesOf(id));
}

/** Whether its model is loaded with enough context, and neither loading nor being evicted. */
export function isThere({ models }: QueueState, { model }: Waiter): boolean {
  return models.get(model)?.state === "resident";
}

/** Whether a request waits for memory for one more cache, with which it could be answered beside others, or pause them. */
function lacksRoomBeside({ models }: QueueState, { model: key, priority }: Waiter): boolean {
  const model = models.get(key);
  if (model?.state !== "resident" || model.hasRoomBeside !== false) return false;
  const inTheWay = model.running - (priority < 0 ? 0 : (model.pausable?.length ?? 0));
  return inTheWay < model.maxParallel;
}

/** The position of a request among those for its model, and its expected wait, for the user. */
function outlook(state: QueueState, waiter: Waiter): string {
  const ahead = countAhead(state, waiter);
  const position = ahead === 0 ? "next in the queue" : `${ahead} ahead`;
  return `${position}, about ${formatWait(expectedWaitMs(state, waiter))}`;
}

/** Why a request waits, for the user; undefined if the wait is momentary, or its load reports progress. */
function whyWaiting(view: QueueView, state: QueueState, waiter: Waiter): string | undefined {
  const { id, located, contextTokens } = waiter.request;
  const { models, loading } = view;
  const { name } = located.model;
  const model = state.models.get(waiter.model);
  if (model === undefined || model.state === "loading") return undefined;
  if (model.state === "resident") {
    if (lacksRoomBeside(state, waiter))
      return `waiting for ${name}: too little memory is free for one more answer at the same time`;
    const isFull = model.running >= model.maxParallel;
    return `waiting for ${name}${isFull ? ", which is answering other requests" : ": other requests go first"}`;
  }
  if (loading !== undefined) return `waiting for ${name}: another model is being loaded`;
  if (model.replaces !== undefined && usesOf(view, id) > 0)
    return `waiting: ${name} will be reloaded with ${contextTokens} tokens after the current request`;
  const plan = models.plans.get(id);
  const isAnyAnswering = [...state.models.values()].some(({ running }) => running > 0);
  // Without a plan the wait lasts only until it is made.
  if (plan === undefined || plan.evicts.length === 0 || !isAnyAnswering) return undefined;
  const isInTheWay = plan.evicts.some((other) => usesOf(view, other) > 0);
  return isInTheWay
    ? `waiting for memory: ${name} fits when the active requests are done`
    : `waiting to load ${name}: active requests still need the models it would evict`;
}

/** Tells each waiting request why it waits, and the log of decisions what waits for memory, if that changed. */
export function reportWaits(view: QueueView, state: QueueState): void {
  for (const waiter of view.waiting) {
    const { request } = waiter;
    const why = whyWaiting(view, state, waiter);
    if (why === undefined) continue;
    const isFirst = view.waiting.find((each) => each.request.id === request.id) === waiter;
    const isForMemory = view.loading === undefined && !isThere(state, waiter);
    if (isForMemory && why !== waiter.noted && isFirst) {
      waiter.noted = why;
      view.world.waits(request.located, why);
    }
    const message = `${why}; ${outlook(state, waiter)}`;
    if (message === waiter.reported) continue;
    waiter.reported = message;
    request.report({ message });
  }
}

/** The error for a request that arrives while the queue of its model is full: `ahead` requests wait already. */
export function queueFull(state: QueueState, { id, located, priority }: QueueRequest, ahead: number): QueueFull {
  const newcomer = { id: "", model: id, priority, turn: Number.MAX_VALUE, arrivedMs: state.nowMs };
  const wait = formatWait(expectedWaitMs(state, newcomer));
  const waiting = ahead === 1 ? "1 request already waits" : `${ahead} requests already wait`;
  return new QueueFull(`${waiting} for ${located.model.name}; one more would wait about ${wait}`, {
    next: stepsRaising("queue.maxWaiting"),
  });
}

/** The error for a request whose answer can't begin within its `maxWaitMs`, found on arrival or while it waits. */
export function cannotAnswerInTime(state: QueueState, waiter: Waiter): QueueFull {
  const { located, maxWaitMs = 0 } = waiter.request;
  const waitedMs = state.nowMs - waiter.arrivedMs;
  const waited = waitedMs < 1_000 ? "" : `it waited ${formatWait(waitedMs)}, and `;
  const expected = formatWait(expectedWaitMs(state, waiter));
  return new QueueFull(
    `${located.model.name} can't start answering within ${formatWait(maxWaitMs)} (queue.maxWaitMs): ` +
      `${waited}it would take about ${expected}${waited === "" ? "" : " more"}`,
    { next: stepsRaising("queue.maxWaitMs") },
  );
}

function stepsRaising(setting: string): readonly NextStep[] {
  return [advice("try again later"), { step: "chooseModel" }, { step: "raiseSetting", setting }];
}
