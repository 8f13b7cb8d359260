import type { Engine } from "../engines/engine.ts";
import type { InstalledModel } from "../types.ts";

/** What one engine holds, as far as known. */
export interface EngineModels {
  readonly engine: Engine;
  readonly models: readonly InstalledModel[];
  /** ISO 8601; set while the engine does not answer and `models` is remembered (or, never seen, empty). */
  readonly staleSince?: string;
  /** Why it does not answer, or, without `staleSince`, why it is not to be asked for tokens. */
  readonly message?: string;
}

/** A model on the engine that serves it. */
export interface LocatedModel {
  readonly engine: Engine;
  readonly model: InstalledModel;
}

/** A cloud model that its engine only passes on: it can't be loaded. On another machine models do take its memory. */
export function takesNoMemory({ engine, model }: LocatedModel): boolean {
  return model.trust === "remote" && (engine.trust === "local" || model.sizeBytes === 0);
}

/** Which model of which engine. */
export interface ModelReference {
  readonly engine: Engine;
  readonly model: Pick<InstalledModel, "name" | "digest" | "modifiedAt">;
}
