/** Runs one piece of work at a time, in the order asked for. */
export type Mutex = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** Work that fails doesn't stop the work behind it. Who waits can't leave: work checks its own signal first. */
export function createMutex(): Mutex {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}
