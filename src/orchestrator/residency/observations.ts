import { type Engine, engineKey } from "../engines/engine.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { byKey } from "../catalog/located-model.ts";
import { keyOfName } from "../util/model-name.ts";
import type { KeptLearning } from "./kept-learning.ts";
import { LoadFailed, type OrchestratorError } from "../api/errors.ts";
import type { Generation } from "../engines/generation.ts";
import { defined } from "../util/values.ts";
import { formatWait } from "../util/format-bytes.ts";
import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll } from "cockatiel";

/** Measurements of one model on one engine since the program started. */
interface Observation {
  /** Smoothed decode speed, and the tokens that it was measured by. */
  readonly tokensPerSecond?: number;
  readonly timedTokens?: number;
  /** Smoothed speed of reading a prompt, tokens/s. */
  readonly promptTokensPerSecond?: number;
  /** Smoothed time to the first token. */
  readonly firstTokenMs?: number;
  /** Smoothed share of requests that it answered. */
  readonly successRate?: number;
  /** Number of outcomes in `successRate`. */
  readonly outcomes?: number;
  /** Milliseconds of a long answer: a longer one raises it at once, a shorter one lowers it slowly. */
  readonly answerMs?: number;
  /** Smoothed load time, seconds. */
  readonly loadSeconds?: number;
  /** Milliseconds since the epoch of the last use. */
  readonly lastUsedMs?: number;
  /** Message of the last failed load; cleared by a successful one. */
  readonly error?: string;
  /** Since a failure, until a success. */
  readonly breaker?: Breaker;
}

/** Further numbers of an answer, as its engine reports them. */
type AnswerTiming = Partial<Pick<Generation, "firstTokenMs" | "promptTokens" | "cachedPromptTokens" | "prefillMs">>;

export type Observations = ReturnType<typeof createObservations>;

/** Weight of the newest sample. */
const smoothing = 0.3;
/** Weight of an answer that is shorter than `answerMs`, and of a prompt that may have been in the cache. */
const slowSmoothing = 0.1;
/** Reading a shorter prompt measures the engine's overhead. */
const leastPromptTokens = 64;

/** Fewer decoded tokens measure chance: answers of 8 tokens gave 8 to 76 tokens/s for models of equal size. */
const leastTimedTokens = 32;

const nothing: Observation = {};

/**
 * Keyed by `modelId`: a failure of one model doesn't affect others of the same engine. `earlier`: the load times of earlier
 * processes, with which those of the same weights at the same address begin.
 */
export function createObservations(
  now: () => number,
  earlier?: {
    readonly kept: Pick<KeptLearning, "loads" | "noteLoad">;
    readonly engines: () => readonly Engine[];
    readonly lastList: Inventory["lastList"];
  },
) {
  const observations = new Map<string, Observation>();
  /** By the name part of a `modelId`. */
  const keptLoads = new Map<string, Parameters<KeptLearning["noteLoad"]>[0][]>();
  let restored: Promise<void> | undefined;
  const engineOf = (key: string) => earlier?.engines().find(({ id }) => key.startsWith(`${id} `));
  const nameIn = (key: string) => key.slice(key.indexOf(" ") + 1);

  /** The weights and the address that a key refers to now. */
  function weightsOf(key: string) {
    const engine = engineOf(key);
    const host = engine && engineKey(engine);
    if (earlier === undefined || engine === undefined || host === undefined) return undefined;
    const model = byKey(earlier.lastList(engine)).get(nameIn(key));
    return model?.digest === undefined ? undefined : { host, name: model.name, digest: model.digest };
  }

  function of(key: string): Observation {
    const observed = observations.get(key) ?? nothing;
    const isOpen = observed.loadSeconds === undefined && keptLoads.size > 0;
    const known = isOpen ? keptLoads.get(nameIn(key)) : undefined;
    const weights = known && weightsOf(key);
    const load = known?.find(({ host, digest }) => host === weights?.host && digest === weights.digest);
    if (load === undefined) return observed;
    const completed = { ...observed, loadSeconds: load.seconds };
    observations.set(key, completed);
    return completed;
  }

  const update = (key: string, change: Observation) => {
    observations.set(key, { ...observations.get(key), ...change });
  };
  /** The observation without its failure, which a success clears. */
  const healed = (key: string): Observation => {
    const observed = observations.get(key) ?? nothing;
    if (observed.error === undefined && observed.breaker === undefined) return observed;
    const { error: _error, breaker: _breaker, ...known } = observed;
    return known;
  };
  const outcome = (key: string, share: 0 | 1): Observation => {
    const { successRate = 1, outcomes = 0 } = observations.get(key) ?? {};
    return { successRate: (1 - smoothing) * successRate + smoothing * share, outcomes: outcomes + 1 };
  };

  return {
    /** Resolves when the load times of earlier processes are read. */
    ready(): Promise<void> {
      restored ??= (async () => {
        for (const load of (await earlier?.kept.loads()) ?? []) {
          const name = keyOfName(load.name);
          keptLoads.set(name, [...(keptLoads.get(name) ?? []), load]);
        }
      })();
      return restored;
    },
    /** The same object until something is observed. */
    of,
    used: (key: string) => update(key, { lastUsedMs: now() }),
    loaded(key: string, loadMs: number) {
      const loadSeconds = smooth(of(key).loadSeconds, Math.max(0, loadMs) / 1000);
      observations.set(key, { ...healed(key), loadSeconds, lastUsedMs: now() });
      const weights = weightsOf(key);
      if (weights !== undefined) earlier?.kept.noteLoad({ ...weights, seconds: loadSeconds });
    },
    generated(key: string, completionTokens: number, decodeMs: number, timing: AnswerTiming = {}) {
      const before = healed(key);
      const firstTokenMs =
        timing.firstTokenMs === undefined ? before.firstTokenMs : smooth(before.firstTokenMs, timing.firstTokenMs);
      const promptTokensPerSecond = promptSpeed(before.promptTokensPerSecond, timing);
      const cleared = {
        ...before,
        ...defined({ firstTokenMs, promptTokensPerSecond }),
        ...outcome(key, 1),
        lastUsedMs: now(),
      };
      if (completionTokens < leastTimedTokens || decodeMs <= 0) observations.set(key, cleared);
      else {
        const speed = (completionTokens * 1000) / decodeMs;
        const timedTokens = (cleared.timedTokens ?? 0) + completionTokens;
        observations.set(key, { ...cleared, timedTokens, tokensPerSecond: smooth(cleared.tokensPerSecond, speed) });
      }
    },
    /** Duration of an answer, successful or not. */
    answered(key: string, durationMs: number) {
      const { answerMs = durationMs } = observations.get(key) ?? {};
      update(key, { answerMs: Math.max(durationMs, (1 - slowSmoothing) * answerMs + slowSmoothing * durationMs) });
    },
    /** Opens the breaker. With `LoadFailed`, which is the model's own fault, its status becomes `error`. */
    async failed(key: string, error: OrchestratorError) {
      if (error instanceof LoadFailed) update(key, { error: error.message });
      const { breaker = new Breaker(now) } = observations.get(key) ?? {};
      update(key, { ...outcome(key, 0), breaker });
      await breaker.failed(error);
    },
    /** The name may refer to other weights now: it was pulled, imported or deleted. */
    forget(key: string) {
      const engine = engineOf(key);
      const host = engine && engineKey(engine);
      const kept = keptLoads.get(nameIn(key));
      if (kept !== undefined)
        keptLoads.set(
          nameIn(key),
          kept.filter((load) => load.host !== host),
        );
      observations.delete(key);
    },
    /** The id of the engine may refer to another server now. */
    forgetEngine(engineId: string) {
      for (const key of observations.keys()) if (key.startsWith(`${engineId} `)) observations.delete(key);
    },
  };
}

function smooth(previous: number | undefined, next: number): number {
  return previous === undefined ? next : (1 - smoothing) * previous + smoothing * next;
}

/** A reading that seems quicker counts little if the engine doesn't say what came from its cache. */
function promptSpeed(
  previous: number | undefined,
  { promptTokens = 0, cachedPromptTokens, prefillMs = 0 }: AnswerTiming,
): number | undefined {
  const tokens = promptTokens - (cachedPromptTokens ?? 0);
  if (tokens < leastPromptTokens || prefillMs <= 0) return previous;
  const speed = (tokens * 1000) / prefillMs;
  const isDoubtful = cachedPromptTokens === undefined && previous !== undefined && speed > previous;
  return isDoubtful ? (1 - slowSmoothing) * previous + slowSmoothing * speed : smooth(previous, speed);
}

/** How long other models are preferred after a failure. */
const coolDownMs = 30_000;
/** A server that asks for more is asked again after this. */
const maxRetryAfterMs = 24 * 3_600_000;

/**
 * Opened by a failure; half-open after 30 s, or later if the server asked for it; closed by a success, which discards it.
 */
export class Breaker {
  readonly #now: () => number;
  readonly #policy;
  #because = "";
  #failedAtMs = 0;
  #untilMs = 0;
  #obeyUntilMs = 0;

  /** `now` in milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
    const isWaiting = () => this.#isBefore(this.#untilMs);
    // cockatiel compares a duration with the system's clock; this one lasts until ours says so.
    const backoff = {
      get duration() {
        return isWaiting() ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
      },
      next: () => backoff,
    };
    this.#policy = circuitBreaker(handleAll, { breaker: new ConsecutiveBreaker(1), halfOpenAfter: backoff });
  }

  async failed({ message, retryAfterMs = 0 }: Pick<OrchestratorError, "message" | "retryAfterMs">): Promise<void> {
    const nowMs = this.#now();
    const obeyUntilMs = this.#isBefore(this.#obeyUntilMs) ? this.#obeyUntilMs : nowMs;
    this.#because = message;
    this.#failedAtMs = nowMs;
    this.#obeyUntilMs = Math.max(obeyUntilMs, nowMs + Math.min(retryAfterMs, maxRetryAfterMs));
    this.#untilMs = Math.max(nowMs + coolDownMs, this.#obeyUntilMs);
    // An open one stays open until then.
    if (this.#policy.state === CircuitState.Closed) {
      const failure = () => Promise.reject(new Error(message));
      await this.#policy.execute(failure).catch(() => undefined);
    }
  }

  /** Absent: it may be asked. `mustWaitMs`: its server asked not to be asked before, so that it isn't even as a last resort. */
  get coolDown(): { readonly because: string; readonly mustWaitMs?: number } | undefined {
    const { state } = this.#policy;
    if (state === CircuitState.Closed) return undefined;
    if (state === CircuitState.HalfOpen) return { because: `${this.#because}; another request is trying it again` };
    if (!this.#isBefore(this.#untilMs)) return undefined;
    const nowMs = this.#now();
    const mustWaitMs = this.#obeyUntilMs - nowMs;
    return {
      because: `${this.#because}; tried again in ${formatWait(this.#untilMs - nowMs)}`,
      ...(mustWaitMs > 0 && { mustWaitMs }),
    };
  }

  /** Runs a request. The first one after a cool-down is a trial; until it ends, other models are preferred. */
  run<Result>(work: () => Promise<Result>): Promise<Result> {
    // A request that nothing else can answer is sent all the same, also beside the trial.
    return this.coolDown === undefined ? this.#policy.execute(work) : work();
  }

  /** Setting the clock back ends a wait: it must not be prolonged. */
  #isBefore(untilMs: number): boolean {
    const nowMs = this.#now();
    return nowMs >= this.#failedAtMs && nowMs < untilMs;
  }
}
