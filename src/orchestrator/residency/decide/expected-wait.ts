import { type QueuedModel, type QueueState, victimsOf, type WaitingRequest } from "./queue-order.ts";

/**
 * Milliseconds until the answer of a request is expected to begin: the requests ahead of it and the loads. The request
 * may be in `waiting` or new.
 */
export function expectedWaitMs(
  state: QueueState,
  request: Pick<WaitingRequest, "id" | "model" | "priority" | "turn" | "arrivedMs">,
): number {
  const model = state.models.get(request.model);
  if (model === undefined) return 0;
  const ahead = new Map<string, number>();
  for (const other of requestsAhead(state, request)) ahead.set(other.model, (ahead.get(other.model) ?? 0) + 1);
  return loadingMs(state, request, model, ahead) + answeringMs(state, request, model, ahead);
}

/** Milliseconds until its model is loaded: active answers of models to evict, earlier loads, and its own load. */
function loadingMs(
  state: QueueState,
  { model: key, arrivedMs }: Pick<WaitingRequest, "model" | "arrivedMs">,
  model: QueuedModel,
  ahead: ReadonlyMap<string, number>,
): number {
  if (model.state === "resident") return 0;
  let [busyMs, answerMs, loadMs] = [0, 0, model.loadMs];
  for (const [other, its] of state.models) {
    if (its.running > 0) {
      answerMs = Math.max(answerMs, leftMs(its));
      if (victimsOf(model)?.includes(other) === true) busyMs = Math.max(busyMs, leftMs(its));
    }
    if (other === key || its.state === "resident") continue;
    if (its.state === "loading" || ahead.has(other)) loadMs += its.loadMs;
  }
  // A load that evicts waits for all active answers, at most for the time that a request may be overtaken.
  const mustEvict = model.state === "absent" && model.evicts?.length !== 0;
  const patienceMs = mustEvict ? Math.max(0, arrivedMs + state.maxOvertakeMs - state.nowMs) : 0;
  return Math.max(busyMs, Math.min(patienceMs, answerMs)) + loadMs;
}

/** Milliseconds until one of its slots, or of the embedded slots, is free. */
function answeringMs(
  state: QueueState,
  { model: key, priority }: Pick<WaitingRequest, "model" | "priority">,
  model: QueuedModel,
  ahead: ReadonlyMap<string, number>,
): number {
  const isOwn = model.hasOwnThreads === true;
  let [count, sharedMs] = [0, 0];
  for (const [other, its] of state.models) {
    const { running, answerMs, hasOwnThreads, pausable = [], hasRoomBeside, maxParallel } = its;
    const answers = running + (ahead.get(other) ?? 0);
    const isInTheWay = priority < 0 || (other === key && hasRoomBeside !== true);
    const awaited = isInTheWay ? answers : answers - pausable.length;
    if (other === key) count += awaited;
    // Those of one model are computed together, each more slowly, as was measured.
    if (hasOwnThreads !== true)
      sharedMs +=
        (awaited * answerMs - Math.min(awaited, running) * (answerMs - leftMs(its))) /
        (hasRoomBeside === true ? Math.max(1, maxParallel) : 1);
  }
  const turns = Math.floor(count / Math.max(1, model.maxParallel));
  const firstMs = model.running > 0 ? leftMs(model) : model.answerMs;
  const turnsMs = turns === 0 ? 0 : firstMs + (turns - 1) * model.answerMs;
  return isOwn ? turnsMs : Math.max(turnsMs, sharedMs / state.embeddedSlots);
}

/** What an active answer still takes. One that takes longer than usual is expected to take a quarter as long again. */
function leftMs({ answerMs, running, runningMs = 0 }: QueuedModel): number {
  const doneMs = runningMs / Math.max(1, running);
  return Math.max(answerMs - doneMs, doneMs / 4);
}

/** The requests that are expected to be served before the request; a new request is behind its equals. */
function requestsAhead(
  { waiting }: QueueState,
  { id, priority, turn = 0 }: Pick<WaitingRequest, "id" | "priority" | "turn">,
): readonly WaitingRequest[] {
  let isBehind = false;
  return waiting.filter((other) => {
    if (other.id === id) isBehind = true;
    if (other.id === id || other.priority !== priority) return other.priority > priority;
    return (other.turn ?? 0) === turn ? !isBehind : (other.turn ?? 0) < turn;
  });
}

/** Number of requests for the same model that are expected to be served before the request. */
export function countAhead(state: QueueState, request: WaitingRequest): number {
  return requestsAhead(state, request).filter(({ model }) => model === request.model).length;
}
