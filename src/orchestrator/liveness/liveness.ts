import type { Timers } from "../async/timers.ts";
import type { Engine } from "../engines/engine.ts";
import { Cancelled, EngineUnreachable, GenerationFailed } from "../errors.ts";
import type { Log } from "../log.ts";
import { createStallDetector } from "./stall-detector.ts";
import type { TokenProbe } from "./token-probe.ts";

/**
 * Whether engines still give tokens. One that is dead-locked answers every other question (Ollama #17408), so what an
 * engine says of itself is no proof.
 *
 * | what happens                                              | then                                                |
 * |-----------------------------------------------------------|-----------------------------------------------------|
 * | requests wait, and no token came for so long as they may take | suspect: a token is asked of an idle model; without one it is stuck |
 * | a request fails, or is given up after 20 s without a token   | suspect                                             |
 * | the machine woke up                                       | suspect                                             |
 * | a suspect gives no token within a minute                  | stuck: told, others are preferred, asked again every three minutes |
 * | any token                                                 | alive                                               |
 * | of one model none comes, while others give some             | told of that model (`stall-detector.ts`)                  |
 */
export interface Liveness {
  /** A request is sent to a model that is loaded. */
  begin(engine: Engine, model: string, promptTokens: number): Sign;
  /** Why it is taken to be stuck, in a sentence. */
  problem(engine: Engine): string | undefined;
  /** A sentence for each that is stuck, or has a model that gives no token while others answer. */
  problems(engines: readonly Engine[]): readonly string[];
  /** Asks all for a token, at most every few minutes. Never throws. */
  checkAll(engines: readonly Engine[]): Promise<void>;
  close(): void;
}

export interface Sign {
  /** A part of the prompt was read. */
  progress(): void;
  /** A token came. */
  token(): void;
  /** The request is over; `error` it failed with. */
  end(error?: unknown): void;
}

interface State {
  waiting: number;
  /** The longest that those who wait may take to their first token. */
  patienceMs: number;
  lastSignMs: number;
  cancelWatch: (() => void) | undefined;
  lastProbeMs: number;
  probing: Promise<void> | undefined;
  stuck: string | undefined;
  cancelAgain: (() => void) | undefined;
}

/** A large model on a slow machine reads twenty tokens a second, after a page fault or two. */
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
    if (state.stuck !== undefined) log.warn(`${engine.id} gives tokens again`);
    forgive(engine);
  }

  function forgive(engine: Engine): void {
    const state = stateOf(engine);
    if (state.stuck === undefined) return;
    state.stuck = undefined;
    state.cancelAgain?.();
    parts.changed();
  }

  function markStuck(engine: Engine, why: string): void {
    const state = stateOf(engine);
    if (state.stuck === undefined) {
      log.warn(why);
      parts.changed();
    }
    state.stuck = why;
    state.cancelAgain?.();
    if (!isClosed) state.cancelAgain = timers.after(probeEveryMs, () => void suspect(engine, undefined));
  }

  /** Asks for a token; `otherwise`: what is taken to be true where no idle model can be asked. */
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
        // Nobody can be asked and nobody waits: the next request will tell.
        else forgive(engine);
      })
      .catch((error: unknown) => log.warn(`asking ${engine.id} for a token: ${String(error)}`))
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
    const orBusy = engine.kind === "ollama" ? ", or busy with another program" : "";
    const why = `${engine.id} answers, but has given no token for ${seconds} s: it is stuck${orBusy}`;
    void suspect(engine, why).then(() => {
      // Asked again after the next timeout.
      state.lastSignMs = timers.now();
      watch(engine);
    });
  }

  return {
    begin(engine, model, promptTokens) {
      if (engine.kind === "openai") return { progress: () => undefined, token: () => undefined, end: () => undefined };
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
          // Its process has answered, stopped computing or was ended: the next one is another.
          if (state.waiting === 0 && engine.kind === "llama-cpp") return forgive(engine);
          // Somebody's patience is often shorter than ours.
          const wasGivenUp = error instanceof Cancelled && !hasToken && timers.now() - begunMs >= givenUpMs;
          if (wasGivenUp || error instanceof EngineUnreachable || error instanceof GenerationFailed) {
            // It still holds its model, which then would not be idle.
            timers.after(afterFailureMs, () => void suspect(engine, undefined));
          }
        },
      };
    },
    problem: (engine) => states.get(engine)?.stuck,
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
