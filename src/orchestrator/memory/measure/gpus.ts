import type { Log } from "../../api/log.ts";
import { parseNvidiaSmi } from "./nvidia-smi.ts";
import type { GpuMemory } from "./probe.ts";
import type { SystemInformation } from "./system-information.ts";
import { messageOf } from "../../util/message-of.ts";

/** Interval of the slow queries: they take 0.1 to 2 s, and free memory changes slowly otherwise. */
const refreshMs = 10_000;
/** Maximum age of values that `nvidia-smi` reports: a plan needs the present ones, and it takes 20 ms. */
const currentMs = 1_000;
/** A plan needs fresh values, but a driver that hangs must not delay it. */
const patienceMs = 3_000;
const mebibyte = 1024 ** 2;
/** Excludes display adapters of servers and virtual machines, which have a few megabytes. */
const minBytes = 512 * mebibyte;

/** Reads the memory of dedicated graphics cards. */
export interface GpuReader {
  /**
   * The memory of all cards. Waits at most 3 s, else resolves to the last known values. Never rejects.
   *
   * NVIDIA's cards are known from the first call on, and their values are at most a second old. Others are queried in
   * the background, since that takes longer: they are missing from the first call, and their values are at most 10 s
   * old. `isFresh`: all values are requested now.
   */
  read(isFresh: boolean): Promise<readonly GpuMemory[]>;
}

export function createGpuReader(options: {
  readonly now: () => number;
  /** See `runNvidiaSmi`. */
  readonly nvidiaSmi: () => Promise<string | undefined>;
  readonly systemInformation: () => Promise<SystemInformation>;
  readonly log: Log;
}): GpuReader {
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
    async read(isFresh) {
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
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, patienceMs);
    });
    await Promise.race([patience, asked]);
    clearTimeout(timer);
    return gpus;
  }
}
