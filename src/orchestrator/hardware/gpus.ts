import type { Log } from "../log.ts";
import type { GpuMemory } from "./probe.ts";
import type { SystemInformation } from "./system-information.ts";

/** The driver's tools take 0.1–2 s: a running model's share changes slower than that matters. */
const refreshMs = 10_000;
const mebibyte = 1024 ** 2;
/** Display adapters of servers and virtual machines have a few megabytes, and no model runs on them. */
const leastBytes = 512 * mebibyte;

/**
 * Memory of the graphics cards that have their own, as last heard. The answer is immediate, at first empty: asking the
 * drivers goes on beside it, once at a time, and again after 10 s where there are cards.
 */
export function createGpuReader(options: {
  readonly now: () => number;
  readonly systemInformation: () => Promise<SystemInformation>;
  readonly log: Log;
}): () => readonly GpuMemory[] {
  const { now, systemInformation, log } = options;
  let gpus: readonly GpuMemory[] = [];
  let isAsking = false;
  let isAsked = false;
  let askedAtMs = 0;

  const ask = async (): Promise<void> => {
    isAsking = true;
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
      isAsking = false;
    }
  };

  return () => {
    const isDue = !isAsked || (gpus.length > 0 && Math.abs(now() - askedAtMs) >= refreshMs);
    if (isDue && !isAsking) {
      isAsked = true;
      askedAtMs = now();
      void ask();
    }
    return gpus;
  };
}
