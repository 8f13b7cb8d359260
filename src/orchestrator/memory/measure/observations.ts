/** Measurements of one model on one engine since the program started. */
export interface Observation {
  /** Smoothed decode speed. */
  readonly tokensPerSecond?: number;
  /** Milliseconds of a long answer: a longer one raises it at once, a shorter one lowers it slowly. */
  readonly answerMs?: number;
  /** Smoothed load time, seconds. */
  readonly loadSeconds?: number;
  /** Milliseconds since the epoch of the last use. */
  readonly lastUsedMs?: number;
  /** Message of the last failed load; cleared by a successful one. */
  readonly error?: string;
  /** End of the time during which other models are preferred after a failure; milliseconds since the epoch. */
  readonly coolsUntilMs?: number;
}

export interface Observations {
  /** Resolves when the observations of earlier processes are read; absent if there are none. */
  ready?(): Promise<void>;
  of(key: string): Observation;
  used(key: string): void;
  loaded(key: string, loadMs: number): void;
  generated(key: string, completionTokens: number, decodeMs: number): void;
  /** Duration of an answer, successful or not. */
  answered(key: string, durationMs: number): void;
  /** `isModelFault`: the model itself could not be loaded, so its status becomes `error`. */
  failed(key: string, message: string, isModelFault: boolean): void;
  /** The name may refer to other weights now: it was pulled, imported or deleted. */
  forget(key: string): void;
  /** The id of the engine may refer to another server now. */
  forgetEngine(engineId: string): void;
}

/** How long other models are preferred after a failure. */
const coolDownMs = 30_000;
/** Whether other models are preferred because of a recent failure; setting the clock back doesn't prolong it. */
export function isCooling({ coolsUntilMs }: Pick<Observation, "coolsUntilMs">, nowMs: number): boolean {
  return coolsUntilMs !== undefined && coolsUntilMs > nowMs && coolsUntilMs - nowMs <= coolDownMs;
}

/** Weight of the newest sample. */
const smoothing = 0.3;
/** Weight of an answer that is shorter than `answerMs`. */
const slowSmoothing = 0.1;

/** Keyed by `modelId`: a failure of one model doesn't affect others of the same engine. */
export function createObservations(now: () => number): Observations {
  const observations = new Map<string, Observation>();
  const update = (key: string, change: Observation) => {
    observations.set(key, { ...observations.get(key), ...change });
  };
  /** The observation without its failure, which a success clears. */
  const healed = (key: string): Observation => {
    const { error: _error, coolsUntilMs: _coolsUntilMs, ...known } = observations.get(key) ?? {};
    return known;
  };
  const smooth = (previous: number | undefined, next: number) =>
    previous === undefined ? next : (1 - smoothing) * previous + smoothing * next;

  return {
    of: (key) => observations.get(key) ?? {},
    used: (key) => update(key, { lastUsedMs: now() }),
    loaded(key, loadMs) {
      const loadSeconds = smooth(observations.get(key)?.loadSeconds, Math.max(0, loadMs) / 1000);
      observations.set(key, { ...healed(key), loadSeconds, lastUsedMs: now() });
    },
    generated(key, completionTokens, decodeMs) {
      const cleared = { ...healed(key), lastUsedMs: now() };
      // The time of the first token belongs to the prompt.
      if (completionTokens < 2 || decodeMs <= 0) observations.set(key, cleared);
      else {
        const speed = (completionTokens * 1000) / decodeMs;
        observations.set(key, { ...cleared, tokensPerSecond: smooth(cleared.tokensPerSecond, speed) });
      }
    },
    answered(key, durationMs) {
      const { answerMs = durationMs } = observations.get(key) ?? {};
      update(key, { answerMs: Math.max(durationMs, (1 - slowSmoothing) * answerMs + slowSmoothing * durationMs) });
    },
    failed(key, message, isModelFault) {
      update(key, { coolsUntilMs: now() + coolDownMs, ...(isModelFault ? { error: message } : {}) });
    },
    forget: (key) => void observations.delete(key),
    forgetEngine(engineId) {
      for (const key of observations.keys()) if (key.startsWith(`${engineId} `)) observations.delete(key);
    },
  };
}
