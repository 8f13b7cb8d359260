/** What was seen of one model on one engine since the program started. */
export interface Observation {
  /** Smoothed decode speed. */
  readonly tokensPerSecond?: number;
  /** Milliseconds of a long answer: what takes longer raises it at once, what is shorter lowers it slowly. */
  readonly answerMs?: number;
  /** Smoothed load time, seconds. */
  readonly loadSeconds?: number;
  /** Milliseconds since the epoch of the last use. */
  readonly lastUsedMs?: number;
  /** Message of the last load that failed; cleared by one that succeeds. */
  readonly error?: string;
  /** Until then (milliseconds since the epoch) others are preferred, because it just failed. */
  readonly coolsUntilMs?: number;
}

export interface Observations {
  /** Resolves when what earlier processes saw is known; absent where that is nothing. */
  ready?(): Promise<void>;
  of(key: string): Observation;
  used(key: string): void;
  loaded(key: string, loadMs: number): void;
  generated(key: string, completionTokens: number, decodeMs: number): void;
  /** From the beginning to the end of an answer, whatever came of it. */
  answered(key: string, durationMs: number): void;
  /** `isModelFault`: the model itself could not be loaded, so its status is error. */
  failed(key: string, message: string, isModelFault: boolean): void;
  /** Other weights may carry the name now: it was pulled, imported or deleted. */
  forget(key: string): void;
  /** Another server may answer under its id now. */
  forgetEngine(engineId: string): void;
}

/** How long a model that failed is passed over while another can serve. */
const coolDownMs = 30_000;
/** Whether it failed so recently that others are preferred; a clock that was set back doesn't prolong that. */
export function isCooling({ coolsUntilMs }: Pick<Observation, "coolsUntilMs">, nowMs: number): boolean {
  return coolsUntilMs !== undefined && coolsUntilMs > nowMs && coolsUntilMs - nowMs <= coolDownMs;
}

/** Weight of the newest sample. */
const smoothing = 0.3;
/** Of one that is shorter than the longest lately. */
const slowSmoothing = 0.1;

/** Keyed by engine and model: a failure of one model says nothing about its neighbours on the same host. */
export function createObservations(now: () => number): Observations {
  const observations = new Map<string, Observation>();
  const update = (key: string, change: Observation) => {
    observations.set(key, { ...observations.get(key), ...change });
  };
  /** What is known, without the failures that a success ends. */
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
      // Two tokens are one interval: the first token's time belongs to the prompt.
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
