import { execFile, type ExecFileException } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import path from "node:path";
import { oneLine } from "../../util/control-characters.ts";
import type { GpuMemory } from "./probe.ts";
import type { Log } from "../../api/log.ts";
import { messageOf } from "../../util/message-of.ts";
import { within } from "../../util/timers.ts";

/** Interval of the slow queries: they take 0.1 to 2 s, and free memory changes slowly otherwise. */
const refreshMs = 10_000;
/** Maximum age of values that `nvidia-smi` reports: a plan needs the present ones, and it takes 20 ms. */
const currentMs = 1_000;
/** A plan needs fresh values, but a driver that hangs must not delay it. */
const patienceMs = 3_000;
const mebibyte = 1024 ** 2;
/** Excludes display adapters of servers and virtual machines, which have a few megabytes. */
const minBytes = 512 * mebibyte;

export function createGpuReader(options: {
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
  const program = await findProgram(searchPath);
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
async function findProgram(searchPath: string): Promise<string | undefined> {
  const name = process.platform === "win32" ? "nvidia-smi.exe" : "nvidia-smi";
  for (const folder of searchPath.split(path.delimiter).filter((each) => path.isAbsolute(each))) {
    const file = path.join(folder, name);
    const canRun = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (canRun) return file;
  }
  return undefined;
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

/**
 * The part of the package `systeminformation` that is used. Sizes of `mem` are in bytes, those of `graphics` in MiB.
 */
export interface SystemInformation {
  mem(): Promise<{
    readonly total: number;
    readonly available: number;
    readonly swaptotal: number;
    readonly swapused: number;
  }>;
  graphics(): Promise<{
    readonly controllers: readonly {
      readonly model: string;
      readonly name?: string;
      readonly vram: number | null;
      /** Whether the memory is shared with main memory. */
      readonly vramDynamic: boolean;
      readonly memoryTotal?: number;
      readonly memoryFree?: number;
    }[];
  }>;
}

/** Imported on first use: the import takes 15 ms, and the package starts programs. */
export async function importSystemInformation(): Promise<SystemInformation> {
  const { default: systemInformation } = await import("systeminformation");
  return systemInformation;
}
