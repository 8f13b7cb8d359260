import type { Systeminformation } from "systeminformation";
import { readFileSync } from "node:fs";
import os from "node:os";
import { type Log, createLog } from "../../api/log.ts";
import { readCgroupLimits } from "./cgroup.ts";
import type { RamStatus } from "../../api/facade-status.ts";
import { messageOf } from "../../util/values.ts";
import { systemTimers, within } from "../../util/timers.ts";
import { execFile, type ExecFileException } from "node:child_process";
import path from "node:path";
import { oneLine } from "../../util/control-characters.ts";
import { canExecute } from "../../util/programs.ts";

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

type ReadText = Parameters<typeof readCgroupLimits>[0];

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
/** The power supply is asked by a program on some systems. */
const powerMs = 30_000;
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

  const measure = async (isFreshRequired: boolean): Promise<MemorySample> => {
    const cards = await gpus.read(isFreshRequired);
    const reading =
      (platform === "linux" ? parseMemInfo(readFile("/proc/meminfo") ?? "") : undefined) ?? (await readByPackage());
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
  const isOut = (found: { readonly hasBattery: boolean; readonly acConnected: boolean }): boolean =>
    found.hasBattery && !found.acConnected;
  let power = { isOut: Promise.resolve(false), atMs: Number.NEGATIVE_INFINITY };

  return {
    sample(maxAgeMs = cacheMs) {
      // Absolute, so that a clock that was set back doesn't freeze the sample.
      const isFresh = latest !== undefined && maxAgeMs > 0 && Math.abs(now() - latest.atMs) <= maxAgeMs;
      if (latest === undefined || !isFresh) latest = { sample: measure(maxAgeMs === 0), atMs: now() };
      return latest.sample;
    },
    cores: () => countCores({ platform, architecture, parallelism: system.availableParallelism() }, readFile),
    async onBattery() {
      if (Math.abs(now() - power.atMs) > powerMs)
        power = {
          isOut: load()
            .then(({ battery }) => battery())
            .then(isOut, () => false),
          atMs: now(),
        };
      return power.isOut;
    },
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

/** Parses `/proc/meminfo`; undefined if it has no total. */
function parseMemInfo(text: string): Reading | undefined {
  const kib = new Map<string, number>();
  for (const match of text.matchAll(/^(\w+):\s+(\d+) kB$/gm)) kib.set(match[1] ?? "", Number(match[2]));
  const bytes = (name: string) => (kib.get(name) ?? 0) * 1024;
  if (bytes("MemTotal") === 0) return undefined;
  return {
    totalBytes: bytes("MemTotal"),
    // Kernels before 3.14 have no MemAvailable.
    availableBytes: kib.has("MemAvailable") ? bytes("MemAvailable") : bytes("MemFree") + bytes("Cached"),
    swapTotalBytes: bytes("SwapTotal"),
    swapUsedBytes: bytes("SwapTotal") - bytes("SwapFree"),
  };
}

/** Interval of the slow queries: they take 0.1 to 2 s, and free memory changes slowly otherwise. */
const refreshMs = 10_000;
/** Maximum age of values that `nvidia-smi` reports: a plan needs the present ones, and it takes 20 ms. */
const currentMs = 1_000;
/** A plan needs fresh values, but a driver that hangs must not delay it. */
const patienceMs = 3_000;
const mebibyte = 1024 ** 2;
/** Excludes display adapters of servers and virtual machines, which have a few megabytes. */
const minBytes = 512 * mebibyte;

function createGpuReader(options: {
  readonly now: () => number;
  /** See `runNvidiaSmi`. */
  readonly nvidiaSmi: () => Promise<string | undefined>;
  readonly systemInformation: () => Promise<SystemInformation>;
  readonly log: Log;
}) {
  const { now, nvidiaSmi, systemInformation, log } = options;
  let gpus: readonly GpuMemory[] = [];
  let hasNvidia = true;
  let query: { readonly done: Promise<void>; readonly atMs: number; isOver: boolean } | undefined;

  /** Reports cards of all makers. It needs `lspci` on Linux and runs `nvidia-smi` synchronously: the second choice. */
  const askOthers = async (): Promise<void> => {
    try {
      const { controllers } = await (await systemInformation()).graphics();
      gpus = controllers.flatMap((controller) => {
        const total = (controller.memoryTotal ?? controller.vram ?? 0) * mebibyte;
        if (total < minBytes || controller.vramDynamic) return [];
        const { memoryFree } = controller;
        return {
          name: controller.name ?? controller.model,
          totalBytes: total,
          ...(memoryFree === undefined ? {} : { freeBytes: memoryFree * mebibyte }),
        };
      });
    } catch (error) {
      log.warn(`hardware: graphics cards can't be queried: ${messageOf(error)}`);
    }
  };

  /**
   * Whether there are NVIDIA's cards. The last values are kept if `nvidia-smi` fails, as it does while its driver is
   * updated. If it hangs, the others aren't asked: they would run it again, and synchronously.
   */
  const askNvidia = async (): Promise<boolean> => {
    const output = await nvidiaSmi();
    const found = parseNvidiaSmi(output ?? "");
    if (found.length > 0) gpus = found;
    return output === "" || gpus.length > 0;
  };

  const ask = (): Promise<void> => {
    const asked = { done: Promise.resolve(), atMs: now(), isOver: false };
    const finish = () => void (asked.isOver = true);
    if (hasNvidia) {
      asked.done = askNvidia().then((isThere) => {
        hasNvidia = isThere;
        // Not part of the first wait.
        if (isThere) finish();
        else void askOthers().finally(finish);
      });
    } else asked.done = askOthers().finally(finish);
    query = asked;
    return asked.done;
  };

  const askAgain = async (): Promise<void> => {
    const before = query;
    // A query in progress may have started before the last load or unload.
    await before?.done;
    // Another caller that waited may have started the next one.
    await (query === before ? ask() : query?.done);
  };

  return {
    /**
     * The memory of all cards. Waits at most 3 s, else resolves to the last known values. Never rejects.
     *
     * NVIDIA's cards are known from the first call on, and their values are at most a second old. Others are queried in
     * the background, since that takes longer: they are missing from the first call, and their values are at most 10 s
     * old. `isFresh`: all values are requested now.
     */
    async read(isFresh: boolean) {
      if (query === undefined) return await atMost(ask());
      const ageMs = Math.abs(now() - query.atMs);
      if (gpus.length === 0) {
        if (hasNvidia && query.isOver && ageMs >= refreshMs) void ask();
        return gpus;
      }
      const isDue = ageMs >= (hasNvidia ? currentMs : refreshMs);
      if (isFresh) return await atMost(askAgain());
      if (query.isOver && isDue) {
        const asked = ask();
        if (hasNvidia) return await atMost(asked);
      } else if (!query.isOver && hasNvidia && ageMs < patienceMs) return await atMost(query.done);
      return gpus;
    },
  };

  async function atMost(asked: Promise<void>): Promise<readonly GpuMemory[]> {
    await within(
      { ms: patienceMs },
      () => asked,
      () => undefined,
    );
    return gpus;
  }
}

/** Takes 20 ms, but up to 2 s while no program uses the cards, since the driver is initialised first. */
const timeoutMs = 10_000;

const query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"];

/**
 * Runs `nvidia-smi`, which is installed with NVIDIA's driver, also in containers and under WSL. Resolves to its output:
 * a line `name, total, free` for each card, in MiB; empty if it hangs or writes without end, undefined if there is none
 * or it fails.
 */
export async function runNvidiaSmi(
  searchPath = process.env["PATH"] ?? "",
  limitMs = timeoutMs,
): Promise<string | undefined> {
  const program = findProgram(searchPath);
  if (program === undefined) return undefined;
  const options = { timeout: limitMs, killSignal: "SIGKILL", windowsHide: true } as const;
  return new Promise((resolve) => {
    execFile(program, query, options, (error, stdout) =>
      resolve(error === null ? stdout : isEndless(error) ? "" : undefined),
    );
  });
}

function isEndless({ killed, code }: ExecFileException): boolean {
  return killed === true || String(code) === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER";
}

/** Never in the current folder, which may be a stranger's: Windows would look there first. */
function findProgram(searchPath: string): string | undefined {
  const name = process.platform === "win32" ? "nvidia-smi.exe" : "nvidia-smi";
  const folders = searchPath.split(path.delimiter).filter((each) => path.isAbsolute(each));
  return folders.map((folder) => path.join(folder, name)).find((file) => canExecute(file));
}

/** More than a machine has; a program of that name may write anything. */
const maxCards = 64;
const maxNameLength = 100;

/** Cards that share the RAM report `[N/A]` as their memory: they are left out. */
export function parseNvidiaSmi(text: string): readonly GpuMemory[] {
  const cards = text.split("\n").flatMap((line) => {
    const [, name, total, free = ""] = /^(.+), (\d{1,9}), (\S+)\s*$/.exec(line) ?? [];
    if (name === undefined || total === undefined || Number(total) === 0) return [];
    return {
      name: oneLine(name).trim().slice(0, maxNameLength),
      totalBytes: Number(total) * mebibyte,
      ...(/^\d{1,9}$/.test(free) ? { freeBytes: Number(free) * mebibyte } : {}),
    };
  });
  return cards.slice(0, maxCards);
}

/** The part of the package `systeminformation` that is used. Sizes of `mem` are in bytes, those of `graphics` in MiB. */
interface SystemInformation {
  battery(): Promise<Pick<Systeminformation.BatteryData, "hasBattery" | "acConnected">>;
  mem(): Promise<Pick<Systeminformation.MemData, "available" | "swaptotal" | "swapused">>;
  graphics(): Promise<{
    readonly controllers: readonly Pick<
      Systeminformation.GraphicsControllerData,
      "model" | "name" | "vram" | "vramDynamic" | "memoryTotal" | "memoryFree"
    >[];
  }>;
}

/** Imported on first use: the import takes 15 ms, and the package starts programs. */
async function importSystemInformation(): Promise<SystemInformation> {
  const { default: systemInformation } = await import("systeminformation");
  return systemInformation;
}
