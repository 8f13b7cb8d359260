/** Of a very large model on a small machine. */
const slowestMsPerToken = 2_500;
const signEveryMs = 10_000;

/**
 * Waits for a sequence that drops what differs from a prompt. Where it can't drop a part (a sliding window, a recurrent
 * state), the library evaluates the `tokens` that stay once more, in one go of which nothing is heard: `sign` is called
 * meanwhile, for as long as that may take.
 */
export async function whileEvaluatedAnew(work: Promise<void>, tokens: number, sign: () => void): Promise<void> {
  let left = Math.ceil((tokens * slowestMsPerToken) / signEveryMs);
  const timer = setInterval(() => {
    if (left > 0) sign();
    left -= 1;
  }, signEveryMs);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
}
