import { readCgroupLimits, type ReadText } from "./cgroup.ts";

export interface CoreFacts {
  readonly platform: NodeJS.Platform;
  readonly architecture: string;
  /** Logical processors that this process may run on, according to its affinity. */
  readonly parallelism: number;
}

/**
 * Number of physical cores that this process may use, at least 1. Decoding is bound by memory bandwidth and its threads
 * spin-wait for each other: a second thread per core, or more threads than the quota, make it slower.
 *
 * Linux reports how many threads share a core. Other systems don't without starting a program: ARM has no shared cores,
 * and on x86 more than four logical processors count half, as in llama.cpp.
 */
export function countCores(facts: CoreFacts, read: ReadText): number {
  const { platform, architecture, parallelism } = facts;
  if (platform !== "linux") {
    const isShared = architecture === "x64" && parallelism > 4;
    return Math.max(1, isShared ? Math.floor(parallelism / 2) : parallelism);
  }
  const { cpuQuota = Number.POSITIVE_INFINITY } = readCgroupLimits(read);
  return Math.max(1, Math.floor(Math.min(parallelism / threadsPerCore(read("/proc/cpuinfo")), cpuQuota)));
}

/** `siblings` ÷ `cpu cores` of the first package; 1 if they are missing (ARM, some virtual machines). */
function threadsPerCore(cpuInfo: string | undefined): number {
  const siblings = Number(/^siblings\s*:\s*(\d+)$/m.exec(cpuInfo ?? "")?.[1] ?? 1);
  const cores = Number(/^cpu cores\s*:\s*(\d+)$/m.exec(cpuInfo ?? "")?.[1] ?? 1);
  return cores > 0 && siblings > cores ? siblings / cores : 1;
}
