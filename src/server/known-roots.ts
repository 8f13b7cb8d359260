/** The roots that a client offers, asked for once and again after it said that they changed. */
export interface KnownRoots {
  /** What is known, else what `ask` brings; a client that can't answer has none, for a minute. */
  get(ask: () => Promise<readonly string[]>): Promise<readonly string[]>;
  /** They changed: the next `get` asks. */
  forget(): void;
}

/** A client that doesn't answer would hold up every call by the wait for it. */
const askAgainMs = 60_000;
/** Each is looked at on disk; a client has a few. */
const maxRoots = 100;

/** One for each connection; `onFailure` hears why a client that offers roots doesn't tell them. `now` in milliseconds. */
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
