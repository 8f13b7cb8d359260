import type { ModelFacts } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { keyOfName } from "../util/model-name.ts";
import { modelId } from "./located-model.ts";

/**
 * Which names an engine serves with one process. Ollama runs one process per file of weights (`server/sched.go`): a
 * request by another name of the same file is served by it, or replaces it if adapters or runner options differ. The
 * embedded engine runs one process per file of weights and adapters, regardless of options.
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

interface Known {
  readonly engineId: string;
  readonly name: string;
  readonly slot: string;
  readonly runner: string;
}

export function createRunners(): Runners {
  const known = new Map<string, Known>();
  return {
    note(engine, name, facts) {
      const runner = runnerOf(engine, facts);
      const id = modelId(engine.id, name);
      if (runner === undefined) return void known.delete(id);
      const slot = engine.kind === "llama-cpp" ? runner : `sha256:${facts.weightsDigest}`;
      known.set(id, { engineId: engine.id, name, slot: `${engine.id} ${slot}`, runner });
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

/** Options of Ollama's `Runner` that a model can set; the context is part of every request. */
const runnerOptions = ["num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"];

/** Equal for models that one process serves with the same context; undefined if that is unknown. */
export function runnerOf(engine: Pick<Engine, "kind">, facts: ModelFacts | undefined): string | undefined {
  if (facts?.weightsDigest === undefined) return undefined;
  const { weightsDigest, attachedDigests = [], parameters = {} } = facts;
  if (engine.kind === "llama-cpp") return JSON.stringify([weightsDigest, attachedDigests]);
  return JSON.stringify([weightsDigest, attachedDigests, runnerOptions.map((option) => parameters[option] ?? null)]);
}
