import { getOrInsert } from "../../util/values.ts";
/** A request whose answer has not begun. */
export interface WaitingRequest {
  readonly id: string;
  /** Callers take turns. */
  readonly caller: string;
  readonly model: string;
  readonly arrivedMs: number;
  /** Higher goes first. */
  readonly priority: number;
  /** Start tag of fair queueing (`fairTurn`): lower goes first, other things being equal. */
  readonly turn?: number;
  /** The request expires if its answer has not begun by then. */
  readonly deadlineMs?: number | undefined;
  /** When it was first overtaken by a later arrival. */
  readonly overtakenSinceMs?: number | undefined;
}

/** A model that is resident, or that requests wait for. */
export interface QueuedModel {
  readonly state: "resident" | "loading" | "absent";
  /** Number of active answers. */
  readonly running: number;
  /** How long those have run, all together. */
  readonly runningMs?: number;
  /** Maximum number of concurrent answers. */
  readonly maxParallel: number;
  readonly loadMs: number;
  /** Time of a long answer: the limit for overtaking is computed from it. */
  readonly answerMs: number;
  /** `expectedLossSeconds` of the eviction policy, for a resident model. */
  readonly lossSeconds?: number;
  /** The models that its load evicts, for an absent model. Undefined: it can't be loaded at all. */
  readonly evicts?: readonly string[];
  /** On a reload with a larger context: the instance it replaces. */
  readonly replaces?: string;
  /** Its engine manages its own threads: it uses none of `embeddedSlots`. */
  readonly hasOwnThreads?: boolean;
  /** Those of `running` that are in the background, on an engine that pauses them. */
  readonly pausable?: readonly PausableAnswer[];
  /** Whether there is memory for one more answer of this model beside those that run or are paused. Absent: none does. */
  readonly hasRoomBeside?: boolean;
}

/** An active answer that no call waits for. */
export interface PausableAnswer {
  /** Start of its first pause since it last continued for `progressMs`. */
  readonly pausedSinceMs?: number | undefined;
  /** When it last continued; absent while it is paused. */
  readonly continuedMs?: number | undefined;
}

/** One memory domain and the requests for its models. Times are from one monotonic clock. */
export interface QueueState {
  readonly nowMs: number;
  /** `queue.maxOvertakeMs`. */
  readonly maxOvertakeMs: number;
  /**
   * Concurrent answers that the thread budget allows, but for those beside others of the same model, which share a batch.
   * With 1, loads and answers delay each other, too. Engines with their own threads are not affected.
   */
  readonly embeddedSlots: number;
  /** False while another load is in progress. */
  readonly mayLoad: boolean;
  /** In the order of arrival. */
  readonly waiting: readonly WaitingRequest[];
  readonly models: ReadonlyMap<string, QueuedModel>;
  /** Number of active answers of each caller. */
  readonly runningOf: ReadonlyMap<string, number>;
  /** When the last answer of each caller ended; old entries may be missing. */
  readonly answeredMs?: ReadonlyMap<string, number>;
}

type QueueDecision =
  /** Refuse it with the deadline error. */
  | { readonly kind: "expire"; readonly id: string }
  /** `overtakes`: ids of earlier requests that wait longer because of it. */
  | {
      readonly kind: "serve" | "load";
      readonly id: string;
      readonly model: string;
      readonly overtakes: readonly string[];
    }
  /**
   * Wait until a request arrives, an answer or a load ends, or until `untilMs`: a deadline, or the end of a load's
   * patience.
   */
  | { readonly kind: "wait"; readonly untilMs?: number };

/**
 * How long a load that evicts waits for the next request of a caller that was just answered: agents send it at once,
 * and would need the evicted model again (anticipatory scheduling, Iyer and Druschel 2001).
 */
const returnMs = 100;

/** How long a background answer continues before it may be paused again, once its pauses have lasted `maxOvertakeMs`. */
const progressMs = 5_000;

interface Option {
  readonly kind: "serve" | "load";
  readonly request: WaitingRequest;
  /** Index in `waiting`. */
  readonly position: number;
  readonly model: QueuedModel;
  /** Active answers of its caller and earlier requests of its caller and priority. */
  readonly callerTurn: number;
  /** For a load: the awaited models that it evicts, and the expected loss. */
  readonly awaited: number;
  readonly lossSeconds: number;
  /** Active background answers are paused for it. */
  readonly pauses: boolean;
}

/**
 * Decides what to do next. Pure: apply the decision (`afterDecision`, and its effects) and call it again, until it is
 * `wait`.
 *
 * 1. A request that can no longer begin before its deadline expires.
 * 2. A request can start if its model is resident and has a free slot, or is absent and can be loaded now: the models
 *    to evict are idle. A request whose model is loading joins that load. A load that evicts waits for active answers,
 *    and `returnMs` longer for callers that were just answered, but at most until `maxOvertakeMs` after its request
 *    came: those callers usually return and would need the evicted model again. Without this wait, agents in a loop
 *    cause 1.6 times the reloads, even with one answer at a time.
 * 3. No request is overtaken for more than `maxOvertakeMs`, from the start of the first overtaking request to the end
 *    of the last, nor beyond its deadline; anything that would take longer waits. An answer that delays a load by rule
 *    2 alone starts this time, too. Nothing holds back the request that came first.
 * 4. A request that can start goes before those of lower priority.
 * 5. Requests for resident models go first; callers take turns, then deadline and arrival decide.
 * 6. Active background answers that can be paused are no obstacle to a request of higher priority, if there is memory
 *    for it beside them. Once such an answer was paused for `maxOvertakeMs`, it continues for `progressMs` before another
 *    request may pause it. What waits in the background waits for that answer, not for the requests it is paused for.
 * 7. Answers of one model that share a batch are computed together, as many as `maxParallel` and memory allow: no others
 *    beside them, and none in the background beside others.
 * 8. Then the load that evicts the fewest awaited models, and among those the one with the least expected loss.
 */
export function nextToServe(state: QueueState): QueueDecision {
  const expired = state.waiting.find((request) => latestStartMs(state, request) < state.nowMs);
  if (expired !== undefined) return { kind: "expire", id: expired.id };

  for (const option of optionsOf(state).toSorted(inOrder)) {
    const overtakes = overtakenBy(state, option).filter((other) => !option.pauses || other.priority >= 0);
    const endMs = state.nowMs + option.model.answerMs + (option.kind === "load" ? option.model.loadMs : 0);
    if (!overtakes.every((other) => endMs <= latestEndMs(state, other))) continue;
    const { kind, request } = option;
    const overtaken = [...overtakes, ...delayedByPatience(state, option, overtakes)];
    return { kind, id: request.id, model: request.model, overtakes: overtaken.map(({ id }) => id) };
  }
  return waitFor(state);
}

/**
 * Start tag by start-time fair queueing (Goyal et al. 1996) with requests of length 1: a caller with many requests
 * takes turns with others, and a new caller starts at their tag. `served`: tag that was served last; `previous`: last
 * tag of the caller.
 */
export function fairTurn(served: number, previous: number | undefined): number {
  return previous === undefined ? served : Math.max(served, previous + 1);
}

/** The requests that wait after the decision; one that causes a load keeps waiting until it is done. */
export function afterDecision<Request extends WaitingRequest>(
  waiting: readonly Request[],
  decision: QueueDecision,
  nowMs: number,
): readonly Request[] {
  if (decision.kind === "wait") return waiting;
  const left = decision.kind === "load" ? waiting : waiting.filter(({ id }) => id !== decision.id);
  if (decision.kind === "expire") return left;
  const overtaken = new Set(decision.overtakes);
  return left.map((request) =>
    overtaken.has(request.id) && request.overtakenSinceMs === undefined
      ? { ...request, overtakenSinceMs: nowMs }
      : request,
  );
}

/** The requests that can start now (rule 2). */
function optionsOf(state: QueueState): readonly Option[] {
  const free = freeSlots(state);
  let freed = 0;
  for (const model of state.models.values()) if (model.pausable !== undefined) freed += pausableNow(state, model);
  const isOpen = (model: QueuedModel, isPausing: boolean): boolean => {
    const { state: its, running, maxParallel, hasOwnThreads, hasRoomBeside } = model;
    if (isPausing && running > 0 && hasRoomBeside !== true) return false;
    const inTheWay = isPausing ? running - pausableNow(state, model) : running;
    const slots = isPausing ? free + freed : free;
    return its === "absent" || (its === "resident" && inTheWay < maxParallel && (hasOwnThreads === true || slots > 0));
  };
  const open = new Set<string>();
  const openByPausing = new Set<string>();
  /** Beside others: `f` for what isn't in the background, `b` for what is. */
  const openBeside = new Set<string>();
  for (const [key, model] of state.models) {
    if (isOpen(model, false)) open.add(key);
    else if (freed > 0 && isOpen(model, true)) openByPausing.add(key);
    const { running, maxParallel, hasRoomBeside, pausable = [] } = model;
    if (model.state !== "resident" || hasRoomBeside !== true || running >= maxParallel) continue;
    // Where others run, those in the background are paused.
    openBeside.add(`${pausable.length === running ? "b" : "f"} ${key}`);
  }
  const isOpenFor = ({ model, priority }: WaitingRequest) =>
    open.has(model) ||
    (priority >= 0 && openByPausing.has(model)) ||
    openBeside.has(`${priority < 0 ? "b" : "f"} ${model}`);
  if (!state.waiting.some(isOpenFor)) return [];

  const waitedFor = new Set(state.waiting.map(({ model }) => model));
  /** By priority and caller. */
  const turns = new Map<number, Map<string, number>>();
  const options: Option[] = [];
  for (const [position, request] of state.waiting.entries()) {
    const ofPriority = getOrInsert(turns, request.priority, () => new Map<string, number>());
    const callerTurn = ofPriority.get(request.caller) ?? state.runningOf.get(request.caller) ?? 0;
    ofPriority.set(request.caller, callerTurn + 1);
    const pauses = request.priority >= 0 && openByPausing.has(request.model);
    const model = isOpenFor(request) ? state.models.get(request.model) : undefined;
    if (model?.state === "resident") {
      options.push({ kind: "serve", request, position, model, callerTurn, awaited: 0, lossSeconds: 0, pauses });
    } else if (model !== undefined && mayLoad(state, request, model)) {
      const evicts = model.evicts ?? [];
      const lossSeconds = evicts.reduce((sum, key) => sum + (state.models.get(key)?.lossSeconds ?? 0), 0);
      const isAwaited = (key: string) => key !== request.model && waitedFor.has(key);
      const awaited = evicts.filter(isAwaited).length;
      options.push({ kind: "load", request, position, model, callerTurn, awaited, lossSeconds, pauses });
    }
  }
  return options;
}

function mayLoad(state: QueueState, request: WaitingRequest, model: QueuedModel): boolean {
  const areVictimsIdle = victimsOf(model)?.every((key) => (state.models.get(key)?.running ?? 0) === 0);
  return state.mayLoad && areVictimsIdle === true && isPatienceOver(state, request, model);
}

function inOrder(a: Option, b: Option): number {
  return (
    b.request.priority - a.request.priority ||
    Number(a.kind === "load") - Number(b.kind === "load") ||
    a.awaited - b.awaited ||
    a.lossSeconds - b.lossSeconds ||
    (a.request.turn ?? 0) - (b.request.turn ?? 0) ||
    a.callerTurn - b.callerTurn ||
    (a.request.deadlineMs ?? Number.MAX_VALUE) - (b.request.deadlineMs ?? Number.MAX_VALUE) ||
    a.position - b.position
  );
}

/** Earlier requests that would wait longer: hindered themselves, or behind one that is. */
function overtakenBy(state: QueueState, option: Option): readonly WaitingRequest[] {
  const overtaken: WaitingRequest[] = [];
  // One for each model is enough: what the others hinder is the same.
  const delayed = new Map<string, Pick<Option, "kind" | "request" | "model">>();
  for (const other of state.waiting.slice(0, option.position)) {
    const isBehind = [...delayed.values()].some((before) => hinders(state, before, other));
    if (!isBehind && !hinders(state, option, other)) continue;
    overtaken.push(other);
    const model = state.models.get(other.model);
    if (model === undefined || model.state === "loading" || delayed.has(other.model)) continue;
    delayed.set(other.model, { kind: model.state === "absent" ? "load" : "serve", request: other, model });
  }
  return overtaken;
}

/**
 * Earlier requests whose load waits for this answer by rule 2, although it needs nothing that the answer uses. That
 * wait is bounded, so it doesn't forbid the answer, but their time of being overtaken starts.
 */
function delayedByPatience(state: QueueState, { kind, position }: Option, overtakes: readonly WaitingRequest[]) {
  if (kind === "load") return [];
  return state.waiting.slice(0, position).filter((other) => {
    const wanted = state.models.get(other.model);
    const isPatient =
      wanted?.state === "absent" && wanted.evicts?.length !== 0 && state.nowMs < patienceEndMs(state, other);
    return isPatient && !overtakes.includes(other);
  });
}

/** Rule 2: whether the load for the request may evict now, if it has to. */
function isPatienceOver(state: QueueState, request: WaitingRequest, { evicts }: QueuedModel): boolean {
  if (evicts?.length === 0 || state.nowMs >= patienceEndMs(state, request)) return true;
  // Background answers are long, and their callers don't return.
  const ignored = (model: QueuedModel) => (request.priority >= 0 ? (model.pausable?.length ?? 0) : 0);
  for (const model of state.models.values()) if (model.running > ignored(model)) return false;
  return state.nowMs >= returnEndMs(state);
}

/** Until when a caller that was just answered is expected to return. */
function returnEndMs({ nowMs, waiting, runningOf, answeredMs }: QueueState): number {
  const here = new Set(waiting.map(({ caller }) => caller));
  let endMs = nowMs;
  for (const [caller, atMs] of answeredMs ?? []) {
    if (!here.has(caller) && !runningOf.has(caller)) endMs = Math.max(endMs, atMs + returnMs);
  }
  return endMs;
}

function patienceEndMs(state: QueueState, request: WaitingRequest): number {
  return request.arrivedMs + state.maxOvertakeMs;
}

function waitFor(state: QueueState): QueueDecision {
  const moments: number[] = [];
  for (const request of state.waiting) {
    if (state.models.get(request.model)?.state === "absent") moments.push(patienceEndMs(state, request));
    if (request.deadlineMs !== undefined) moments.push(latestStartMs(state, request) + 1);
  }
  for (const { pausable = [] } of state.models.values()) {
    for (const { continuedMs } of pausable) if (continuedMs !== undefined) moments.push(continuedMs + progressMs);
  }
  // Only loads wait for callers to return.
  if (moments.length > 0) moments.push(returnEndMs(state));
  const ahead = moments.filter((moment) => moment > state.nowMs);
  return ahead.length === 0 ? { kind: "wait" } : { kind: "wait", untilMs: Math.min(...ahead) };
}

/** The active answers of a model that a request may pause now. */
function pausableNow({ nowMs, maxOvertakeMs }: QueueState, { pausable = [] }: QueuedModel): number {
  return pausable.filter(
    (answer) => hasRecovered(answer, nowMs) || nowMs - (answer.pausedSinceMs ?? nowMs) < maxOvertakeMs,
  ).length;
}

/** Whether it was not paused yet, or continued for long enough since. */
export function hasRecovered({ pausedSinceMs, continuedMs }: PausableAnswer, nowMs: number): boolean {
  return pausedSinceMs === undefined || (continuedMs !== undefined && nowMs - continuedMs >= progressMs);
}

/** Whether `other` would wait longer for an embedded slot, a slot of its model, the loader or memory. */
function hinders(state: QueueState, option: Pick<Option, "kind" | "request" | "model">, other: WaitingRequest) {
  if (other.id === option.request.id) return false;
  if (other.model === option.request.model) return true;
  const wanted = state.models.get(other.model);
  if (wanted === undefined) return state.embeddedSlots === 1;
  const shareSlots = wanted.hasOwnThreads !== true && option.model.hasOwnThreads !== true;
  if (shareSlots && state.embeddedSlots === 1) return true;
  if (option.kind === "load") {
    return wanted.state === "absent"
      ? wanted.evicts !== undefined
      : (victimsOf(option.model) ?? []).includes(other.model);
  }
  // The answer keeps a model busy that has to be evicted, or takes the last slot.
  if (wanted.state === "absent") return (victimsOf(wanted) ?? []).includes(option.request.model);
  const isStartable = wanted.state === "resident" && wanted.running < wanted.maxParallel;
  return shareSlots && isStartable && freeSlots(state) === 1;
}

function latestEndMs(state: QueueState, request: WaitingRequest): number {
  return Math.min((request.overtakenSinceMs ?? state.nowMs) + state.maxOvertakeMs, latestStartMs(state, request));
}

/**
 * The last moment at which its answer, or the load before it, can begin in time. Loads in progress are not subtracted.
 */
function latestStartMs(state: QueueState, { deadlineMs = Number.POSITIVE_INFINITY, model }: WaitingRequest): number {
  const wanted = state.models.get(model);
  return wanted?.state === "absent" ? deadlineMs - wanted.loadMs : deadlineMs;
}

function freeSlots(state: QueueState): number {
  let running = 0;
  for (const model of state.models.values()) if (model.hasOwnThreads !== true) running += model.running;
  return state.embeddedSlots - running;
}

/** All models that its load unloads. */
export function victimsOf({ evicts, replaces }: QueuedModel): readonly string[] | undefined {
  return evicts === undefined || replaces === undefined ? evicts : [...evicts, replaces];
}
