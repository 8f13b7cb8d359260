import type { Timers } from "../async/timers.ts";
import type { Decisions } from "../decisions/decisions.ts";
import type { Log } from "../log.ts";
import type { BackgroundLoader } from "./background-loader.ts";

/** Loads models at the start. */
export interface Preload {
  /** Begins; an engine that doesn't answer yet is asked again for a while. Never throws. */
  run(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** After daemons that died again and again, perhaps of one of them: none is loaded, and that is said. */
  leaveOut(names: readonly string[]): void;
}

/** Ollama may be started by the same login, which also has much to do for a while. */
const againMs = 30_000;
const tries = 40;

export function createPreload(parts: {
  readonly backgroundLoader: BackgroundLoader;
  readonly decisions: Decisions;
  readonly timers: Timers;
  readonly log: Log;
}): Preload {
  const { backgroundLoader, decisions, timers, log } = parts;
  const because = "model.keepAlive.preload names it";

  async function load(name: string, signal: AbortSignal): Promise<void> {
    for (let left = tries; left > 0 && !signal.aborted; left -= 1) {
      const outcome = await backgroundLoader.load(name, { because }, signal);
      if (outcome.isLoaded) return;
      if (!outcome.isWorthAnotherTry || left === 1) {
        log.warn(`preload ${name}: ${outcome.why}`);
        return;
      }
      if (left === tries) {
        log.info(`preload ${name}: ${outcome.why}`);
        const steps = [because, outcome.why, `tried again every ${againMs / 1_000} s`];
        decisions.note({ kind: "preload", model: name, engine: "", steps });
      }
      await pause(timers, againMs, signal);
    }
  }

  return {
    async run(names, signal) {
      // One after the other: each must see what the one before it left.
      for (const name of names) await load(name, signal);
    },
    leaveOut(names) {
      for (const name of names) {
        const steps = [because, "not loaded: the daemons before this one died again and again (a safe start)"];
        decisions.note({ kind: "preload", model: name, engine: "", steps });
      }
      if (names.length > 0) log.warn(`a safe start: ${names.join(", ")} is not preloaded`);
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
