/** Tracks running calls, so that a resource can be closed after them. */
export interface UnderWay {
  /** Tracks `work` until it ends. Returns it. */
  count<Result>(work: Promise<Result>): Promise<Result>;
  /** Resolves when all calls that are running now have settled; later ones are not waited for. */
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
