import type { Decisions } from "../decisions/decisions.ts";
import type { Generation } from "../engines/generation.ts";
import type { Estimates } from "../estimates/estimates.ts";
import { modelId } from "../inventory/model-id.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import type { MemoryDomain } from "../memory/domain.ts";
import { isPlentyFor } from "../memory/limits.ts";
import { formatBytes } from "../text/format-bytes.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";

/**
 * Caches for conversations that alternate on one model. A load makes one; another costs as much again, so it is granted
 * where one conversation came back to find its cache overwritten, and only while memory is plentiful.
 */
export interface MoreSequences {
  /** Before a request is sent; undefined leaves the engine at what it has. Call `release` when the request has ended. */
  grant(
    located: LocatedModel,
    contextTokens: number,
  ): Promise<{ readonly sequences: number; readonly release: () => void } | undefined>;
  /** Notes what an answer says of the cache. */
  answered(located: LocatedModel, generation: Pick<Generation, "recomputedTokens" | "sequences">): void;
}

/** An assistant that works on a file, and a conversation that interrupts it. */
const mostSequences = 2;
/** Computing so many tokens again takes longer than anyone notices with hardly any model. */
const fewTokens = 128;

export function createMoreSequences(parts: {
  readonly source: MemoryStateSource;
  /** Without asking an engine. */
  readonly quickEstimate: Estimates["quick"];
  readonly domainOf: (id: string) => MemoryDomain;
  readonly decisions: Decisions;
}): MoreSequences {
  const { source, quickEstimate, domainOf, decisions } = parts;
  /** Slots in which a conversation was computed again, with what was granted since. */
  const wanted = new Map<string, { readonly steps: readonly string[] } | undefined>();
  const slotOf = ({ engine, model }: LocatedModel) => source.inventory.runners.slotOf(modelId(engine.id, model.name));

  return {
    async grant(located, contextTokens) {
      const { engine, model } = located;
      const slot = slotOf(located);
      if (!wanted.has(slot)) return undefined;
      const { parts: bytes } = quickEstimate(model, { engine, contextTokens });
      const state = bytes && (await readMemoryState(source, engine));
      if (bytes === undefined || state === undefined) return undefined;
      const needed = bytes.cacheBytes + (bytes.stateBytes ?? 0) + bytes.computeBytes;
      if (!isPlentyFor(needed, state)) return undefined;
      const steps = [
        "a conversation came back to find its cache overwritten by another",
        `memory is plentiful: ${formatBytes(needed)} more for a second cache`,
      ];
      wanted.set(slot, { steps });
      const release = domainOf(engine.memoryDomain).reserve(modelId(engine.id, model.name), { ramBytes: needed });
      return { sequences: mostSequences, release };
    },
    answered(located, { recomputedTokens = 0, sequences = 1 }) {
      const { engine, model } = located;
      const slot = slotOf(located);
      const granted = wanted.get(slot);
      if (granted !== undefined && sequences === mostSequences) {
        decisions.note({ kind: "load", model: model.name, engine: engine.id, steps: granted.steps });
      }
      if (sequences >= mostSequences) wanted.delete(slot);
      else if (recomputedTokens > fewTokens && granted === undefined) wanted.set(slot, undefined);
    },
  };
}
