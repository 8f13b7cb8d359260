/** The roots that a client offers, asked for once and again after it said that they changed. */
export interface KnownRoots {
  /** What is known, else what `ask` brings; a client that can't answer has none, for a minute. */
  get(ask: () => Promise<readonly string[]>): Promise<readonly string[]>;
  /** They changed: the next `get` asks. */
  forget(): void;
}

/** Nobody waits for a client that doesn't answer with every call. */
const askAgainMs = 60_000;

/** One for each connection; `onFailure` hears why a client that offers roots doesn't tell them. `now` in milliseconds. */
export function createKnownRoots(onFailure: (message: string) => void, now: () => number): KnownRoots {
  let known: Promise<readonly string[]> | undefined;
  let failedAtMs: number | undefined;

  async function answer(ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
    try {
      return await ask();
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
