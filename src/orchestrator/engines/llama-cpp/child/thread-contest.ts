/** A decision holds for this many chunks (about 2 s), and for twice as many each time that it is confirmed. */
const restChunks = 5;
const maxDoublings = 5;
/** A slowdown of several threads by this factor means that other programs use their cores. */
const collapse = 3;

/** Determines how many threads evaluate a prompt fastest. */
export interface ThreadContest {
  /** Returns the threads for the next chunk. */
  next(): number;
  /** Records the speed of the chunk just evaluated. */
  measured(threads: number, tokensPerMs: number): void;
}

/**
 * All cores are fastest on an idle machine. But threads spin while they wait for each other: next to other programs on the
 * same cores, a chunk with two threads took 3 s where one thread took 0.1 s. So every candidate evaluates one chunk, one
 * thread first because it is the least affected, the fastest is used, and the comparison is repeated from time to time.
 */
export function createThreadContest(candidates: readonly number[]): ThreadContest {
  let results = new Map<number, number>();
  let winner: number | undefined;
  let lastWinner: number | undefined;
  let confirmations = 0;
  let winningSpeed = 0;
  let chunksLeft = 0;

  function decide(): void {
    winner = candidates.reduce((best, threads) =>
      (results.get(threads) ?? 0) > (results.get(best) ?? 0) ? threads : best,
    );
    confirmations = winner === lastWinner ? Math.min(confirmations + 1, maxDoublings) : 0;
    lastWinner = winner;
    winningSpeed = results.get(winner) ?? 0;
    chunksLeft = restChunks * 2 ** confirmations;
    results = new Map();
  }

  return {
    next: () => winner ?? candidates.find((threads) => !results.has(threads)) ?? 1,
    measured(threads, tokensPerMs) {
      if (winner === undefined) {
        results.set(threads, tokensPerMs);
        if (candidates.every((each) => results.has(each))) decide();
        return;
      }
      chunksLeft -= 1;
      if (chunksLeft <= 0 || (threads > 1 && tokensPerMs * collapse < winningSpeed)) winner = undefined;
    },
  };
}
