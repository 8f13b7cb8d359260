import { ChildFailure } from "./child/failure.ts";
import type { ChildEvent, ChildRequest, DoneOf } from "./child/protocol.ts";
import type { ChildSession } from "./child-session.ts";

/** `stallMs` is counted in this many intervals, because the machine may sleep during one of them. */
const intervals = 10;

/**
 * Calls `session` with stall detection: ends its process when it reports nothing for `stallMs` of waking time, because a
 * deadlocked or stopped process would block all others forever. A process reports each chunk of a prompt and each token
 * of an answer. Throws what `ChildSession.call` throws, and `ChildFailure`.
 */
export async function callWithStallDetection<Type extends ChildRequest["type"]>(
  session: ChildSession,
  request: Extract<ChildRequest, { type: Type }>,
  stallMs: number,
  onEvent: (event: ChildEvent) => void,
  signal: AbortSignal,
): Promise<DoneOf[Type]> {
  let idleIntervals = 0;
  let hasStalled = false;
  const timer = setInterval(() => {
    idleIntervals += 1;
    // One more than `intervals`: the first one may have begun before the last event.
    if (idleIntervals <= intervals || hasStalled) return;
    hasStalled = true;
    void session.stop();
  }, stallMs / intervals);
  const onActivity = (event: ChildEvent) => {
    idleIntervals = 0;
    onEvent(event);
  };
  try {
    return await session.call(request, onActivity, signal);
  } catch (error) {
    if (!hasStalled || signal.aborted) throw error;
    const seconds = Math.round(stallMs / 1_000);
    throw new ChildFailure("failed", `its process made no progress for ${seconds} s and was ended`, {
      cause: error,
    });
  } finally {
    clearInterval(timer);
  }
}
