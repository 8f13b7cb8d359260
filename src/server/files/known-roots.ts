/** The roots that a client offers, requested once and again after the client reports a change. */
export interface KnownRoots {
  /** The known roots, else the answer of `ask`; when that fails, none for a minute. */
  get(ask: () => Promise<readonly string[]>): Promise<readonly string[]>;
  /** The roots changed: the next `get` asks again. */
  forget(): void;
}

/** Without this, a client that doesn't answer would delay every call. */
const askAgainMs = 60_000;
/** Each root costs a look at the disk; clients have a few. */
const maxRoots = 100;

/** For one connection. `onFailure` is called with the reason when a client fails to list its roots. `now` in milliseconds. */
export function createKnownRoots(onFailure: (message: string) => void, now: () => number): KnownRoots {
  let known: Promise<readonly string[]> | undefined;
  let failedAtMs: number | undefined;

  async function answer(ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
    try {
      const roots = await ask();
      return roots.length > maxRoots ? roots.slice(0, maxRoots) : roots;
    } catch (error) {
      failedAtMs = now();
      onFailure(`roots/list: ${error instanceof Error ? error.message : String(error)}`);
      return [];
    }
  }

  return {
    get(ask) {
      if (failedAtMs !== undefined && now() - failedAtMs >= askAgainMs) known = undefined;
      if (known === undefined) failedAtMs = undefined;
      known ??= answer(ask);
      return known;
    },
    forget() {
      known = undefined;
    },
  };
}
