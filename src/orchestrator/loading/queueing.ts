import type { LoadOptions, Report } from "../engines/engine.ts";
import type { LoadResult } from "../facade.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import { type LoadTarget, type MemoryState, planLoad } from "../memory/plan.ts";
import { allIdle, isOfTarget, withoutReservations } from "../memory/state.ts";
import type { ResidentModel } from "../types.ts";
import type { Lease } from "./leases.ts";

/** Whose turn it is. */
export interface Asker {
  /** Callers take turns: `id` of the caller's context. */
  readonly caller: string;
  /** What nobody waits for in front of a screen: preloads, comparisons. Goes after everything else. */
  readonly isBackground: boolean;
}

/** Loads when it is the asker's turn; for a loaded model it only restarts its keep-alive. */
export type TakeTurn = (
  located: LocatedModel,
  options: LoadOptions,
  asker: Asker,
  report: Report,
  signal: AbortSignal,
) => Promise<LoadResult>;

/** What the queue needs of the loader. */
export interface LoaderQueueing {
  /** As it was last looked at, at most a minute ago. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  /** Takes a lease if the model is loaded with at least `contextTokens`; nothing is waited for but a list. */
  useResident(
    located: LocatedModel,
    contextTokens: number | undefined,
  ): Promise<(Lease & { readonly resident: ResidentModel }) | undefined>;
  /** Protects a model that was loaded this very moment. */
  lease(id: string): Lease;
  /** Makes room and loads, without asking whose turn it is. */
  loadNow(located: LocatedModel, options: LoadOptions, report: Report, signal: AbortSignal): Promise<LoadResult>;
  /** Ids of what a load would evict; see `victimsOf`. */
  wouldEvict(located: LocatedModel, contextTokens: number): Promise<readonly string[]>;
  usesOf(id: string): number;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  lossSeconds(located: LocatedModel): number | undefined;
}

/**
 * Ids of what has to go for a load, itself not counted: idle models if that does, else what would go if all were idle.
 * Nothing where nothing helps: whoever tries it is told why.
 */
export function victimsOf(target: LoadTarget, state: MemoryState): readonly string[] {
  const now = planLoad(target, state);
  const { evict } = now.fits ? now : planLoad(target, withoutReservations(allIdle(state)));
  const replaced = state.resident.filter((entry) => isOfTarget(entry, target));
  return evict
    .filter(({ name, engine }) => !replaced.some((entry) => entry.name === name && entry.engine === engine))
    .map(({ name, engine }) => modelId(engine, name));
}
