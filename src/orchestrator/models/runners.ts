import type { ModelFacts } from "../api/types.ts";
import type { Engine, ModelProcess } from "../engines/engine.ts";
import { keyOfName } from "../util/model-name.ts";
import { modelId } from "./located-model.ts";

/**
 * Which names an engine serves with one process (`LoadRules.processOf`). Ollama runs one process per file of weights: a
 * request by another name of the same file is served by it, or replaces it if adapters or runner options differ.
 */
export interface Runners {
  /** Records the facts of a model. */
  note(engine: Engine, name: string, facts: ModelFacts): void;
  /** The name of this `modelId` may refer to other weights now, or to none. */
  forget(id: string): void;
  /** The slot of a `modelId`: equal for models of which only one can be loaded at a time. The id itself if unknown. */
  slotOf(id: string): string;
  /** All known names that the process of this name serves, this one first. */
  namesOf(engine: Pick<Engine, "id">, name: string): readonly string[];
}

interface Known extends ModelProcess {
  readonly engineId: string;
  readonly name: string;
  readonly facts: ModelFacts;
}

export function createRunners(): Runners {
  const known = new Map<string, Known>();
  return {
    note(engine, name, facts) {
      const id = modelId(engine.id, name);
      if (known.get(id)?.facts === facts) return;
      const process = engine.residency?.processOf(facts);
      if (process === undefined) return void known.delete(id);
      const { runner, slot } = process;
      known.set(id, { engineId: engine.id, name, slot: `${engine.id} ${slot}`, runner, facts });
    },
    forget: (id) => void known.delete(id),
    slotOf: (id) => known.get(id)?.slot ?? id,
    namesOf({ id: engineId }, name) {
      const own = known.get(modelId(engineId, name));
      if (own === undefined) return [name];
      const all = [...known.values()].filter((other) => other.engineId === engineId && other.runner === own.runner);
      return [name, ...all.map((other) => other.name).filter((other) => keyOfName(other) !== keyOfName(name))];
    },
  };
}
