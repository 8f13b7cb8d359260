/** One sample of this machine's memory. Bytes. */
export interface MemorySample {
  /** The machine's RAM, or the cgroup's limit when that is less. */
  readonly totalBytes: number;
  /** MemAvailable, or what the cgroup's limit leaves when that is less. */
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  readonly gpus: readonly GpuMemory[];
  /** Runnable processes of the whole machine per core over the last minute; absent on Windows. */
  readonly loadPerCore?: number;
  /** Milliseconds since the epoch. */
  readonly sampledAtMs: number;
}

export interface GpuMemory {
  readonly name: string;
  readonly totalBytes: number;
  readonly freeBytes?: number;
}

/** Measures this machine. Samples are cached for at most 250 ms, since plans are made from them. */
export interface MemoryProbe {
  /** `maxAgeMs` defaults to 250; 0 measures again. */
  sample(maxAgeMs?: number): Promise<MemorySample>;
  /** Number of physical cores that this process may use, limited by cgroup quota and affinity; at least 1. */
  cores(): number;
}
