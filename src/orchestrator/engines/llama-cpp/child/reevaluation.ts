/** Speed of a very large model on a small machine. */
const slowestMsPerToken = 2_500;
const reportEveryMs = 10_000;

/**
 * Waits while a sequence drops the tokens that differ from a prompt. If its state can't be truncated (sliding window,
 * recurrent state), the library evaluates the remaining `tokens` again, without progress events: `report` is called
 * instead, for as long as that may take.
 */
export async function reportReevaluation(work: Promise<void>, tokens: number, report: () => void): Promise<void> {
  let left = Math.ceil((tokens * slowestMsPerToken) / reportEveryMs);
  const timer = setInterval(() => {
    if (left > 0) report();
    left -= 1;
  }, reportEveryMs);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
}
