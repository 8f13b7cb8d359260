/** A decision holds for so many chunks (about 2 s), for twice as many when the next contest confirms it, and so on. */
const restChunks = 20;
const mostDoublings = 5;
/** Several threads that are so many times slower than when they won have company on their cores. */
const collapse = 3;

/** Finds out how many threads evaluate a prompt fastest. */
export interface ThreadContest {
  /** Threads of the next chunk. */
  next(): number;
  /** What the chunk just evaluated has shown. */
  measured(threads: number, tokensPerMs: number): void;
}

/**
 * All cores are fastest on an idle machine. But threads wait for each other actively: beside other programs on the same
 * cores one chunk with two threads took 3 s where one thread took 0.1. So every candidate gets one chunk, in order (one
 * thread first, which hardly suffers), the fastest wins, and the contest is repeated now and then.
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
    confirmations = winner === lastWinner ? Math.min(confirmations + 1, mostDoublings) : 0;
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
