import { readCgroupLimits, type ReadText } from "./cgroup.ts";

export interface CoreFacts {
  readonly platform: NodeJS.Platform;
  readonly architecture: string;
  /** Logical processors this process may run on (affinity counted). */
  readonly parallelism: number;
}

/**
 * Physical cores this process may use, at least 1. Decoding is bound by memory and its threads wait for each other
 * spinning: a second thread on a core, or one more than the quota, makes it slower, not faster.
 *
 * Linux says how many threads share a core. Elsewhere the process can't know without starting a program: ARM has no
 * shared cores, and x86 counts as llama.cpp does it (half of more than four).
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

/** `siblings` ÷ `cpu cores` of the first package; 1 where it isn't said (ARM, some virtual machines). */
function threadsPerCore(cpuInfo: string | undefined): number {
  const siblings = Number(/^siblings\s*:\s*(\d+)$/m.exec(cpuInfo ?? "")?.[1] ?? 1);
  const cores = Number(/^cpu cores\s*:\s*(\d+)$/m.exec(cpuInfo ?? "")?.[1] ?? 1);
  return cores > 0 && siblings > cores ? siblings / cores : 1;
}
