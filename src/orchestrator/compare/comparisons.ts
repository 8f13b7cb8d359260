import type { DocumentFiles } from "../documents/files.ts";
import type { Comparisons, Preference } from "../facade-compare.ts";
import type { Task } from "../facade.ts";
import type { GenerationWorld } from "../generation/runner.ts";
import type { Operations } from "../operations/operations.ts";

export interface ComparisonParts {
  /** Its clock, log, engines, loader and queues. */
  readonly world: GenerationWorld;
  readonly operations: Operations;
  readonly files?: DocumentFiles;
}

export interface ComparisonsWithPreferences extends Comparisons {
  /** What the user prefers for the task; undefined before any was picked. */
  preferred(task: Task): Promise<Preference | undefined>;
  close(): Promise<void>;
}

export function createComparisons(parts: ComparisonParts): ComparisonsWithPreferences {
  parts.world.log.debug("comparisons: not built yet");
  const unbuilt = () => Promise.reject(new Error("comparisons: not built yet"));
  return {
    compare: unbuilt,
    get: unbuilt,
    list: unbuilt,
    pick: unbuilt,
    preferences: unbuilt,
    undo: unbuilt,
    preferred: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
  };
}
