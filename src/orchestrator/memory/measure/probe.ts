import type { RamStatus } from "../../api/facade-status.ts";

/**
 * One sample of this machine's memory. Bytes. In all and available: of the machine (RAM, MemAvailable), or of the cgroup's
 * limit when that is less.
 */
export interface MemorySample extends Pick<
  RamStatus,
  "totalBytes" | "availableBytes" | "swapTotalBytes" | "swapUsedBytes" | "gpus"
> {
  /** Runnable processes of the whole machine per core over the last minute; absent on Windows. */
  readonly loadPerCore?: number;
  /** Milliseconds since the epoch. */
  readonly sampledAtMs: number;
}

export type GpuMemory = RamStatus["gpus"][number];

/** Measures this machine. Samples are cached for at most 250 ms, since plans are made from them. */
export interface MemoryProbe {
  /** `maxAgeMs` defaults to 250; 0 measures again. */
  sample(maxAgeMs?: number): Promise<MemorySample>;
  /** Number of physical cores that this process may use, limited by cgroup quota and affinity; at least 1. */
  cores(): number;
  /** Whether it runs on a battery now; absent: not known. */
  onBattery?(): Promise<boolean>;
}
