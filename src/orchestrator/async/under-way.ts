/** The calls that run now, for whoever must not take something away from under them. */
export interface UnderWay {
  /** Counts `work` until it ends; answers it. */
  count<Result>(work: Promise<Result>): Promise<Result>;
  /** Resolves when all that run at this moment have ended, well or not. Those that begin later are not waited for. */
  settled(): Promise<void>;
}

export function createUnderWay(): UnderWay {
  const running = new Set<Promise<unknown>>();
  return {
    count(work) {
      running.add(work);
      const forget = (): void => void running.delete(work);
      work.then(forget, forget);
      return work;
    },
    async settled() {
      await Promise.allSettled(running);
    },
  };
}
