/** Runs one task at a time, in call order. */
export type Mutex = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** A task that fails does not affect the next. Waiting can't be cancelled: a task checks its own signal first. */
export function createMutex(): Mutex {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}
