/** A request that has not begun to be answered. */
export interface WaitingRequest {
  readonly id: string;
  /** Requests of one caller take turns with those of others. */
  readonly caller: string;
  readonly model: string;
  readonly arrivedMs: number;
  /** Higher goes first. */
  readonly priority: number;
  /** Start tag of fair queueing (`fairTurn`): lower goes first among those that could start alike. */
  readonly turn?: number;
  /** Nobody wants the answer if it has not begun by then. */
  readonly deadlineMs?: number;
  /** When a later arrival was let ahead of it for the first time. */
  readonly overtakenSinceMs?: number;
}

/** A model that requests wait for, or that is resident. */
export interface QueuedModel {
  readonly state: "resident" | "loading" | "absent";
  /** Requests that it answers now. */
  readonly running: number;
  /** `max_parallel`: most that it answers at a time. */
  readonly maxParallel: number;
  readonly loadMs: number;
  /** Time of one answer; take a long one, since nobody is overtaken for longer than these add up to. */
  readonly answerMs: number;
  /** Of a resident model: `expectedLossSeconds` of the eviction policy. */
  readonly lossSeconds?: number;
  /** Of an absent model: what has to go for it. Undefined: no load is possible, whatever ends. */
  readonly evicts?: readonly string[];
  /** Of an absent one: itself with too little context, which goes as well; nobody misses it. */
  readonly replaces?: string;
  /** Its engine grants threads by itself: it takes none of `embeddedSlots`. */
  readonly hasOwnThreads?: boolean;
}

/** One memory domain and those who wait for its models. Times are of one clock that never goes back. */
export interface QueueState {
  readonly nowMs: number;
  /** `queue.maxOvertakeMs`. */
  readonly maxOvertakeMs: number;
  /**
   * Answers that the thread budget allows at a time. With one, loads and answers delay each other, too. Engines with
   * threads of their own take no part.
   */
  readonly embeddedSlots: number;
  /** False while another load takes the disk and the memory. */
  readonly mayLoad: boolean;
  /** In the order of arrival. */
  readonly waiting: readonly WaitingRequest[];
  readonly models: ReadonlyMap<string, QueuedModel>;
  /** Requests of each caller that are answered now. */
  readonly runningOf: ReadonlyMap<string, number>;
  /** When each caller's last answer ended; who was answered long ago may be left out. */
  readonly answeredMs?: ReadonlyMap<string, number>;
}

export type QueueDecision =
  /** Answer with the deadline error. */
  | { readonly kind: "expire"; readonly id: string }
  /** `overtakes`: ids of those whom this lets wait though they came before. */
  | {
      readonly kind: "serve" | "load";
      readonly id: string;
      readonly model: string;
      readonly overtakes: readonly string[];
    }
  /** Until something arrives, ends or is loaded, or until `untilMs`: a deadline, or the end of a load's patience. */
  | { readonly kind: "wait"; readonly untilMs?: number };

/**
 * Agents ask again as soon as they were answered, and loads take seconds: what would go may be wanted a moment later
 * (anticipatory scheduling, Iyer and Druschel 2001).
 */
const returnMs = 100;

interface Option {
  readonly kind: "serve" | "load";
  readonly request: WaitingRequest;
  /** Among those who wait. */
  readonly position: number;
  readonly model: QueuedModel;
  readonly durationMs: number;
  /** Requests that came before and would wait longer. */
  readonly overtakes: readonly WaitingRequest[];
}

/**
 * What to do next. Pure: apply the answer (`afterDecision`, and its effects), then ask again, until it is `wait`.
 *
 * 1. A request that can't begin before its deadline any more expires.
 * 2. A request can start when its model is resident and has a free slot, or is absent and may be loaded now: what has
 *    to go is idle. One whose model is being loaded joins that load: there is nothing to do for it. A load that evicts
 *    waits while answers are under way, and a moment after them for those who were answered and aren't back (`returnMs`),
 *    no longer than `maxOvertakeMs` after its request came: those who are answered come again and would miss what went.
 *    Loading at once costs agents in a loop 1.6 times the reloads, where one answer is given at a time, too.
 * 3. Nobody is overtaken for more than `maxOvertakeMs`, from the first to the end of the last who went ahead, nor past
 *    the deadline: what would take longer waits. An answer that a load waits for by rule 2
 *    alone begins that time, too. The one who came first is held back by nobody.
 * 4. A higher priority that can start, and would be hindered, goes before a lower one.
 * 5. Those whose model is resident go first; callers take turns, then deadlines and arrival count.
 * 6. Then the load that evicts the fewest awaited models, and the least expected loss among those.
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
  const overtaken = [...first.overtakes, ...keptPatient(state, first)];
  return { kind, id: request.id, model: request.model, overtakes: overtaken.map(({ id }) => id) };
}

/**
 * Start-time fair queueing (Goyal et al. 1996), each request of length one: a caller that asks for much takes turns with
 * others, and a new one begins where they are. `served`: tag of the last that was served; `previous`: of the same caller.
 */
export function fairTurn(served: number, previous: number | undefined): number {
  return previous === undefined ? served : Math.max(served, previous + 1);
}

/** Who waits after the decision; a request whose model is loaded for it waits on, until that is done. */
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
 * Models that must not go while others could: somebody waits for them. For `isAwaited` of the memory plan of `exceptId`,
 * the request whose model is loaded.
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

/** Who came before and would wait longer: hindered itself, or behind somebody who is. */
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
 * Who came before and whose load waits for this answer by rule 2, though it needs nothing of it. That ends by itself, so it
 * forbids nothing, but the time of what does hinder them counts from here.
 */
function keptPatient(state: QueueState, { kind, position, overtakes }: Option): readonly WaitingRequest[] {
  if (kind === "load") return [];
  return state.waiting.slice(0, position).filter((other) => {
    const wanted = state.models.get(other.model);
    const isPatient =
      wanted?.state === "absent" && wanted.evicts?.length !== 0 && state.nowMs < patienceEndMs(state, other);
    return isPatient && !overtakes.includes(other);
  });
}

/** Rule 2: whether the load for the request may evict, if it has to. */
function isPatienceOver(state: QueueState, request: WaitingRequest): boolean {
  const evictsNothing = state.models.get(request.model)?.evicts?.length === 0;
  const isQuiet = [...state.models.values()].every(({ running }) => running === 0);
  const isUncontested = isQuiet && state.nowMs >= returnEndMs(state);
  return evictsNothing || isUncontested || state.nowMs >= patienceEndMs(state, request);
}

/** Until when somebody who was answered just now may come again. */
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

/** Whether `other` would wait longer for what it needs: an embedded slot, a slot of its model, the loader, or room in memory. */
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
  // It keeps busy what has to go, or takes the last slot.
  if (wanted.state === "absent") return (victimsOf(wanted) ?? []).includes(option.request.model);
  const isStartable = wanted.state === "resident" && wanted.running < wanted.maxParallel;
  return shareSlots && isStartable && freeSlots(state) === 1;
}

function latestEndMs(state: QueueState, request: WaitingRequest): number {
  return Math.min((request.overtakenSinceMs ?? state.nowMs) + state.maxOvertakeMs, latestStartMs(state, request));
}

/** The last moment at which its answer, or the load before it, can begin in time. What is on its way is waited for. */
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

/** All that goes when it is loaded. */
export function victimsOf({ evicts, replaces }: QueuedModel): readonly string[] | undefined {
  return evicts === undefined || replaces === undefined ? evicts : [...evicts, replaces];
}
