import { type QueuedModel, type QueueState, victimsOf, type WaitingRequest } from "./queue-order.ts";

/**
 * Milliseconds until the answer of a request is expected to begin: the requests ahead of it and the loads. The request
 * may be in `waiting` or new. An upper estimate: active answers count as if they had just begun.
 */
export function expectedWaitMs(
  state: QueueState,
  request: Pick<WaitingRequest, "id" | "model" | "priority" | "turn" | "arrivedMs">,
): number {
  const model = state.models.get(request.model);
  if (model === undefined) return 0;
  const ahead = state.waiting.filter((other) => isAhead(state, other, request));
  return loadingMs(state, request, model, ahead) + answeringMs(state, request.model, model, ahead);
}

/** Milliseconds until its model is loaded: active answers of models to evict, earlier loads, and its own load. */
function loadingMs(
  state: QueueState,
  { model: key, arrivedMs }: Pick<WaitingRequest, "model" | "arrivedMs">,
  model: QueuedModel,
  ahead: readonly WaitingRequest[],
): number {
  if (model.state === "resident") return 0;
  const wanted = new Set(ahead.map((request) => request.model));
  let [busyMs, answerMs, loadMs] = [0, 0, model.loadMs];
  for (const [other, its] of state.models) {
    if (its.running > 0) {
      answerMs = Math.max(answerMs, its.answerMs);
      if (victimsOf(model)?.includes(other) === true) busyMs = Math.max(busyMs, its.answerMs);
    }
    if (other === key || its.state === "resident") continue;
    if (its.state === "loading" || wanted.has(other)) loadMs += its.loadMs;
  }
  // A load that evicts waits for all active answers, at most for the time that a request may be overtaken.
  const mustEvict = model.state === "absent" && model.evicts?.length !== 0;
  const patienceMs = mustEvict ? Math.max(0, arrivedMs + state.maxOvertakeMs - state.nowMs) : 0;
  return Math.max(busyMs, Math.min(patienceMs, answerMs)) + loadMs;
}

/** Milliseconds until one of its slots, or of the embedded slots, is free. */
function answeringMs(state: QueueState, key: string, model: QueuedModel, ahead: readonly WaitingRequest[]): number {
  const isOwn = model.hasOwnThreads === true;
  let [count, sharedMs] = [0, 0];
  for (const [other, { running, answerMs, hasOwnThreads }] of state.models) {
    const answers = running + ahead.filter((request) => request.model === other).length;
    if (other === key) count += answers;
    if (hasOwnThreads !== true) sharedMs += answers * answerMs;
  }
  const turnsMs = Math.floor(count / Math.max(1, model.maxParallel)) * model.answerMs;
  return isOwn ? turnsMs : Math.max(turnsMs, sharedMs / state.embeddedSlots);
}

/** Whether `other` is expected to be served before the request; a new request is behind its equals. */
function isAhead(
  { waiting }: QueueState,
  other: WaitingRequest,
  request: Pick<WaitingRequest, "id" | "priority" | "turn">,
): boolean {
  if (other.id === request.id || other.priority !== request.priority) return other.priority > request.priority;
  const [turn, otherTurn] = [request.turn ?? 0, other.turn ?? 0];
  if (turn !== otherTurn) return otherTurn < turn;
  const position = waiting.findIndex(({ id }) => id === request.id);
  return position < 0 || waiting.indexOf(other) < position;
}

/** Number of requests for the same model that are expected to be served before the request. */
export function countAhead(state: QueueState, request: WaitingRequest): number {
  return state.waiting.filter((other) => other.model === request.model && isAhead(state, other, request)).length;
}
