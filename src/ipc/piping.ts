/** Distinguishes a script at the other end of stdio from a client, by what it waits for. */
export interface PipingWatch {
  /** A request was received. */
  requested(): void;
  /** An answer was sent. */
  answered(): void;
  /** The other end was closed: returns whether it is a script, which continues to read until it has every answer. */
  ended(): boolean;
}

/**
 * Distinguishes a script, which pipes in its requests and closes its end, from a client. Both look the same when input ends with
 * calls in progress, but expect the opposite: a script its answers, a client an end within two seconds. A client waits
 * for the answer to its first request (`initialize`, `server/discover`) before it sends another; a script does not wait.
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
