/** Who is at the other end of stdio, judged by what it waits for. */
export interface PipingWatch {
  /** It sent a request. */
  requested(): void;
  /** It was sent an answer. */
  answered(): void;
  /** It closed its end; whether it is a script, which reads on until it has every answer. */
  ended(): boolean;
}

/**
 * Tells a script, which pipes its requests in and closes, from a client. Both look the same at the end of input with calls
 * under way, and want the opposite: the script its answers, the client an end within two seconds. A client has waited for
 * the answer to its first request (`initialize`, `server/discover`) before it sent another; a script has waited for nothing.
 */
export function createPipingWatch(): PipingWatch {
  let requests = 0;
  let isAnswered = false;
  let isPiping = false;
  return {
    requested() {
      requests += 1;
      if (!isAnswered && requests > 1) isPiping = true;
    },
    answered() {
      isAnswered = true;
    },
    ended: () => isPiping || !isAnswered,
  };
}
