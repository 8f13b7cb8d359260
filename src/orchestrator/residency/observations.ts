import { engineKey } from "../engines/engine.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { byKey } from "../catalog/located-model.ts";
import { keyOfName } from "../util/model-name.ts";
import type { KeptLearning, KeptLoad } from "./kept-learning.ts";
import { LoadFailed, type OrchestratorError } from "../api/errors.ts";
import type { Generation } from "../engines/generation.ts";
import { defined } from "../util/defined.ts";
import { formatWait } from "../util/format-bytes.ts";
import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll } from "cockatiel";

/** Measurements of one model on one engine since the program started. */
export interface Observation {
  /** Smoothed decode speed. */
  readonly tokensPerSecond?: number;
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

export interface Observations {
  /** Resolves when the observations of earlier processes are read; absent if there are none. */
  ready?(): Promise<void>;
  /** The same object until something is observed. */
  of(key: string): Observation;
  used(key: string): void;
  loaded(key: string, loadMs: number): void;
  generated(key: string, completionTokens: number, decodeMs: number, timing?: AnswerTiming): void;
  /** Duration of an answer, successful or not. */
  answered(key: string, durationMs: number): void;
  /** Opens the breaker. With `LoadFailed`, which is the model's own fault, its status becomes `error`. */
  failed(key: string, error: OrchestratorError): Promise<void>;
  /** The name may refer to other weights now: it was pulled, imported or deleted. */
  forget(key: string): void;
  /** The id of the engine may refer to another server now. */
  forgetEngine(engineId: string): void;
}

/** Weight of the newest sample. */
const smoothing = 0.3;
/** Weight of an answer that is shorter than `answerMs`, and of a prompt that may have been in the cache. */
const slowSmoothing = 0.1;
/** Reading a shorter prompt measures the engine's overhead. */
const leastPromptTokens = 64;

/** Fewer decoded tokens measure chance: answers of 8 tokens gave 8 to 76 tokens/s for models of equal size. */
const leastTimedTokens = 32;

const nothing: Observation = {};

/** Keyed by `modelId`: a failure of one model doesn't affect others of the same engine. */
export function createObservations(now: () => number): Observations {
  const observations = new Map<string, Observation>();
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
  const smooth = (previous: number | undefined, next: number) =>
    previous === undefined ? next : (1 - smoothing) * previous + smoothing * next;

  /** A reading that seems quicker counts little if the engine doesn't say what came from its cache. */
  const promptSpeed = (
    previous: number | undefined,
    { promptTokens = 0, cachedPromptTokens, prefillMs = 0 }: AnswerTiming,
  ): number | undefined => {
    const tokens = promptTokens - (cachedPromptTokens ?? 0);
    if (tokens < leastPromptTokens || prefillMs <= 0) return previous;
    const speed = (tokens * 1000) / prefillMs;
    const isDoubtful = cachedPromptTokens === undefined && previous !== undefined && speed > previous;
    return isDoubtful ? (1 - slowSmoothing) * previous + slowSmoothing * speed : smooth(previous, speed);
  };

  return {
    of: (key) => observations.get(key) ?? nothing,
    used: (key) => update(key, { lastUsedMs: now() }),
    loaded(key, loadMs) {
      const loadSeconds = smooth(observations.get(key)?.loadSeconds, Math.max(0, loadMs) / 1000);
      observations.set(key, { ...healed(key), loadSeconds, lastUsedMs: now() });
    },
    generated(key, completionTokens, decodeMs, timing = {}) {
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
        observations.set(key, { ...cleared, tokensPerSecond: smooth(cleared.tokensPerSecond, speed) });
      }
    },
    answered(key, durationMs) {
      const { answerMs = durationMs } = observations.get(key) ?? {};
      update(key, { answerMs: Math.max(durationMs, (1 - slowSmoothing) * answerMs + slowSmoothing * durationMs) });
    },
    async failed(key, error) {
      if (error instanceof LoadFailed) update(key, { error: error.message });
      const { breaker = new Breaker(now) } = observations.get(key) ?? {};
      update(key, { ...outcome(key, 0), breaker });
      await breaker.failed(error);
    },
    forget: (key) => void observations.delete(key),
    forgetEngine(engineId) {
      for (const key of observations.keys()) if (key.startsWith(`${engineId} `)) observations.delete(key);
    },
  };
}

/**
 * Observations that start with the load times of earlier processes: until this process has loaded a model, `of` returns
 * the saved load time of the same weights at the same address. `ready` resolves once they are read.
 */
export function withKeptLoadSeconds(
  observations: Observations,
  parts: { readonly kept: KeptLearning; readonly inventory: Pick<Inventory, "engines" | "lastList"> },
): Observations {
  const { kept, inventory } = parts;
  /** By the name part of a `modelId`. */
  const before = new Map<string, KeptLoad[]>();
  /** What `of` returned: the same while nothing changes, as without kept load times. */
  const shown = new Map<string, { readonly observed: Observation; readonly completed: Observation }>();
  let restored: Promise<void> | undefined;

  const engineOf = (key: string) => inventory.engines.find(({ id }) => key.startsWith(`${id} `));
  const nameIn = (key: string) => key.slice(key.indexOf(" ") + 1);

  /** The weights and the address that a key refers to now. */
  function weightsOf(key: string) {
    const engine = engineOf(key);
    const host = engine && engineKey(engine);
    if (engine === undefined || host === undefined) return undefined;
    const model = byKey(inventory.lastList(engine)).get(nameIn(key));
    if (model?.digest === undefined) return undefined;
    return { host, name: model.name, digest: model.digest };
  }

  function keptSeconds(key: string): number | undefined {
    const known = before.get(nameIn(key));
    const weights = known && weightsOf(key);
    return known?.find(({ host, digest }) => host === weights?.host && digest === weights.digest)?.seconds;
  }

  return {
    ...observations,
    ready() {
      restored ??= (async () => {
        for (const load of await kept.loads()) {
          const name = keyOfName(load.name);
          before.set(name, [...(before.get(name) ?? []), load]);
        }
      })();
      return restored;
    },
    of(key) {
      const observed = observations.of(key);
      if (observed.loadSeconds !== undefined) return observed;
      const loadSeconds = before.size === 0 ? undefined : keptSeconds(key);
      if (loadSeconds === undefined) return observed;
      const known = shown.get(key);
      if (known?.observed === observed && known.completed.loadSeconds === loadSeconds) return known.completed;
      const completed = { ...observed, loadSeconds };
      shown.set(key, { observed, completed });
      return completed;
    },
    loaded(key, loadMs) {
      const isFirst = observations.of(key).loadSeconds === undefined;
      const earlier = isFirst ? keptSeconds(key) : undefined;
      const blendedMs = earlier === undefined ? loadMs : (1 - smoothing) * earlier * 1_000 + smoothing * loadMs;
      observations.loaded(key, blendedMs);
      const { loadSeconds } = observations.of(key);
      const weights = weightsOf(key);
      if (weights !== undefined && loadSeconds !== undefined) kept.noteLoad({ ...weights, seconds: loadSeconds });
    },
    forget(key) {
      const engine = engineOf(key);
      const host = engine && engineKey(engine);
      const name = nameIn(key);
      before.set(
        name,
        (before.get(name) ?? []).filter((load) => load.host !== host),
      );
      observations.forget(key);
    },
  };
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
