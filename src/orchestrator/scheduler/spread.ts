/** An engine that holds a model, as seen by a request that could go there. */
export interface Copy {
  /** Requests that are there already, waiting or answered. */
  readonly assigned: number;
  /** Answers at a time. */
  readonly parallel: number;
  /** In memory, or on its way there. */
  readonly isLoaded: boolean;
  /** Milliseconds until it could answer if it isn't. */
  readonly loadMs: number;
}

/**
 * Index of the copy where a request is expected to be answered soonest: after its load, and after those before it. Of
 * equal ones the one with fewer requests, then the first, so that without a queue one copy does all the work and the
 * others go when their time is up. A copy that isn't loaded must save a whole answer: loading one costs somebody memory.
 * `copies[0]` is where the request goes anyway; `answerMs` is how long one answer takes.
 */
export function chooseCopy(copies: readonly Copy[], answerMs: number): number {
  const ranked = copies.map(({ assigned, parallel, isLoaded, loadMs }, index) => {
    const waitMs = Math.floor(assigned / parallel) * answerMs;
    return { index, assigned, costMs: isLoaded || index === 0 ? waitMs : waitMs + loadMs + answerMs };
  });
  const [best] = ranked.toSorted((a, b) => a.costMs - b.costMs || a.assigned - b.assigned || a.index - b.index);
  return best?.index ?? 0;
}
