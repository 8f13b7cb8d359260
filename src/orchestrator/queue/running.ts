import type { LocatedModel } from "../inventory/located-model.ts";
import type { QueueWorld } from "./queue-world.ts";

/** A model with answers under way. */
export interface RunningModel {
  readonly located: LocatedModel;
  readonly count: number;
}

/** Answers under way in one queue. */
export interface Running {
  readonly models: ReadonlyMap<string, RunningModel>;
  /** By caller. */
  readonly callers: ReadonlyMap<string, number>;
  /** When the last answer of each caller ended; only those of this moment and the one before. */
  readonly answeredMs: ReadonlyMap<string, number>;
  /** How many the model answers now. */
  of(id: string): number;
  /** Whether the model, and the cores if it takes ours, could take one more. */
  hasFreeSlot(id: string, located: LocatedModel): boolean;
  /** Another one begins; the answer ends it, and is to be called once. */
  begin(id: string, located: LocatedModel, caller: string): () => void;
}

/** Longer than `nextToServe` waits for anybody to come again. */
const rememberedMs = 1_000;

export function createRunning({
  embeddedSlots,
  maxParallel,
  hasOwnThreads,
  timers,
}: Pick<QueueWorld, "embeddedSlots" | "maxParallel" | "hasOwnThreads" | "timers">): Running {
  const models = new Map<string, RunningModel>();
  const callers = new Map<string, number>();
  const answeredMs = new Map<string, number>();
  const of = (id: string) => models.get(id)?.count ?? 0;

  function change(id: string, located: LocatedModel, caller: string, by: 1 | -1): void {
    const count = of(id) + by;
    if (count > 0) models.set(id, { located, count });
    else models.delete(id);
    const ofCaller = (callers.get(caller) ?? 0) + by;
    if (ofCaller > 0) callers.set(caller, ofCaller);
    else callers.delete(caller);
  }

  return {
    models,
    callers,
    answeredMs,
    of,
    hasFreeSlot(id, located) {
      if (of(id) >= maxParallel(located)) return false;
      if (hasOwnThreads(located)) return true;
      const sharing = [...models.values()].filter((each) => !hasOwnThreads(each.located));
      return sharing.reduce((sum, { count }) => sum + count, 0) < embeddedSlots;
    },
    begin(id, located, caller) {
      change(id, located, caller, 1);
      return () => {
        change(id, located, caller, -1);
        const nowMs = timers.now();
        for (const [other, atMs] of answeredMs) if (atMs < nowMs - rememberedMs) answeredMs.delete(other);
        answeredMs.set(caller, nowMs);
      };
    },
  };
}
