import type { Engine } from "../engines/engine.ts";
import type { InstalledModel } from "../api/types.ts";

/** The known models of one engine. */
export interface EngineModels {
  readonly engine: Engine;
  readonly models: readonly InstalledModel[];
  /**
   * ISO 8601; set while the engine does not respond and `models` is the last known list (or empty if there is none).
   */
  readonly staleSince?: string;
  /** Why it does not respond, or, without `staleSince`, why it is considered stuck. */
  readonly message?: string;
  /** It does not respond and is not expected to (`ExpectedEngines`): there is no `message`, so that nothing mentions it. */
  readonly isUnmentioned?: true;
}

/** A model on the engine that serves it. */
export interface LocatedModel {
  readonly engine: Engine;
  readonly model: InstalledModel;
}

/**
 * Whether the model is a cloud model that its engine only forwards to, and that is never loaded. Models of an engine on
 * another machine do use that machine's memory.
 */
export function takesNoMemory({ engine, model }: LocatedModel): boolean {
  return model.trust === "remote" && (engine.trust === "local" || model.sizeBytes === 0);
}

/** Identifies a model of an engine and its version. */
export interface ModelReference {
  readonly engine: Engine;
  readonly model: Pick<InstalledModel, "name" | "digest" | "modifiedAt">;
}
