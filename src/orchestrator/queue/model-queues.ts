import { Cancelled, QueueFull } from "../errors.ts";

export interface Slot {
  /** Milliseconds waited for it. */
  readonly waitedMs: number;
  /** Idempotent. */
  release(): void;
}

export interface ModelQueues {
  /**
   * Waits, first come first served, until fewer than `maxParallel` requests of `key` run.
   * Throws `QueueFull` when `maxWaiting` already wait, `Cancelled` when the signal aborts.
   */
  acquire(key: string, maxParallel: number, signal: AbortSignal): Promise<Slot>;
  running(key: string): number;
  /** Whether somebody waits for it. */
  isAwaited(key: string): boolean;
  /** Models with something running or waiting. */
  snapshot(): readonly { readonly key: string; readonly running: number; readonly waiting: number }[];
}

interface Queue {
  running: number;
  readonly waiting: (() => void)[];
  /** Smoothed duration of one request, for the expected wait. */
  averageMs: number | undefined;
}

/** One simple queue per model. `key` names engine and model; `maxWaiting` holds for those who come from now on. */
export function createModelQueues(maxWaiting: () => number, now: () => number): ModelQueues {
  const queues = new Map<string, Queue>();

  function queueOf(key: string): Queue {
    const existing = queues.get(key);
    if (existing !== undefined) return existing;
    const created: Queue = { running: 0, waiting: [], averageMs: undefined };
    queues.set(key, created);
    return created;
  }

  function occupy(queue: Queue, waitedMs: number): Slot {
    queue.running += 1;
    const startedAtMs = now();
    let isReleased = false;
    return {
      waitedMs,
      release() {
        if (isReleased) return;
        isReleased = true;
        queue.running -= 1;
        const durationMs = now() - startedAtMs;
        queue.averageMs = queue.averageMs === undefined ? durationMs : 0.7 * queue.averageMs + 0.3 * durationMs;
        queue.waiting.shift()?.();
      },
    };
  }

  return {
    async acquire(key, maxParallel, signal) {
      const queue = queueOf(key);
      if (signal.aborted) throw new Cancelled(`waiting for ${key} was cancelled`, { cause: signal.reason });
      if (queue.running < maxParallel && queue.waiting.length === 0) return occupy(queue, 0);
      if (queue.waiting.length >= maxWaiting()) {
        const expectedMs = ((queue.averageMs ?? 0) * (queue.waiting.length + 1)) / maxParallel;
        throw new QueueFull(
          `${queue.waiting.length} requests already wait for ${key}; one more would wait about ${Math.ceil(expectedMs / 1000)} s`,
          { hint: "try again later, name another model, or raise queue.maxWaiting" },
        );
      }
      const waitingSinceMs = now();
      return new Promise<Slot>((resolve, reject) => {
        const start = () => {
          signal.removeEventListener("abort", abort);
          resolve(occupy(queue, now() - waitingSinceMs));
        };
        const abort = () => {
          const index = queue.waiting.indexOf(start);
          if (index >= 0) queue.waiting.splice(index, 1);
          reject(new Cancelled(`waiting for ${key} was cancelled`, { cause: signal.reason }));
        };
        queue.waiting.push(start);
        signal.addEventListener("abort", abort, { once: true });
      });
    },
    running: (key) => queues.get(key)?.running ?? 0,
    isAwaited: (key) => (queues.get(key)?.waiting.length ?? 0) > 0,
    snapshot: () =>
      [...queues]
        .map(([key, queue]) => ({ key, running: queue.running, waiting: queue.waiting.length }))
        .filter((queue) => queue.running + queue.waiting > 0),
  };
}
