import type { LoadPlan, RamStatus } from "../api/facade-status.ts";
import type { PromptTokens } from "../api/types.ts";
import { formatBytes } from "../util/format-bytes.ts";

/** A model in memory at one moment, as plain data: what plans, maintenance and pages read of its slot. */
export interface SlotView {
  readonly name: string;
  readonly engine: string;
  /** Equal for models of which only one can be loaded at a time (`ModelSlot.key`); absent: identified by its name. */
  readonly slot?: string;
  /** All that it occupies, including file-mapped bytes and memory of graphics cards. */
  readonly sizeBytes: number;
  /** The part of `sizeBytes` on graphics cards; which of several is not known. */
  readonly vramBytes?: number;
  /** The file-mapped part of `sizeBytes`, which MemAvailable counts as available although it isn't. */
  readonly mappedBytes: number;
  /** The size that its engine reports, if that is incomplete. */
  readonly reportedBytes?: number | undefined;
  /** As its engine reports it. */
  readonly contextTokens?: number | undefined;
  readonly lastPrompt?: PromptTokens | undefined;
  /** Serving or loading: not evicted. */
  readonly isBusy: boolean;
  /** Not evicted. */
  readonly isPinned: boolean;
  /** The expected cost of evicting it (`expectedLossSeconds` of the policy), or its load time. */
  readonly reloadSeconds?: number;
  readonly lastUsedMs: number;
  /** Loaded or used by another program: evicted last. */
  readonly isForeign: boolean;
  /** End of its keep-alive as its engine writes it, and in milliseconds since the epoch; absent if it doesn't report it. */
  readonly expiresAt?: string | undefined;
  readonly expiresAtMs?: number | undefined;
  /** Keep-alive last sent to its engine, in seconds; negative: never unloaded. */
  readonly sentSeconds?: number | undefined;
  /** When its keep-alive last restarted. */
  readonly lastActivityMs?: number;
  /** Requests wait for it: evicted after models without waiting requests. */
  readonly isAwaited?: boolean;
  /** Its unload was not confirmed: it is not evicted again for a while, and its memory counts as taken. */
  readonly hasUnconfirmedUnload?: boolean;
  /** Memory of the cards that was free after its load: Ollama never takes more for free while it is loaded. */
  readonly freeAfterLoadBytes?: number;
}

/** Whether a load may evict it. */
export function isEvictable(entry: SlotView): boolean {
  return !entry.isBusy && !entry.isPinned && entry.hasUnconfirmedUnload !== true;
}

/** A graphics card with a memory of its own. */
export interface GpuState {
  /** Unique among the cards of a machine. */
  readonly name: string;
  readonly totalBytes: number;
  /** Free now, as reported by the driver; absent if it doesn't report it. */
  readonly freeBytes?: number;
  /** Reserved for loads in progress. */
  readonly reservedBytes: number;
}

/** One memory domain at the moment of planning. */
export interface MemoryState {
  /** Measured (MemAvailable, what the cgroup leaves), or `memory.availableBytes`. */
  readonly availableBytes: number;
  /** Whether `availableBytes` is configured: mapped files are not subtracted then. */
  readonly isOverridden: boolean;
  readonly bufferBytes: number;
  /** `memory.maxBytes`: the most that all models together may use. */
  readonly maxBytes?: number;
  readonly smallModelBytes: number;
  /** RAM reserved for loads in progress, without the one that is being planned. */
  readonly reservedBytes: number;
  readonly resident: readonly SlotView[];
  /**
   * Absent or empty if there is only one memory: without cards, if the GPU shares the RAM (Apple, integrated GPUs), and
   * if `memory.availableBytes` is configured.
   */
  readonly gpus?: readonly GpuState[];
  /** Whether the engine of the load uses graphics cards, and nothing keeps the model off them. */
  readonly mayUseGpus?: boolean;
  /** Why the machine is slow now, one sentence each. */
  readonly warnings?: readonly string[];
}

export interface LoadTarget extends Pick<LoadPlan, "model" | "engine" | "contextTokens" | "estimate" | "isLoaded"> {
  /** As in `SlotView`. */
  readonly slot?: string;
  /** Bytes on disk, for the size rule. */
  readonly fileBytes: number;
  /** What the engine's own scheduler predicts (`LoadRules.schedulerBytes`); absent: the file and the estimated cache. */
  readonly schedulerBytes?: number;
  /** The name that it is loaded by, if that is another. */
  readonly loadedAs?: string;
}

/** Whether a load of the target replaces the entry. */
export function isOfTarget(
  entry: Pick<SlotView, "name" | "engine" | "slot">,
  { model, engine, slot }: Pick<LoadTarget, "model" | "engine" | "slot">,
): boolean {
  return entry.engine === engine && (entry.name === model || (slot !== undefined && entry.slot === slot));
}

/** The state with all active answers done. */
export function allIdle(state: MemoryState): MemoryState {
  return { ...state, resident: state.resident.map((entry) => ({ ...entry, isBusy: false })) };
}

/** The state with all loads in progress done and unloaded. */
export function withoutReservations(state: MemoryState): MemoryState {
  const { gpus } = state;
  return {
    ...state,
    reservedBytes: 0,
    ...(gpus === undefined ? {} : { gpus: gpus.map((gpu) => ({ ...gpu, reservedBytes: 0 })) }),
  };
}

/** Bytes of RAM and of each graphics card. */
interface MemoryVector {
  readonly ramBytes: number;
  /** By the name of the graphics card; cards with 0 bytes are left out. */
  readonly vramBytes?: Readonly<Record<string, number>>;
}

/** The memory domain of this machine, the only one that can be measured. */
export const localDomain = "local";

/** The reservations of loads in progress in one memory domain. `id`: the `memoryDomain` of the engines that share it. */
export function createMemoryDomain(id: string) {
  const reservations = new Set<{ readonly key: string; readonly memory: MemoryVector }>();
  return {
    id,
    /**
     * Reserves memory for the load `key` (engine and model). Call the returned function when the load has ended,
     * successful or not; it is idempotent. Several reservations of one key add up.
     */
    reserve(key: string, memory: MemoryVector): () => void {
      const reservation = { key, memory };
      reservations.add(reservation);
      return () => void reservations.delete(reservation);
    },
    /** Sum of the reservations, without those of `exceptKey`, the load that is being planned. */
    reserved(exceptKey?: string): Required<MemoryVector> {
      let ramBytes = 0;
      const vramBytes: Record<string, number> = {};
      for (const { key, memory } of reservations) {
        if (key === exceptKey) continue;
        ramBytes += memory.ramBytes;
        for (const [card, bytes] of Object.entries(memory.vramBytes ?? {}))
          vramBytes[card] = (vramBytes[card] ?? 0) + bytes;
      }
      return { ramBytes, vramBytes };
    },
  };
}

/** Load of the machine beside its memory. */
type Pressure = Pick<RamStatus, "swapTotalBytes" | "swapUsedBytes"> & {
  /** Runnable processes per core over the last minute; absent on Windows, which doesn't report it. */
  readonly loadPerCore?: number;
};

/** A little swap is normal; this much means that memory was short. */
const notableSwapBytes = 256 * 1024 ** 2;
/** A model that computes on every core makes 1; more than this is caused by other programs. */
const notableLoad = 1.25;

/** Why answers will be slow now, one sentence each; empty if there is no reason. */
export function pressureWarnings(pressure: Pressure): readonly string[] {
  return [shortMemory(pressure), busyProcessor(pressure)].flatMap((reason) =>
    reason === undefined ? [] : [`${reason}: answers will be slow`],
  );
}

/** Undefined if hardly any swap is used. */
export function shortMemory({ swapUsedBytes, swapTotalBytes }: Pressure): string | undefined {
  if (swapUsedBytes < notableSwapBytes) return undefined;
  return `${formatBytes(swapUsedBytes)} of ${formatBytes(swapTotalBytes)} swap in use`;
}

/** Undefined if other programs leave the processor to models. */
export function busyProcessor({ loadPerCore = 0 }: Pressure): string | undefined {
  if (loadPerCore <= notableLoad) return undefined;
  return `CPU busy (load ${loadPerCore.toFixed(1)} per core)`;
}
