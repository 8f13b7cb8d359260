import { formatBytes } from "../util/format-bytes.ts";

/** Load of the machine beside its memory. */
export interface Pressure {
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  /** Runnable processes per core over the last minute; absent on Windows, which doesn't report it. */
  readonly loadPerCore?: number;
}

/** A little swap is normal; this much means that memory was short. */
const notableSwapBytes = 256 * 1024 ** 2;
/** A model that computes on every core makes 1; more than this is caused by other programs. */
const notableLoad = 1.25;

/** Why answers will be slow now, one sentence each; empty if there is no reason. */
export function pressureWarnings(pressure: Pressure): readonly string[] {
  return [swapWarning(pressure), loadWarning(pressure)].filter((warning) => warning !== undefined);
}

function swapWarning({ swapUsedBytes, swapTotalBytes }: Pressure): string | undefined {
  if (swapUsedBytes < notableSwapBytes) return undefined;
  return `${formatBytes(swapUsedBytes)} of ${formatBytes(swapTotalBytes)} swap in use: answers will be slow`;
}

function loadWarning({ loadPerCore = 0 }: Pressure): string | undefined {
  if (loadPerCore <= notableLoad) return undefined;
  return `CPU busy (load ${loadPerCore.toFixed(1)} per core): answers will be slow`;
}
