import { formatBytes } from "../text/format-bytes.ts";

/** What of a machine says that it has too much to do. */
export interface Pressure {
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  /** Runnable processes per core over the last minute; absent where the system doesn't tell (Windows). */
  readonly loadPerCore?: number;
}

/** A little swap is normal; this much means that something was pushed out. */
const notableSwapBytes = 256 * 1024 ** 2;
/** One model that computes on every core makes 1; more than this is somebody else's work beside it. */
const notableLoad = 1.25;

/** Why models will be slow now, a sentence each; empty when nothing is wrong. */
export function pressureWarnings(pressure: Pressure): readonly string[] {
  return [swapWarning(pressure), loadWarning(pressure)].filter((warning) => warning !== undefined);
}

function swapWarning({ swapUsedBytes, swapTotalBytes }: Pressure): string | undefined {
  if (swapUsedBytes < notableSwapBytes) return undefined;
  return `${formatBytes(swapUsedBytes)} of ${formatBytes(swapTotalBytes)} swap are in use: models will be slow; close programs or use a smaller model`;
}

function loadWarning({ loadPerCore = 0 }: Pressure): string | undefined {
  if (loadPerCore <= notableLoad) return undefined;
  return `the processor has ${loadPerCore.toFixed(1)} times the work it can do at once: models will be slow`;
}
