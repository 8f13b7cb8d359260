import { QueueFull } from "../api/errors.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import { expectedWaitMs } from "./decide/expected-wait.ts";
import type { QueueState } from "./decide/queue-order.ts";
import { duration, type Waiting } from "./queue-view.ts";
import type { QueueRequest } from "./queue-world.ts";

/** The error for a request that arrives while the queue of its model is full: `ahead` requests wait already. */
export function queueFull(state: QueueState, { id, located, priority }: QueueRequest, ahead: number): QueueFull {
  const newcomer = { id: "", model: id, priority, turn: Number.MAX_VALUE, arrivedMs: state.nowMs };
  const wait = duration(expectedWaitMs(state, newcomer));
  const waiting = ahead === 1 ? "1 request already waits" : `${ahead} requests already wait`;
  return new QueueFull(`${waiting} for ${located.model.name}; one more would wait about ${wait}`, {
    next: stepsRaising("queue.maxWaiting"),
  });
}

/** The error for a request whose answer can't begin within its `maxWaitMs`, found on arrival or while it waits. */
export function cannotAnswerInTime(
  state: QueueState,
  { number, located, arrivedMs, maxWaitMs = 0 }: Waiting,
): QueueFull {
  const waiting = state.waiting.find(({ id }) => id === number);
  const waitedMs = state.nowMs - arrivedMs;
  const waited = waitedMs < 1_000 ? "" : `it waited ${duration(waitedMs)}, and `;
  const expected = duration(waiting === undefined ? 0 : expectedWaitMs(state, waiting));
  return new QueueFull(
    `${located.model.name} can't start answering within ${duration(maxWaitMs)} (queue.maxWaitMs): ` +
      `${waited}it would take about ${expected}${waited === "" ? "" : " more"}`,
    { next: stepsRaising("queue.maxWaitMs") },
  );
}

function stepsRaising(setting: string): readonly NextStep[] {
  return [advice("try again later"), { step: "chooseModel" }, { step: "raiseSetting", setting }];
}
