import { ChildFailure } from "./child/failure.ts";
import type { ChildEvent, ChildRequest, DoneOf } from "./child/protocol.ts";
import type { ChildSession } from "./child-session.ts";

/** `stallMs` is counted in this many parts: the machine may sleep during one of them. */
const parts = 10;

/**
 * A call of `session` with stall detection: its process is ended when it reports nothing for `stallMs` of waking time,
 * since one that is dead-locked or stopped would hold the cores of all others forever. A process reports each chunk of a
 * prompt and each token of an answer. Throws what `ChildSession.call` throws, and `ChildFailure`.
 */
export async function callWithStallDetection<Type extends ChildRequest["type"]>(
  session: ChildSession,
  request: Extract<ChildRequest, { type: Type }>,
  stallMs: number,
  onEvent: (event: ChildEvent) => void,
  signal: AbortSignal,
): Promise<DoneOf[Type]> {
  let quietParts = 0;
  let hasStalled = false;
  const timer = setInterval(() => {
    quietParts += 1;
    // Once too many: the first part may have begun before the last sign.
    if (quietParts <= parts || hasStalled) return;
    hasStalled = true;
    void session.stop();
  }, stallMs / parts);
  const onSign = (event: ChildEvent) => {
    quietParts = 0;
    onEvent(event);
  };
  try {
    return await session.call(request, onSign, signal);
  } catch (error) {
    if (!hasStalled || signal.aborted) throw error;
    const seconds = Math.round(stallMs / 1_000);
    throw new ChildFailure("failed", `its process gave no sign of life for ${seconds} s and was ended`, {
      cause: error,
    });
  } finally {
    clearInterval(timer);
  }
}
