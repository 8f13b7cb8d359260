import type { Log } from "../log.ts";
import type { GpuMemory } from "./probe.ts";
import type { SystemInformation } from "./system-information.ts";

/** The driver's tools take 0.1–2 s: a running model's share changes slower than that matters. */
const refreshMs = 10_000;
const mebibyte = 1024 ** 2;
/** Display adapters of servers and virtual machines have a few megabytes, and no model runs on them. */
const leastBytes = 512 * mebibyte;

/** Memory of the graphics cards that have their own. */
export interface GpuReader {
  /**
   * As last heard. The answer is immediate, at first empty: asking the drivers goes on beside it, once at a time, and
   * again after 10 s where there are cards.
   */
  last(): readonly GpuMemory[];
  /** Waits for an answer to a question asked from now on, where cards are known; for `last` after 3 s. Never rejects. */
  fresh(): Promise<readonly GpuMemory[]>;
}

/** What was loaded or unloaded a moment ago is to show; a driver that hangs must not hold up a plan. */
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
        if (total < leastBytes || controller.vramDynamic) return [];
        const { memoryFree } = controller;
        return {
          name: controller.name ?? controller.model,
          totalBytes: total,
          ...(memoryFree === undefined ? {} : { freeBytes: memoryFree * mebibyte }),
        };
      });
    } catch (error) {
      log.warn(`graphics cards unknown: ${error instanceof Error ? error.message : String(error)}`);
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

  const askFromNowOn = async (): Promise<void> => {
    // Begun before now, perhaps before what is to show.
    await asking;
    // Another one who waited may have begun it.
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
      await Promise.race([patience, askFromNowOn()]);
      clearTimeout(timer);
      return gpus;
    },
  };
  return reader;
}
