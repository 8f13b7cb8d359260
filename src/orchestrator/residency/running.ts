import type { LocatedModel } from "../models/located-model.ts";
import type { QueueWorld } from "./queue-world.ts";

/** A model with active answers. */
export interface RunningModel {
  readonly located: LocatedModel;
  readonly count: number;
}

/** The active answers of one queue. */
export interface Running {
  readonly models: ReadonlyMap<string, RunningModel>;
  /** By caller. */
  readonly callers: ReadonlyMap<string, number>;
  /** When the last answer of each caller ended; older ones are dropped. */
  readonly answeredMs: ReadonlyMap<string, number>;
  /** Number of active answers of the model. */
  of(id: string): number;
  /** Whether the model, and the embedded slots if it needs one, have room for one more. */
  hasFreeSlot(id: string, located: LocatedModel): boolean;
  /** An answer begins. The returned function ends it; call it once. */
  begin(id: string, located: LocatedModel, caller: string): () => void;
}

/** Longer than `nextToServe` waits for a caller to return. */
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
