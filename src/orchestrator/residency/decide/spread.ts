/** An engine that holds a model, as a possible destination of a request. */
export interface Copy {
  /** Requests that wait there or are being answered. */
  readonly assigned: number;
  /** Concurrent answers. */
  readonly parallel: number;
  /** Loaded or loading. */
  readonly isLoaded: boolean;
  /** Milliseconds of its load. */
  readonly loadMs: number;
}

/**
 * Index of the copy where a request is expected to be answered first, after its load and the requests ahead. Among
 * equal copies the one with fewer requests, then the first: without a queue one copy does all the work, and the others
 * are unloaded when their keep-alive ends. A copy that isn't loaded must save a whole answer, since loading it costs
 * memory. `copies[0]` is the default; `answerMs` is the duration of an answer.
 */
export function chooseCopy(copies: readonly Copy[], answerMs: number): number {
  const ranked = copies.map(({ assigned, parallel, isLoaded, loadMs }, index) => {
    const waitMs = Math.floor(assigned / parallel) * answerMs;
    return { index, assigned, costMs: isLoaded || index === 0 ? waitMs : waitMs + loadMs + answerMs };
  });
  const [best] = ranked.toSorted((a, b) => a.costMs - b.costMs || a.assigned - b.assigned || a.index - b.index);
  return best?.index ?? 0;
}
