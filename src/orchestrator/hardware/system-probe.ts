import { readFileSync } from "node:fs";
import os from "node:os";
import { createLog, type Log } from "../log.ts";
import { readCgroupLimits, type ReadText } from "./cgroup.ts";
import { countCores } from "./cores.ts";
import { createGpuReader } from "./gpus.ts";
import { parseMemInfo } from "./meminfo.ts";
import type { MemoryProbe, MemorySample } from "./probe.ts";
import { importSystemInformation, type SystemInformation } from "./system-information.ts";

/** Everything that the probe asks of the system; each has its real default. */
export interface SystemProbeOptions {
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly readFile?: ReadText;
  readonly systemInformation?: () => Promise<SystemInformation>;
  readonly platform?: NodeJS.Platform;
  readonly architecture?: string;
  readonly os?: Pick<typeof os, "availableParallelism" | "totalmem" | "freemem" | "loadavg" | "cpus">;
  readonly log?: Log;
}

type Reading = Pick<MemorySample, "totalBytes" | "availableBytes" | "swapTotalBytes" | "swapUsedBytes">;

const cacheMs = 250;
/** Bounds `mem()` of systeminformation, which starts programs on macOS and Windows. */
const systemInformationMs = 3000;

/**
 * Measures this machine. Available memory is `/proc/meminfo`'s on Linux, `vm_stat`'s on macOS, the system call's on
 * Windows, and never more than control groups leave. Calls within 250 ms share a sample. Graphics cards are asked
 * in the background: the first samples don't have them. Never rejects.
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
  const gpus = createGpuReader({ now, systemInformation: load, log });

  const readByPackage = async (): Promise<Reading> => {
    const bare = {
      totalBytes: system.totalmem(),
      availableBytes: system.freemem(),
      swapTotalBytes: 0,
      swapUsedBytes: 0,
    };
    try {
      const memory = await within(systemInformationMs, (async () => (await load()).mem())());
      return {
        totalBytes: bare.totalBytes,
        // Windows' own figure is exact and fresh; macOS' counts neither inactive nor purgeable pages.
        availableBytes: platform === "win32" ? bare.availableBytes : memory.available,
        swapTotalBytes: memory.swaptotal,
        swapUsedBytes: memory.swapused,
      };
    } catch (error) {
      log.warn(`memory measured without swap: ${error instanceof Error ? error.message : String(error)}`);
      return bare;
    }
  };

  const readLinux = (): Reading | undefined => {
    const info = platform === "linux" ? parseMemInfo(readFile("/proc/meminfo") ?? "") : undefined;
    if (info === undefined) return undefined;
    const { totalBytes, availableBytes, swapTotalBytes, swapFreeBytes } = info;
    return { totalBytes, availableBytes, swapTotalBytes, swapUsedBytes: swapTotalBytes - swapFreeBytes };
  };

  const measure = async (isAnew: boolean): Promise<MemorySample> => {
    const cards = isAnew ? await gpus.fresh() : gpus.last();
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

  /** Both figures are the machine's, also in a container; Windows answers zeros. */
  const loadOf = (): Pick<MemorySample, "loadPerCore"> => {
    const cores = system.cpus().length;
    return platform === "win32" || cores === 0 ? {} : { loadPerCore: (system.loadavg()[0] ?? 0) / cores };
  };

  let latest: { readonly sample: Promise<MemorySample>; readonly atMs: number } | undefined;
  return {
    sample(maxAgeMs = cacheMs) {
      // The absolute difference: a clock that was set back must not freeze the sample.
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
    // Missing or forbidden: both mean that this source says nothing, and there are others.
    return undefined;
  }
};

async function within<Value>(milliseconds: number, promise: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
    timer.unref();
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
