import type { DocumentFiles } from "../../storage/document-files.ts";
import type { Engine } from "../../engines/engine.ts";
import { createSizeCompletion } from "../../models/completed-sizes.ts";
import type { Inventory } from "../../models/inventory.ts";
import type { Log } from "../../api/log.ts";
import { withKeptLoadSeconds } from "./kept-load-seconds.ts";
import { createObservations, type Observations } from "./observations.ts";
import { createKeptLearning, type KeptLearning } from "./kept-learning.ts";

/** Observations of models, including those of earlier processes, and the correction of reported sizes. */
export interface Knowledge {
  readonly observations: Observations;
  /** Absent if nothing is saved. */
  readonly kept?: KeptLearning;
  readonly completed: ReturnType<typeof createSizeCompletion>;
  close(): Promise<void>;
}

export function createKnowledge(parts: {
  readonly files?: DocumentFiles;
  readonly engines: () => readonly Engine[];
  /** Called later: the inventory is created with the result. */
  readonly inventory: () => Inventory;
  readonly now: () => number;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Knowledge {
  const { files, engines, inventory, now, log } = parts;
  const completed = createSizeCompletion(inventory, parts.signal);
  const observed = createObservations(now);
  if (files === undefined) return { observations: observed, completed, close: () => Promise.resolve() };
  const kept = createKeptLearning({ files, log });
  const lastList = (engine: Engine) => inventory().lastList(engine);
  const observations = withKeptLoadSeconds(observed, { kept, engines, lastList });
  return { observations, kept, completed, close: kept.close };
}
