import type { Timers } from "../util/timers.ts";
import type { Decisions } from "./decisions.ts";
import type { Log } from "../api/log.ts";
import type { BackgroundLoader } from "./background-loader.ts";

/** Loads the models of `model.keepAlive.preload` at the start. */
export interface Preload {
  /** Loads one after the other; retries for a while if an engine doesn't respond yet. Never throws. */
  run(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Records that none is loaded: after repeated crashes of the daemon, which one of them may have caused. */
  leaveOut(names: readonly string[]): void;
}

/** Ollama may be starting at the same login, which keeps the machine busy for a while. */
const againMs = 30_000;
const tries = 40;

export function createPreload(parts: {
  readonly backgroundLoader: BackgroundLoader;
  readonly decisions: Decisions;
  readonly timers: Timers;
  readonly log: Log;
}): Preload {
  const { backgroundLoader, decisions, timers, log } = parts;
  const because = "listed in model.keepAlive.preload";

  async function load(name: string, signal: AbortSignal): Promise<void> {
    for (let left = tries; left > 0 && !signal.aborted; left -= 1) {
      const outcome = await backgroundLoader.load(name, { because }, signal);
      if (outcome.isLoaded) return;
      if (!outcome.isWorthAnotherTry || left === 1) {
        log.warn(`preload: ${name}: ${outcome.why}`);
        return;
      }
      if (left === tries) {
        log.info(`preload: ${name}: ${outcome.why}`);
        const steps = [because, outcome.why, `retried every ${againMs / 1_000} s`];
        decisions.note({ kind: "preload", model: name, engine: "", steps });
      }
      await pause(timers, againMs, signal);
    }
  }

  return {
    async run(names, signal) {
      // In sequence: each plan must include the loads before it.
      for (const name of names) await load(name, signal);
    },
    leaveOut(names) {
      for (const name of names) {
        const steps = [because, "not loaded: safe start after repeated crashes of the daemon"];
        decisions.note({ kind: "preload", model: name, engine: "", steps });
      }
      if (names.length > 0) log.warn(`preload: safe start, not loaded: ${names.join(", ")}`);
    },
  };
}

function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = timers.after(ms, end);
    signal.addEventListener("abort", end, { once: true });
  });
}
