import { readFileSync } from "node:fs";
import os from "node:os";
import { createLog, type Log } from "../../api/log.ts";
import { readCgroupLimits, type ReadText } from "./cgroup.ts";
import { countCores } from "./cores.ts";
import { createGpuReader } from "./gpus.ts";
import { parseMemInfo } from "./meminfo.ts";
import { runNvidiaSmi } from "./nvidia-smi.ts";
import type { MemoryProbe, MemorySample } from "./probe.ts";
import { importSystemInformation, type SystemInformation } from "./system-information.ts";

/** The system interfaces of the probe; defaults are the real ones. */
export interface SystemProbeOptions {
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
      const memory = await within(systemInformationMs, (async () => (await load()).mem())());
      return {
        totalBytes: bare.totalBytes,
        // `freemem` is exact on Windows; on macOS it omits inactive and purgeable pages.
        availableBytes: platform === "win32" ? bare.availableBytes : memory.available,
        swapTotalBytes: memory.swaptotal,
        swapUsedBytes: memory.swapused,
      };
    } catch (error) {
      log.warn(`hardware: memory measured without swap: ${error instanceof Error ? error.message : String(error)}`);
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
