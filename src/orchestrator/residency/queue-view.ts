import type { LocatedModel } from "../models/located-model.ts";
import type { QueuedModel, QueueState } from "./decide/queue-order.ts";
import { countAhead, expectedWaitMs } from "./decide/expected-wait.ts";
import type { ResidentModel } from "../api/types.ts";
import type { QueueRequest, QueueWorld } from "./queue-world.ts";
import type { Running } from "./running.ts";

/** A waiting request. */
export interface Waiting extends QueueRequest {
  /** Counts arrivals. */
  readonly number: string;
  readonly arrivedMs: number;
  /** `FairTurns.now()` at its arrival. */
  readonly arrivedTurn: number;
  overtakenSinceMs: number | undefined;
  /** Milliseconds of loads that it has waited for. */
  loadMs: number;
}

/** What was last seen of a model that requests wait for. */
export interface Seen {
  readonly located: LocatedModel;
  readonly resident: ResidentModel | undefined;
  readonly plan: SeenPlan | undefined;
}

/** What a load with `contextTokens` would evict, and the event counts when that was planned. */
interface SeenPlan {
  readonly contextTokens: number;
  readonly evicts: readonly string[];
  readonly atEvent: number;
  readonly atMemoryEvent: number;
}

/** A queue at one moment. */
export interface QueueView {
  readonly world: QueueWorld;
  readonly nowMs: number;
  readonly waiting: readonly Waiting[];
  readonly seen: ReadonlyMap<string, Seen>;
  readonly turns: ReadonlyMap<Waiting, number>;
  readonly running: Running;
  /** The load in progress, from its decision on. */
  readonly loading:
    | { readonly id: string; readonly contextTokens: number; readonly evicts: readonly string[] }
    | undefined;
}

/**
 * The model key that the scheduler sees for a request. A loaded model with too little context has another key than its
 * reload with more: that one is absent and replaces it.
 */
export function keyOf({ seen, loading }: QueueView, request: Waiting): string {
  const grown = `${request.id} +`;
  if (loading?.id === request.id) return loading.contextTokens >= request.neededTokens ? request.id : grown;
  const { contextTokens } = seen.get(request.id)?.resident ?? {};
  return contextTokens === undefined || contextTokens >= request.neededTokens ? request.id : grown;
}

/** The input of `nextToServe`. */
export function queueState(view: QueueView): QueueState {
  const { world, nowMs, waiting, turns, seen, running, loading } = view;
  const models = new Map<string, QueuedModel>();
  for (const request of waiting) {
    const key = keyOf(view, request);
    if (seen.has(request.id) && !models.has(key)) models.set(key, queuedModel(view, request, key));
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
    maxOvertakeMs: world.maxOvertakeMs(),
    embeddedSlots: world.embeddedSlots,
    mayLoad: loading === undefined,
    waiting: waiting.map((request) => ({
      id: request.number,
      caller: request.caller,
      model: keyOf(view, request),
      arrivedMs: request.arrivedMs,
      priority: request.priority,
      turn: turns.get(request) ?? 0,
      ...(request.maxWaitMs === undefined ? {} : { deadlineMs: request.arrivedMs + request.maxWaitMs }),
      ...(request.overtakenSinceMs === undefined ? {} : { overtakenSinceMs: request.overtakenSinceMs }),
    })),
    models,
    runningOf: running.callers,
    answeredMs: running.answeredMs,
  };
}

/** A model that no request waits for. */
const unknownModel = { state: "resident", maxParallel: 1, loadMs: 0, answerMs: 0, hasOwnThreads: true } as const;

function queuedModel(view: QueueView, { id, located }: Waiting, key: string): QueuedModel {
  const { world, seen, loading } = view;
  const known = seen.get(id);
  const base = baseOf(view, id, located);
  if (key !== id) return { ...base, running: 0, state: "absent", evicts: known?.plan?.evicts ?? [], replaces: id };
  if (loading?.id === id || world.isLoading(id) || world.isEvicting(id)) return { ...base, state: "loading" };
  // About to be evicted for the load in progress: serving it would delay that load.
  if (isVictim(view, id)) return { ...base, state: "absent", evicts: loading === undefined ? [] : [loading.id] };
  if (known?.resident !== undefined) return { ...base, state: "resident" };
  // Until there is a plan, any loaded model may have to be evicted.
  const others = () => [...seen].filter(([other, { resident }]) => other !== id && resident !== undefined);
  return { ...base, state: "absent", evicts: known?.plan?.evicts ?? others().map(([other]) => other) };
}

function baseOf(view: QueueView, id: string, located: LocatedModel): Omit<QueuedModel, "state"> {
  const { world } = view;
  const lossSeconds = world.lossSeconds(located);
  return {
    running: usesOf(view, id),
    maxParallel: world.maxParallel(located),
    loadMs: world.loadMs(located),
    answerMs: world.answerMs(located),
    hasOwnThreads: world.hasOwnThreads(located),
    ...(lossSeconds === undefined ? {} : { lossSeconds }),
  };
}

function isVictim({ world, loading }: QueueView, id: string): boolean {
  return loading !== undefined && !world.isLoading(loading.id) && loading.evicts.includes(id);
}

function usesOf({ world, running }: QueueView, id: string): number {
  return Math.max(running.of(id), world.usesOf(id));
}

/**
 * Whether the earlier plan for a model stays in force instead of `found`. The busy models that a plan would evict are
 * eventually no longer served. If plans alternated between two models, each would be busy again while the other is
 * idle, and the load would never begin.
 */
export function isPlanKept({ world, waiting, seen }: QueueView, id: string, found: SeenPlan): boolean {
  const before = seen.get(id)?.plan;
  const isSame = before?.atMemoryEvent === found.atMemoryEvent && before.contextTokens === found.contextTokens;
  const isOvertaken = waiting.some((request) => request.id === id && request.overtakenSinceMs !== undefined);
  const isBusy = (other: string) => world.usesOf(other) > 0;
  return isSame && isOvertaken && before.evicts.some(isBusy) && found.evicts.some(isBusy);
}

/** The position of a request among those for its model, and its expected wait, for the user. */
export function outlook(state: QueueState, request: Waiting): string {
  const waiting = state.waiting.find(({ id }) => id === request.number);
  if (waiting === undefined) return "";
  const ahead = countAhead(state, waiting);
  const position = ahead === 0 ? "next in the queue" : `${ahead} ahead`;
  return `${position}, about ${duration(expectedWaitMs(state, waiting))}`;
}

/** `40 s`, `3 min`: rounded up. */
export function duration(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

/** Why a request waits, for the user; undefined if the wait is momentary, or its load reports progress. */
export function whyWaiting(
  view: QueueView,
  state: QueueState,
  request: Waiting,
): { readonly text: string; readonly isForMemory: boolean } | undefined {
  const { id, located, contextTokens } = request;
  const { seen, loading } = view;
  const { name } = located.model;
  const model = state.models.get(keyOf(view, request));
  if (model === undefined || model.state === "loading") return undefined;
  if (model.state === "resident") {
    const isFull = model.running >= model.maxParallel;
    const text = isFull
      ? `waiting for ${name}, which is answering other requests`
      : `waiting for ${name}: other requests go first`;
    return { text, isForMemory: false };
  }
  if (loading !== undefined) return { text: `waiting for ${name}: another model is being loaded`, isForMemory: false };
  if (model.replaces !== undefined && usesOf(view, id) > 0) {
    const text = `waiting: ${name} will be reloaded with ${contextTokens} tokens after the current request`;
    return { text, isForMemory: true };
  }
  const { plan } = seen.get(id) ?? {};
  const isAnyAnswering = [...state.models.values()].some(({ running }) => running > 0);
  // Without a plan the wait lasts only until it is made.
  if (plan === undefined || plan.evicts.length === 0 || !isAnyAnswering) return undefined;
  const isInTheWay = plan.evicts.some((other) => usesOf(view, other) > 0);
  if (isInTheWay) {
    const text = `waiting for memory: ${name} fits when the active requests are done`;
    return { text, isForMemory: true };
  }
  const text = `waiting to load ${name}: active requests still need the models it would evict`;
  return { text, isForMemory: true };
}
