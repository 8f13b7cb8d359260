import type { LoadResult } from "../api/facade.ts";
import type { ResidentModel } from "../api/types.ts";
import type { LoadOptions, Report } from "../engines/engine.ts";
import { type LoadTarget, type MemoryState, planLoad } from "../memory/plan.ts";
import { allIdle, isOfTarget, withoutReservations } from "../memory/state.ts";
import { type LocatedModel, modelId } from "../models/located-model.ts";
import type { Lease } from "./leases.ts";

/** The caller of a request, for the order of the queue. */
export interface Requester {
  /** `id` of the caller's context; callers take turns. */
  readonly caller: string;
  /** Served after all other requests: preloads, comparisons. */
  readonly isBackground: boolean;
}

/** Loads when it is the requester's turn; for a loaded model only restarts its keep-alive. */
export type TakeTurn = (
  located: LocatedModel,
  options: LoadOptions,
  requester: Requester,
  report: Report,
  signal: AbortSignal,
) => Promise<LoadResult>;

/** The part of the loader that the queue uses. */
export interface LoaderQueueing {
  /** At most a minute old. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  /** Takes a lease if the model is loaded with at least `contextTokens`; waits only for the engine's list. */
  useResident(
    located: LocatedModel,
    contextTokens: number | undefined,
  ): Promise<(Lease & { readonly resident: ResidentModel }) | undefined>;
  /** Protects a model that was just loaded. */
  lease(id: string): Lease;
  /** Makes room and loads, without queueing. */
  loadNow(located: LocatedModel, options: LoadOptions, report: Report, signal: AbortSignal): Promise<LoadResult>;
  /** Ids of the models that a load would evict; see `victimsOf`. */
  wouldEvict(located: LocatedModel, contextTokens: number): Promise<readonly string[]>;
  usesOf(id: string): number;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  lossSeconds(located: LocatedModel): number | undefined;
}

/**
 * Ids of the other models that a load would evict: idle models if they suffice, else what it would evict if
 * all models were idle. Empty if no eviction helps: the load itself reports why.
 */
export function victimsOf(target: LoadTarget, state: MemoryState): readonly string[] {
  const now = planLoad(target, state);
  const { evict } = now.fits ? now : planLoad(target, withoutReservations(allIdle(state)));
  const replaced = state.resident.filter((entry) => isOfTarget(entry, target));
  return evict
    .filter(({ name, engine }) => !replaced.some((entry) => entry.name === name && entry.engine === engine))
    .map(({ name, engine }) => modelId(engine, name));
}
