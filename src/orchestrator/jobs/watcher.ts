import type { Timers } from "../util/timers.ts";
import type { Change } from "../api/facade.ts";
import type { RamStatus } from "../api/facade-status.ts";
import type { Log } from "../api/log.ts";
import { messageOf } from "../util/message-of.ts";

/** What other programs may change: the free memory, and the models of engines. */
type Watched = "memory" | "models";

export interface Watcher {
  /** Polls every few seconds until the returned function is called. Watchers of the same thing share one poll. */
  watch(what: Watched): () => void;
  close(): void;
}

const intervalMs = 3_000;
/** Smaller changes of the free memory are noise. */
const notableBytes = 256 * 1024 ** 2;
const notableShare = 0.05;

/** Whether free memory changed enough to publish: by 5 % of the last published value, or by 256 MiB. */
export function isNotable(publishedBytes: number, nowBytes: number): boolean {
  const movedBytes = Math.abs(nowBytes - publishedBytes);
  return movedBytes >= Math.min(notableBytes, publishedBytes * notableShare) && movedBytes > 0;
}

/**
 * Polls memory and models only while they are watched. This watcher compares the free memory; the inventory compares the
 * engines' models and publishes the differences.
 */
export function createWatcher(world: {
  readonly timers: Timers;
  readonly log: Log;
  /** Samples the memory and lists the loaded models. */
  readonly pollMemory: () => Promise<Pick<RamStatus, "availableBytes">>;
  /** Refreshes the lists of the engines' models. */
  readonly pollModels: () => Promise<unknown>;
  readonly publish: (change: Change) => void;
}): Watcher {
  const { timers, log, publish } = world;

  function watchMemory(): () => void {
    let publishedBytes: number | undefined;
    return repeat(async () => {
      const { availableBytes } = await world.pollMemory();
      const isPublished = publishedBytes !== undefined && isNotable(publishedBytes, availableBytes);
      if (isPublished) publish({ kind: "memory" });
      if (isPublished || publishedBytes === undefined) publishedBytes = availableBytes;
    });
  }

  /** Runs `poll` at once and then 3 s after each end; a failed poll is repeated like any other. */
  function repeat(poll: () => Promise<unknown>): () => void {
    let isStopped = false;
    let cancel: () => void = () => undefined;
    const turn = (): void => {
      poll()
        .catch((error: unknown) => log.debug(`watch: ${messageOf(error)}`))
        .finally(() => {
          if (!isStopped) cancel = timers.after(intervalMs, turn);
        });
    };
    turn();
    return () => {
      isStopped = true;
      cancel();
    };
  }

  const start = { memory: watchMemory, models: () => repeat(world.pollModels) };
  const watches = new Map<Watched, { count: number; readonly stop: () => void }>();

  return {
    watch(what) {
      const shared = watches.get(what) ?? { count: 0, stop: start[what]() };
      watches.set(what, shared);
      shared.count += 1;
      let isOver = false;
      return () => {
        if (isOver) return;
        isOver = true;
        shared.count -= 1;
        if (shared.count > 0 || watches.get(what) !== shared) return;
        watches.delete(what);
        shared.stop();
      };
    },
    close() {
      for (const { stop } of watches.values()) stop();
      watches.clear();
    },
  };
}
