import type { Timers } from "../util/timers.ts";
import type { Engine } from "../engines/engine.ts";
import { Cancelled, EngineUnreachable, GenerationFailed } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import { createStallDetector } from "./stall-detector.ts";
import type { TokenProbe } from "./token-probe.ts";

/**
 * Whether engines still produce tokens. A deadlocked engine answers all other requests (Ollama #17408), so its health
 * endpoint proves nothing.
 *
 * | event                                                       | effect                                                          |
 * |-------------------------------------------------------------|-----------------------------------------------------------------|
 * | requests wait too long for their first token                | suspect: an idle model is probed for a token; stuck without one |
 * | a request fails, or is cancelled after 20 s without a token | suspect                                                         |
 * | the machine woke up                                         | suspect                                                         |
 * | a suspect produces no token within a minute                 | stuck: reported, others are preferred, probed every 3 minutes   |
 * | any token                                                   | alive                                                           |
 * | one model produces no token while others do                 | reported for that model (`stall-detector.ts`)                   |
 */
export interface Liveness {
  /** A request is sent to a loaded model. */
  begin(engine: Engine, model: string, promptTokens: number): RequestMonitor;
  /** One sentence for each engine that is stuck, or has a stalled model. */
  problems(engines: readonly Engine[]): readonly string[];
  /** Probes all engines for a token, each at most every three minutes. Never throws. */
  checkAll(engines: readonly Engine[]): Promise<void>;
  close(): void;
}

/** Receives the progress of one request. */
export interface RequestMonitor {
  /** A part of the prompt was processed. */
  progress(): void;
  /** A token was produced. */
  token(): void;
  /** The request has ended; `error` if it failed. */
  end(error?: unknown): void;
}

interface State {
  waiting: number;
  /** The longest time to the first token that any of the waiting requests may take. */
  patienceMs: number;
  lastSignMs: number;
  cancelWatch: (() => void) | undefined;
  lastProbeMs: number;
  probing: Promise<void> | undefined;
  stuck: string | undefined;
  cancelAgain: (() => void) | undefined;
}

/** A large model on a slow machine processes 20 prompt tokens a second. */
const patienceMs = 60_000;
const patienceMsPerToken = 50;
const afterFailureMs = 1_000;
const givenUpMs = 20_000;
const probeEveryMs = 3 * 60_000;

export function createLiveness(parts: {
  readonly probe: TokenProbe;
  readonly timers: Timers;
  readonly log: Log;
  readonly changed: () => void;
  /** Why an engine is considered stuck, in one sentence; undefined if it isn't any more. */
  readonly setStuck: (engine: Engine, why: string | undefined) => void;
}): Liveness {
  const { timers, log } = parts;
  const states = new Map<Engine, State>();
  const stalls = createStallDetector(parts);
  let isClosed = false;

  const stateOf = (engine: Engine): State => {
    const state = states.get(engine) ?? {
      waiting: 0,
      patienceMs: 0,
      lastSignMs: timers.now(),
      cancelWatch: undefined,
      lastProbeMs: Number.NEGATIVE_INFINITY,
      probing: undefined,
      stuck: undefined,
      cancelAgain: undefined,
    };
    states.set(engine, state);
    return state;
  };

  function alive(engine: Engine): void {
    const state = stateOf(engine);
    state.lastSignMs = timers.now();
    if (state.stuck !== undefined) log.warn(`liveness: ${engine.id} produces tokens again`);
    clearStuck(engine);
  }

  function clearStuck(engine: Engine): void {
    const state = stateOf(engine);
    if (state.stuck === undefined) return;
    state.stuck = undefined;
    state.cancelAgain?.();
    parts.setStuck(engine, undefined);
    parts.changed();
  }

  function markStuck(engine: Engine, why: string): void {
    const state = stateOf(engine);
    const isNew = state.stuck === undefined;
    if (isNew) log.warn(`liveness: ${why}`);
    state.stuck = why;
    parts.setStuck(engine, why);
    if (isNew) parts.changed();
    state.cancelAgain?.();
    if (!isClosed) state.cancelAgain = timers.after(probeEveryMs, () => void suspect(engine, undefined));
  }

  /** Probes the engine. `otherwise`: why it counts as stuck if no idle model can be probed. */
  function suspect(engine: Engine, otherwise: string | undefined): Promise<void> {
    const state = stateOf(engine);
    if (isClosed) return Promise.resolve();
    if (state.probing !== undefined) return state.probing;
    if (timers.now() - state.lastProbeMs < probeEveryMs && otherwise === undefined) return Promise.resolve();
    state.lastProbeMs = timers.now();
    state.probing = parts
      .probe(engine)
      .then(({ outcome, text }) => {
        if (outcome === "token") alive(engine);
        else if (outcome === "timeout") markStuck(engine, text);
        else if (otherwise !== undefined) markStuck(engine, otherwise);
        else if (state.stuck !== undefined && state.waiting > 0) markStuck(engine, state.stuck);
        // No model to probe, and no request waits: the next request decides.
        else clearStuck(engine);
      })
      .catch((error: unknown) => log.warn(`liveness: probing ${engine.id}: ${String(error)}`))
      .finally(() => {
        state.probing = undefined;
      });
    return state.probing;
  }

  function watch(engine: Engine): void {
    const state = stateOf(engine);
    state.cancelWatch?.();
    state.cancelWatch = undefined;
    if (state.waiting === 0 || isClosed) return;
    const leftMs = state.lastSignMs + state.patienceMs - timers.now();
    if (leftMs > 0) {
      state.cancelWatch = timers.after(leftMs, () => watch(engine));
      return;
    }
    const seconds = Math.round(state.patienceMs / 1_000);
    const orBusy = engine.isPrivate === true ? "" : ", or busy with another program";
    const why = `${engine.id} responds, but has produced no token for ${seconds} s: it is stuck${orBusy}`;
    void suspect(engine, why).then(() => {
      // The next probe is due after another timeout.
      state.lastSignMs = timers.now();
      watch(engine);
    });
  }

  return {
    begin(engine, model, promptTokens) {
      // Without models in memory here, how long a token takes is unknown.
      if (engine.residency === undefined)
        return { progress: () => undefined, token: () => undefined, end: () => undefined };
      const state = stateOf(engine);
      if (state.waiting === 0) {
        state.lastSignMs = timers.now();
        state.patienceMs = 0;
      }
      state.waiting += 1;
      const ownPatienceMs = patienceMs + promptTokens * patienceMsPerToken;
      state.patienceMs = Math.max(state.patienceMs, ownPatienceMs);
      const waiting = stalls.begin(engine.id, model, ownPatienceMs);
      watch(engine);
      const begunMs = timers.now();
      let hasToken = false;
      let isOver = false;
      return {
        progress() {
          alive(engine);
          waiting.progress();
        },
        token() {
          hasToken = true;
          alive(engine);
          waiting.progress();
        },
        end(error) {
          if (isOver) return;
          isOver = true;
          state.waiting -= 1;
          waiting.end();
          if (state.waiting === 0) watch(engine);
          // Its process has answered, stopped computing or was ended.
          if (state.waiting === 0 && engine.isPrivate === true) return clearStuck(engine);
          // Callers often give up before our own timeout.
          const wasGivenUp = error instanceof Cancelled && !hasToken && timers.now() - begunMs >= givenUpMs;
          if (wasGivenUp || error instanceof EngineUnreachable || error instanceof GenerationFailed) {
            // Delayed: the failed request still holds its model, which must be idle for the probe.
            timers.after(afterFailureMs, () => void suspect(engine, undefined));
          }
        },
      };
    },
    problems: (engines) => engines.flatMap((engine) => states.get(engine)?.stuck ?? stalls.problems(engine.id)),
    async checkAll(engines) {
      await Promise.all(engines.map((engine) => suspect(engine, undefined)));
    },
    close() {
      isClosed = true;
      for (const { cancelWatch, cancelAgain } of states.values()) {
        cancelWatch?.();
        cancelAgain?.();
      }
      states.clear();
      stalls.close();
    },
  };
}
