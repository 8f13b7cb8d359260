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
  readonly deadlineMs?: number;
  /** When it was first overtaken by a later arrival. */
  readonly overtakenSinceMs?: number;
}

/** A model that is resident, or that requests wait for. */
export interface QueuedModel {
  readonly state: "resident" | "loading" | "absent";
  /** Number of active answers. */
  readonly running: number;
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
}

/** One memory domain and the requests for its models. Times are from one monotonic clock. */
export interface QueueState {
  readonly nowMs: number;
  /** `queue.maxOvertakeMs`. */
  readonly maxOvertakeMs: number;
  /**
   * Concurrent answers that the thread budget allows. With 1, loads and answers delay each other, too. Engines with
   * their own threads are not affected.
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

export type QueueDecision =
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

interface Option {
  readonly kind: "serve" | "load";
  readonly request: WaitingRequest;
  /** Index in `waiting`. */
  readonly position: number;
  readonly model: QueuedModel;
  readonly durationMs: number;
  /** Earlier requests that would wait longer. */
  readonly overtakes: readonly WaitingRequest[];
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
 * 4. A request that can start goes before one of lower priority that would hinder it.
 * 5. Requests for resident models go first; callers take turns, then deadline and arrival decide.
 * 6. Then the load that evicts the fewest awaited models, and among those the one with the least expected loss.
 */
export function nextToServe(state: QueueState): QueueDecision {
  const expired = state.waiting.find((request) => latestStartMs(state, request) < state.nowMs);
  if (expired !== undefined) return { kind: "expire", id: expired.id };

  const allowed = state.waiting
    .flatMap((request, position) => optionOf(state, request, position))
    .filter(({ durationMs, overtakes }) =>
      overtakes.every((other) => state.nowMs + durationMs <= latestEndMs(state, other)),
    );
  const due = allowed.filter(
    (option) =>
      !allowed.some(
        (other) => other.request.priority > option.request.priority && hinders(state, option, other.request),
      ),
  );
  const [first] = due.toSorted(byOrder(state));
  if (first === undefined) return waitFor(state);
  const { kind, request } = first;
  const overtaken = [...first.overtakes, ...delayedByPatience(state, first)];
  return { kind, id: request.id, model: request.model, overtakes: overtaken.map(({ id }) => id) };
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

/**
 * Models with waiting requests, which are evicted after others. For `isAwaited` in the plan of a load; `exceptId` is
 * the request that causes the load.
 */
export function awaitedModels(waiting: readonly WaitingRequest[], exceptId?: string): ReadonlySet<string> {
  return new Set(waiting.filter(({ id }) => id !== exceptId).map(({ model }) => model));
}

function optionOf(state: QueueState, request: WaitingRequest, position: number): readonly Option[] {
  const model = state.models.get(request.model);
  if (model === undefined || model.state === "loading") return [];
  const kind = model.state === "resident" ? "serve" : "load";
  const canStart =
    kind === "serve"
      ? model.running < model.maxParallel && hasSlot(state, model)
      : state.mayLoad &&
        victimsOf(model)?.every((key) => !isBusy(state, key)) === true &&
        isPatienceOver(state, request);
  if (!canStart) return [];
  const durationMs = model.answerMs + (kind === "load" ? model.loadMs : 0);
  const option = { kind, request, position, model, durationMs } as const;
  return [{ ...option, overtakes: overtakenBy(state, option) }];
}

/** Earlier requests that would wait longer: hindered themselves, or behind one that is. */
function overtakenBy(state: QueueState, option: Omit<Option, "overtakes">): readonly WaitingRequest[] {
  const overtaken: WaitingRequest[] = [];
  for (const other of state.waiting.slice(0, option.position)) {
    const isBehind = overtaken.some((before) => {
      const model = state.models.get(before.model);
      if (model === undefined || model.state === "loading") return false;
      return hinders(state, { kind: model.state === "absent" ? "load" : "serve", request: before, model }, other);
    });
    if (isBehind || hinders(state, option, other)) overtaken.push(other);
  }
  return overtaken;
}

/**
 * Earlier requests whose load waits for this answer by rule 2, although it needs nothing that the answer uses. That
 * wait is bounded, so it doesn't forbid the answer, but their time of being overtaken starts.
 */
function delayedByPatience(state: QueueState, { kind, position, overtakes }: Option): readonly WaitingRequest[] {
  if (kind === "load") return [];
  return state.waiting.slice(0, position).filter((other) => {
    const wanted = state.models.get(other.model);
    const isPatient =
      wanted?.state === "absent" && wanted.evicts?.length !== 0 && state.nowMs < patienceEndMs(state, other);
    return isPatient && !overtakes.includes(other);
  });
}

/** Rule 2: whether the load for the request may evict now, if it has to. */
function isPatienceOver(state: QueueState, request: WaitingRequest): boolean {
  const evictsNothing = state.models.get(request.model)?.evicts?.length === 0;
  const isQuiet = [...state.models.values()].every(({ running }) => running === 0);
  const isUncontested = isQuiet && state.nowMs >= returnEndMs(state);
  return evictsNothing || isUncontested || state.nowMs >= patienceEndMs(state, request);
}

/** Until when a caller that was just answered is expected to return. */
function returnEndMs({ nowMs, waiting, runningOf, answeredMs = new Map<string, number>() }: QueueState): number {
  const isBack = (caller: string) => runningOf.has(caller) || waiting.some((request) => request.caller === caller);
  const ends = [...answeredMs].flatMap(([caller, atMs]) => (isBack(caller) ? [] : [atMs + returnMs]));
  return Math.max(nowMs, ...ends);
}

function patienceEndMs(state: QueueState, request: WaitingRequest): number {
  return request.arrivedMs + state.maxOvertakeMs;
}

function waitFor(state: QueueState): QueueDecision {
  const moments = state.waiting.flatMap((request) => {
    const patience = state.models.get(request.model)?.state === "absent" ? [patienceEndMs(state, request)] : [];
    return request.deadlineMs === undefined ? patience : [...patience, latestStartMs(state, request) + 1];
  });
  moments.push(returnEndMs(state));
  const ahead = moments.filter((moment) => moment > state.nowMs);
  return ahead.length === 0 ? { kind: "wait" } : { kind: "wait", untilMs: Math.min(...ahead) };
}

/** Whether `other` would wait longer for an embedded slot, a slot of its model, the loader or memory. */
function hinders(
  state: QueueState,
  option: Pick<Option, "kind" | "request" | "model">,
  other: WaitingRequest,
): boolean {
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

function byOrder(state: QueueState): (a: Option, b: Option) => number {
  const awaited = (option: Option) => {
    const models = awaitedModels(state.waiting, option.request.id);
    return (option.model.evicts ?? []).filter((key) => models.has(key)).length;
  };
  const loss = ({ model }: Option) =>
    (model.evicts ?? []).reduce((sum, key) => sum + (state.models.get(key)?.lossSeconds ?? 0), 0);
  const isSameFlow = (one: WaitingRequest, other: WaitingRequest) =>
    one.caller === other.caller && one.priority === other.priority;
  const turn = ({ request, position }: Option) =>
    (state.runningOf.get(request.caller) ?? 0) +
    state.waiting.slice(0, position).filter((other) => isSameFlow(other, request)).length;
  const deadline = ({ request }: Option) => request.deadlineMs ?? Number.MAX_VALUE;
  return (a, b) =>
    b.request.priority - a.request.priority ||
    Number(a.kind === "load") - Number(b.kind === "load") ||
    (a.kind === "load" ? awaited(a) - awaited(b) || loss(a) - loss(b) : 0) ||
    (a.request.turn ?? 0) - (b.request.turn ?? 0) ||
    turn(a) - turn(b) ||
    deadline(a) - deadline(b) ||
    a.position - b.position;
}

function isBusy(state: QueueState, key: string): boolean {
  return (state.models.get(key)?.running ?? 0) > 0;
}

function hasSlot(state: QueueState, model: QueuedModel): boolean {
  return model.hasOwnThreads === true || freeSlots(state) > 0;
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
