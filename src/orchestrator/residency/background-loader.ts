import { EngineUnreachable, OrchestratorError, UnknownModel } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { takesNoMemory } from "../catalog/located-model.ts";
import type { Timers } from "../util/timers.ts";
import type { Decisions } from "./decisions.ts";
import type { LoadOperations } from "./request-queues.ts";
import type { Plans } from "./plans.ts";

/** Background loads (preloads, lost pins), which evict nothing and install nothing. */
export interface BackgroundLoader {
  /** Never throws. Without `contextTokens` the model gets the context that a request would give it now. */
  load(
    name: string,
    options: { readonly because: string; readonly contextTokens?: number; readonly engineId?: string },
    signal: AbortSignal,
  ): Promise<BackgroundLoadOutcome>;
}

type BackgroundLoadOutcome =
  | { readonly isLoaded: true }
  /** `isWorthAnotherTry`: the engine is unreachable, or the machine is under pressure. */
  | { readonly isLoaded: false; readonly isWorthAnotherTry: boolean; readonly why: string };

const background = { caller: "preload", isBackground: true };

export function createBackgroundLoader(parts: {
  readonly inventory: Pick<Inventory, "locate" | "recentLists">;
  readonly plans: Pick<Plans, "of">;
  readonly loads: LoadOperations;
  /** The context that a request would load the model with. Throws what `Inventory.locate` throws. */
  readonly contextTokensOf: (name: string, signal: AbortSignal) => Promise<number>;
  readonly decisions: Decisions;
}): BackgroundLoader {
  const { inventory, plans, loads, decisions } = parts;
  return {
    async load(name, { because, engineId, contextTokens: given }, signal) {
      const leftOut = (why: string, engine: string, isWorthAnotherTry = false): BackgroundLoadOutcome => {
        if (!isWorthAnotherTry) decisions.note({ kind: "preload", model: name, engine, steps: [because, why] });
        return { isLoaded: false, isWorthAnotherTry, why };
      };
      try {
        const [located] = await inventory.locate(name, engineId);
        if (located === undefined || takesNoMemory(located))
          return leftOut("not loaded: it uses no memory here", engineId ?? "");
        const { engine, model } = located;
        const contextTokens = given ?? (await parts.contextTokensOf(name, signal));
        const plan = await plans.of(located, contextTokens, signal, 0);
        if (plan.isLoaded) return { isLoaded: true };
        if (!plan.fits || plan.evict.length > 0) {
          const what = plan.fits
            ? `it would evict ${plan.evict.map((each) => each.name).join(", ")}`
            : "it does not fit now";
          return leftOut(`not loaded: ${what}`, engine.id);
        }
        // The machine is swapping or its CPU is busy: requests go first.
        if (plan.warnings !== undefined) return leftOut(`not loaded yet: ${plan.warnings.join("; ")}`, engine.id, true);
        decisions.note({
          kind: "preload",
          model: model.name,
          engine: engine.id,
          steps: [because, ...plan.steps],
          plan,
        });
        await loads.start(located, { contextTokens }, false, background).follow(signal);
        return { isLoaded: true };
      } catch (error) {
        if (!(error instanceof OrchestratorError)) throw error;
        // An engine whose list could not be read may still hold the model.
        const lists = await inventory.recentLists();
        const isUnresponsive = lists.some(
          ({ engine, message, isUnmentioned = false }) =>
            (message !== undefined || isUnmentioned) && (engineId ?? engine.id) === engine.id,
        );
        const isDown = error instanceof EngineUnreachable || (error instanceof UnknownModel && isUnresponsive);
        return leftOut(`not loaded: ${error.message}`, engineId ?? "", isDown);
      }
    },
  };
}

/** Loads the models of `model.keepAlive.preload` at the start. */
interface Preload {
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
