import type { Generation } from "../engines/generation.ts";
import { isFreeFor, isPlentyFor } from "../memory/limits.ts";
import type { Estimates } from "./estimates.ts";
import { type LocatedModel, modelId } from "../catalog/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import type { Emit } from "../api/events.ts";
import type { Plans } from "./plans.ts";
import type { Slots } from "./slots.ts";

/**
 * A second cache of a model. A load allocates one cache; a second one costs the same again, so it is granted only after
 * the cache of a conversation was overwritten by another, while memory is plentiful, and to a request beside a paused
 * one, which keeps its cache, if memory is free.
 */
export type MoreSequences = ReturnType<typeof createMoreSequences>;

/** For an assistant at work and one conversation that interrupts it. */
const maxSequences = 2;
/** Recomputing this many tokens is not noticeable. */
const fewTokens = 128;

export function createMoreSequences(parts: {
  readonly plans: Plans;
  readonly slots: Slots;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly emit: Emit;
}) {
  const { plans, slots, quickEstimate, emit } = parts;
  /** Slots in which a cache was overwritten, with the steps of the grant once there is one. */
  const wanted = new Map<string, { readonly steps: readonly string[] } | undefined>();

  /** The bytes of a second cache if there is room for it. */
  async function room({ engine, model }: LocatedModel, contextTokens: number, isRoom: typeof isFreeFor) {
    const { parts: bytes } = quickEstimate(model, { engine, contextTokens });
    const state = bytes && (await plans.state(engine));
    if (bytes === undefined || state === undefined) return undefined;
    const needed = bytes.cacheBytes + (bytes.stateBytes ?? 0) + bytes.computeBytes;
    return isRoom(needed, state) ? needed : undefined;
  }

  return {
    /** Whether `grant` has a cache for a request beside a paused one. */
    async hasRoomBeside(located: LocatedModel, contextTokens: number): Promise<boolean> {
      if (slots.at(located).sequences >= maxSequences) return true;
      return (await room(located, contextTokens, isFreeFor)) !== undefined;
    },
    /**
     * Call before a request is sent; undefined: no change. Call `release` when the request has ended. `isBesidePaused`:
     * another request of the model is paused for it.
     */
    async grant(
      located: LocatedModel,
      contextTokens: number,
      isBesidePaused: boolean,
    ): Promise<{ readonly sequences: number; readonly release: () => void } | undefined> {
      const { engine, model } = located;
      const { key: slot, sequences } = slots.at(located);
      if (isBesidePaused && sequences >= maxSequences) return { sequences, release: () => undefined };
      if (!wanted.has(slot) && !isBesidePaused) return undefined;
      const needed = await room(located, contextTokens, isBesidePaused ? isFreeFor : isPlentyFor);
      if (needed === undefined) return undefined;
      const steps = isBesidePaused
        ? [
            "a background answer of the model was paused for another request, and keeps its cache",
            `memory is free: ${formatBytes(needed)} granted for a second cache`,
          ]
        : [
            "the cache of a conversation was overwritten by another conversation",
            `memory is plentiful: ${formatBytes(needed)} granted for a second cache`,
          ];
      wanted.set(slot, { steps });
      slots.changes += 1;
      const release = plans
        .reservations(engine.memoryDomain)
        .reserve(modelId(engine.id, model.name), { ramBytes: needed });
      return { sequences: maxSequences, release };
    },
    /** Records what an answer reports about the cache. */
    answered(
      located: LocatedModel,
      { recomputedTokens = 0, sequences = 1 }: Pick<Generation, "recomputedTokens" | "sequences">,
    ) {
      const { engine, model } = located;
      const found = slots.at(located);
      const { key: slot } = found;
      found.sequences = sequences;
      const granted = wanted.get(slot);
      if (granted !== undefined && sequences === maxSequences) {
        emit({
          kind: "decision taken",
          decision: { kind: "load", model: model.name, engine: engine.id, steps: granted.steps },
        });
      }
      if (sequences >= maxSequences) wanted.delete(slot);
      else if (recomputedTokens > fewTokens && granted === undefined) wanted.set(slot, undefined);
    },
  };
}
