import type { Log } from "../log.ts";
import type { GpuMemory } from "./probe.ts";
import type { SystemInformation } from "./system-information.ts";

/** Querying the drivers takes 0.1 to 2 s, and free memory changes slowly otherwise. */
const refreshMs = 10_000;
const mebibyte = 1024 ** 2;
/** Excludes display adapters of servers and virtual machines, which have a few megabytes. */
const minBytes = 512 * mebibyte;

/** Reads the memory of dedicated graphics cards. */
export interface GpuReader {
  /**
   * The last known values, without waiting; empty at first. Starts a query in the background, one at a time, and again
   * after 10 s if there are cards.
   */
  last(): readonly GpuMemory[];
  /** Queries the drivers if there are cards; resolves to the last known values after 3 s. Never rejects. */
  fresh(): Promise<readonly GpuMemory[]>;
}

/** A plan needs fresh values, but a driver that hangs must not delay it. */
const freshMs = 3_000;

export function createGpuReader(options: {
  readonly now: () => number;
  readonly systemInformation: () => Promise<SystemInformation>;
  readonly log: Log;
}): GpuReader {
  const { now, systemInformation, log } = options;
  let gpus: readonly GpuMemory[] = [];
  let asking: Promise<void> | undefined;
  let isAsked = false;
  let askedAtMs = 0;

  const askDrivers = async (): Promise<void> => {
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
      log.warn(`hardware: graphics cards can't be queried: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      asking = undefined;
    }
  };

  const ask = (): Promise<void> => {
    isAsked = true;
    askedAtMs = now();
    asking = askDrivers();
    return asking;
  };

  const askAgain = async (): Promise<void> => {
    // A query in progress may have started before the last load or unload.
    await asking;
    // Another caller that waited may have started the next one.
    await (asking ?? ask());
  };

  const reader: GpuReader = {
    last() {
      const isDue = !isAsked || (gpus.length > 0 && Math.abs(now() - askedAtMs) >= refreshMs);
      if (isDue && asking === undefined) void ask();
      return gpus;
    },
    async fresh() {
      if (gpus.length === 0) return reader.last();
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, freshMs);
      });
      await Promise.race([patience, askAgain()]);
      clearTimeout(timer);
      return gpus;
    },
  };
  return reader;
}
