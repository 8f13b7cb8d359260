import { createBoundedMap } from "../async/bounded-map.ts";
import { LoadFailed } from "../errors.ts";
import type { ModelFacts } from "../types.ts";
import type { ModelReference } from "./located-model.ts";
import type { Runners } from "./runners.ts";

/** What engines said of their models, remembered; see `Inventory.facts`. */
export interface KnownFacts {
  of(where: ModelReference, signal: AbortSignal): Promise<ModelFacts>;
  /** Without asking. */
  known(where: ModelReference): ModelFacts | undefined;
  /** What could not be read may be readable now. */
  forgetUnreadable(): void;
}

/** A file that could not be read is left alone for so long: every choice of a model asks for the facts of all. */
const unreadableMs = 60_000;

/**
 * Of all facts together, as JSON: a model's have some 2,000 characters, and a hostile engine's as many as it likes. What
 * is forgotten is asked for anew.
 */
const maxCharacters = 8 * 1024 ** 2;

/** `ageMs`: since a time, never negative. */
export function createKnownFacts(
  runners: Pick<Runners, "note">,
  now: () => number,
  ageMs: (atMs: number) => number,
): KnownFacts {
  const facts = createBoundedMap<ModelFacts>(maxCharacters);
  const unreadable = new Map<string, { readonly error: LoadFailed; readonly atMs: number }>();
  return {
    async of(where, signal) {
      const { engine, model } = where;
      const key = keyOf(where);
      const known = facts.get(key);
      if (known !== undefined) {
        // The same weights may be back under a name that was forgotten.
        runners.note(engine, model.name, known);
        return known;
      }
      const failure = unreadable.get(key);
      if (failure !== undefined && ageMs(failure.atMs) < unreadableMs) throw failure.error;
      try {
        const described = await engine.describe(model.name, signal);
        facts.set(key, described);
        runners.note(engine, model.name, described);
        return described;
      } catch (error) {
        if (error instanceof LoadFailed) unreadable.set(key, { error, atMs: now() });
        throw error;
      }
    },
    known: (where) => facts.peek(keyOf(where)),
    forgetUnreadable: () => unreadable.clear(),
  };
}

function keyOf({ engine, model }: ModelReference): string {
  // The embedded engine's digest is that of the weights: a model that was made anew of the same ones has another time.
  return `${engine.id}/${model.name}/${model.digest ?? ""}/${model.modifiedAt ?? ""}`;
}
