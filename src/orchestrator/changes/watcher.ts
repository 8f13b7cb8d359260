import type { Timers } from "../async/timers.ts";
import type { Change } from "../facade.ts";
import type { RamStatus } from "../facade-status.ts";
import type { Log } from "../log.ts";

/** What may change without notice: other programs use this memory, and these engines. */
export type Watched = "memory" | "models";

export interface Watcher {
  /** Looks every few seconds, until the answer is called; several who watch the same share the looks. */
  watch(what: Watched): () => void;
  close(): void;
}

const intervalMs = 3_000;
/** Smaller moves of the free memory are noise: browsers breathe. */
const notableBytes = 256 * 1024 ** 2;
const notableShare = 0.05;

/** Whether free memory changed enough to be reported: by 5 % of what was reported last, or by 256 MiB. */
export function isNotable(toldBytes: number, nowBytes: number): boolean {
  const movedBytes = Math.abs(nowBytes - toldBytes);
  return movedBytes >= Math.min(notableBytes, toldBytes * notableShare) && movedBytes > 0;
}

/**
 * Looks at memory and models while somebody watches them; nobody watching means no look at all. What engines hold is
 * compared by the inventory, which publishes what differs; here only the free memory is.
 */
export function createWatcher(world: {
  readonly timers: Timers;
  readonly log: Log;
  /** Samples the memory and asks the engines what they have loaded. */
  readonly lookAtMemory: () => Promise<Pick<RamStatus, "availableBytes">>;
  /** Lists the engines' models anew. */
  readonly lookAtModels: () => Promise<unknown>;
  readonly publish: (change: Change) => void;
}): Watcher {
  const { timers, log, publish } = world;

  function watchMemory(): () => void {
    let toldBytes: number | undefined;
    return repeat(async () => {
      const { availableBytes } = await world.lookAtMemory();
      const isTold = toldBytes !== undefined && isNotable(toldBytes, availableBytes);
      if (isTold) publish({ kind: "memory" });
      if (isTold || toldBytes === undefined) toldBytes = availableBytes;
    });
  }

  /** Runs `look` at once and then 3 s after its end, again and again; a look that fails is tried again. */
  function repeat(look: () => Promise<unknown>): () => void {
    let isStopped = false;
    let cancel: () => void = () => undefined;
    const turn = (): void => {
      look()
        .catch((error: unknown) => log.debug(`watch: ${error instanceof Error ? error.message : String(error)}`))
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

  const start = { memory: watchMemory, models: () => repeat(world.lookAtModels) };
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
