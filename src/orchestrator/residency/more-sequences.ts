import type { Generation } from "../engines/generation.ts";
import { isPlentyFor } from "../memory/limits.ts";
import type { Estimates } from "../memory/measure/estimates.ts";
import { type LocatedModel, modelId } from "../models/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { Decisions } from "./decisions.ts";
import type { Plans } from "./plans.ts";
import type { Slots } from "./slots.ts";

/**
 * A second cache for conversations that alternate on one model. A load allocates one cache; a second one costs the same
 * again, so it is granted only after the cache of a conversation was overwritten by another, and while memory is
 * plentiful.
 */
export interface MoreSequences {
  /** Call before a request is sent; undefined: no change. Call `release` when the request has ended. */
  grant(
    located: LocatedModel,
    contextTokens: number,
  ): Promise<{ readonly sequences: number; readonly release: () => void } | undefined>;
  /** Records what an answer reports about the cache. */
  answered(located: LocatedModel, generation: Pick<Generation, "recomputedTokens" | "sequences">): void;
}

/** For an assistant at work and one conversation that interrupts it. */
const maxSequences = 2;
/** Recomputing this many tokens is not noticeable. */
const fewTokens = 128;

export function createMoreSequences(parts: {
  readonly plans: Plans;
  readonly slots: Slots;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly decisions: Decisions;
}): MoreSequences {
  const { plans, slots, quickEstimate, decisions } = parts;
  /** Slots in which a cache was overwritten, with the steps of the grant once there is one. */
  const wanted = new Map<string, { readonly steps: readonly string[] } | undefined>();
  const slotOf = (located: LocatedModel) => slots.at(located).key;

  return {
    async grant(located, contextTokens) {
      const { engine, model } = located;
      const slot = slotOf(located);
      if (!wanted.has(slot)) return undefined;
      const { parts: bytes } = quickEstimate(model, { engine, contextTokens });
      const state = bytes && (await plans.state(engine));
      if (bytes === undefined || state === undefined) return undefined;
      const needed = bytes.cacheBytes + (bytes.stateBytes ?? 0) + bytes.computeBytes;
      if (!isPlentyFor(needed, state)) return undefined;
      const steps = [
        "the cache of a conversation was overwritten by another conversation",
        `memory is plentiful: ${formatBytes(needed)} granted for a second cache`,
      ];
      wanted.set(slot, { steps });
      const release = plans
        .reservations(engine.memoryDomain)
        .reserve(modelId(engine.id, model.name), { ramBytes: needed });
      return { sequences: maxSequences, release };
    },
    answered(located, { recomputedTokens = 0, sequences = 1 }) {
      const { engine, model } = located;
      const slot = slotOf(located);
      const granted = wanted.get(slot);
      if (granted !== undefined && sequences === maxSequences) {
        decisions.note({ kind: "load", model: model.name, engine: engine.id, steps: granted.steps });
      }
      if (sequences >= maxSequences) wanted.delete(slot);
      else if (recomputedTokens > fewTokens && granted === undefined) wanted.set(slot, undefined);
    },
  };
}
