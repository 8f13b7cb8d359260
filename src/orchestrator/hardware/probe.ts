/** One sample of this machine's memory. Bytes. */
export interface MemorySample {
  /** The machine's RAM, or the cgroup's limit when that is less. */
  readonly totalBytes: number;
  /** MemAvailable, or what the cgroup's limit leaves when that is less. */
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  readonly gpus: readonly GpuMemory[];
  /** Runnable processes of the whole machine per core, over the last minute; absent where the system doesn't tell. */
  readonly loadPerCore?: number;
  /** Milliseconds since the epoch. */
  readonly sampledAtMs: number;
}

export interface GpuMemory {
  readonly name: string;
  readonly totalBytes: number;
  readonly freeBytes?: number;
}

/** Measures; never cached longer than 250 ms, because plans are made from it. */
export interface MemoryProbe {
  /** `maxAgeMs`: 250 unless given; with 0 it is measured anew. */
  sample(maxAgeMs?: number): Promise<MemorySample>;
  /** Physical cores this process may use (cgroup quota and affinity counted), at least 1. */
  cores(): number;
}
