import type { Decisions } from "./decisions.ts";
import { EngineUnreachable, OrchestratorError, UnknownModel } from "../api/errors.ts";
import type { Inventory } from "../models/inventory.ts";
import { takesNoMemory } from "../models/located-model.ts";
import type { Loader } from "./loader.ts";

/** Background loads (preloads, lost pins), which evict nothing and install nothing. */
export interface BackgroundLoader {
  /** Never throws. Without `contextTokens` the model gets the context that a request would give it now. */
  load(
    name: string,
    options: { readonly because: string; readonly contextTokens?: number; readonly engineId?: string },
    signal: AbortSignal,
  ): Promise<BackgroundLoadOutcome>;
}

export type BackgroundLoadOutcome =
  | { readonly isLoaded: true }
  /** `isWorthAnotherTry`: the engine is unreachable, or the machine is under pressure. */
  | { readonly isLoaded: false; readonly isWorthAnotherTry: boolean; readonly why: string };

const background = { caller: "preload", isBackground: true };

export function createBackgroundLoader(parts: {
  readonly inventory: Pick<Inventory, "locate" | "recentLists">;
  readonly loader: Pick<Loader, "plan" | "load">;
  /** The context that a request would load the model with. Throws what `Inventory.locate` throws. */
  readonly contextTokensOf: (name: string, signal: AbortSignal) => Promise<number>;
  readonly decisions: Decisions;
}): BackgroundLoader {
  const { inventory, loader, decisions } = parts;
  return {
    async load(name, { because, engineId, contextTokens: given }, signal) {
      const leftOut = (why: string, engine: string, isWorthAnotherTry = false): BackgroundLoadOutcome => {
        if (!isWorthAnotherTry) decisions.note({ kind: "preload", model: name, engine, steps: [because, why] });
        return { isLoaded: false, isWorthAnotherTry, why };
      };
      try {
        const [located] = await inventory.locate(name, engineId);
        if (located === undefined || takesNoMemory(located))
          return leftOut("not loaded: cloud models use no memory here", engineId ?? "");
        const { engine, model } = located;
        const contextTokens = given ?? (await parts.contextTokensOf(name, signal));
        const plan = await loader.plan(located, contextTokens, signal, 0);
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
        await loader.load(located, { contextTokens }, false, background).follow(signal);
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
