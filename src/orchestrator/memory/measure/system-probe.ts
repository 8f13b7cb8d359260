import { readFileSync } from "node:fs";
import os from "node:os";
import { type Log, createLog } from "../../api/log.ts";
import { type ReadText, readCgroupLimits } from "./cgroup.ts";
import { createGpuReader, runNvidiaSmi, type SystemInformation, importSystemInformation } from "./gpus.ts";
import type { MemoryProbe, MemorySample } from "./probe.ts";
import { messageOf } from "../../util/message-of.ts";
import { systemTimers, within } from "../../util/timers.ts";

/** The system interfaces of the probe; defaults are the real ones. */
interface SystemProbeOptions {
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly readFile?: ReadText;
  readonly systemInformation?: () => Promise<SystemInformation>;
  readonly nvidiaSmi?: () => Promise<string | undefined>;
  readonly platform?: NodeJS.Platform;
  readonly architecture?: string;
  readonly os?: Pick<typeof os, "availableParallelism" | "totalmem" | "freemem" | "loadavg" | "cpus">;
  readonly log?: Log;
}

type Reading = Pick<MemorySample, "totalBytes" | "availableBytes" | "swapTotalBytes" | "swapUsedBytes">;

const cacheMs = 250;
/** Timeout of `mem()` of systeminformation, which starts programs on macOS and Windows. */
const systemInformationMs = 3000;

/**
 * Measures this machine. Available memory is taken from `/proc/meminfo` on Linux, `vm_stat` on macOS and a system call
 * on Windows, and is at most what control groups leave. Calls within 250 ms share a sample. Graphics cards of other
 * makers than NVIDIA are queried in the background: the first samples don't contain them. Never rejects.
 */
export function createSystemProbe(options: SystemProbeOptions = {}): MemoryProbe {
  const {
    now = Date.now,
    readFile = readText,
    platform = process.platform,
    architecture = process.arch,
    os: system = os,
    log = createLog("silent", () => undefined),
  } = options;
  const load = options.systemInformation ?? importSystemInformation;
  const gpus = createGpuReader({ now, nvidiaSmi: options.nvidiaSmi ?? runNvidiaSmi, systemInformation: load, log });

  const readByPackage = async (): Promise<Reading> => {
    const bare = {
      totalBytes: system.totalmem(),
      availableBytes: system.freemem(),
      swapTotalBytes: 0,
      swapUsedBytes: 0,
    };
    try {
      const memory = await within(
        { ms: systemInformationMs, timers: systemTimers },
        async () => (await load()).mem(),
        () => {
          throw new Error(`no answer within ${systemInformationMs} ms`);
        },
      );
      return {
        totalBytes: bare.totalBytes,
        // `freemem` is exact on Windows; on macOS it omits inactive and purgeable pages.
        availableBytes: platform === "win32" ? bare.availableBytes : memory.available,
        swapTotalBytes: memory.swaptotal,
        swapUsedBytes: memory.swapused,
      };
    } catch (error) {
      log.warn(`hardware: memory measured without swap: ${messageOf(error)}`);
      return bare;
    }
  };

  const readLinux = (): Reading | undefined => {
    const info = platform === "linux" ? parseMemInfo(readFile("/proc/meminfo") ?? "") : undefined;
    if (info === undefined) return undefined;
    const { totalBytes, availableBytes, swapTotalBytes, swapFreeBytes } = info;
    return { totalBytes, availableBytes, swapTotalBytes, swapUsedBytes: swapTotalBytes - swapFreeBytes };
  };

  const measure = async (isFreshRequired: boolean): Promise<MemorySample> => {
    const cards = await gpus.read(isFreshRequired);
    const reading = readLinux() ?? (await readByPackage());
    const { memoryLimitBytes = Number.POSITIVE_INFINITY, memoryRoomBytes = Number.POSITIVE_INFINITY } =
      platform === "linux" ? readCgroupLimits(readFile) : {};
    return {
      ...reading,
      totalBytes: Math.min(reading.totalBytes, memoryLimitBytes),
      availableBytes: Math.min(reading.availableBytes, memoryRoomBytes),
      gpus: cards,
      ...loadOf(),
      sampledAtMs: now(),
    };
  };

  /** Both values are those of the machine, even in a container; Windows returns zeros. */
  const loadOf = (): Pick<MemorySample, "loadPerCore"> => {
    const cores = system.cpus().length;
    return platform === "win32" || cores === 0 ? {} : { loadPerCore: (system.loadavg()[0] ?? 0) / cores };
  };

  let latest: { readonly sample: Promise<MemorySample>; readonly atMs: number } | undefined;
  return {
    sample(maxAgeMs = cacheMs) {
      // Absolute, so that a clock that was set back doesn't freeze the sample.
      const isFresh = latest !== undefined && maxAgeMs > 0 && Math.abs(now() - latest.atMs) <= maxAgeMs;
      if (latest === undefined || !isFresh) latest = { sample: measure(maxAgeMs === 0), atMs: now() };
      return latest.sample;
    },
    cores: () => countCores({ platform, architecture, parallelism: system.availableParallelism() }, readFile),
  };
}

const readText: ReadText = (file) => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    // Missing or not readable: other sources are used.
    return undefined;
  }
};

/**
 * Number of physical cores that this process may use, at least 1. Decoding is bound by memory bandwidth and its threads
 * spin-wait for each other: a second thread per core, or more threads than the quota, make it slower.
 *
 * Linux reports how many threads share a core. Other systems don't without starting a program: ARM has no shared cores,
 * and on x86 more than four logical processors count half, as in llama.cpp.
 */
export function countCores(
  facts: {
    readonly platform: NodeJS.Platform;
    readonly architecture: string;
    /** Logical processors that this process may run on, according to its affinity. */
    readonly parallelism: number;
  },
  read: ReadText,
): number {
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

/** The machine's memory as reported by Linux, in bytes. */
interface MemInfo {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapFreeBytes: number;
}

/** Parses `/proc/meminfo`; undefined if it has no total. */
function parseMemInfo(text: string): MemInfo | undefined {
  const kib = new Map<string, number>();
  for (const match of text.matchAll(/^(\w+):\s+(\d+) kB$/gm)) kib.set(match[1] ?? "", Number(match[2]));
  const bytes = (name: string) => (kib.get(name) ?? 0) * 1024;
  if (bytes("MemTotal") === 0) return undefined;
  return {
    totalBytes: bytes("MemTotal"),
    // Kernels before 3.14 have no MemAvailable.
    availableBytes: kib.has("MemAvailable") ? bytes("MemAvailable") : bytes("MemFree") + bytes("Cached"),
    swapTotalBytes: bytes("SwapTotal"),
    swapFreeBytes: bytes("SwapFree"),
  };
}
