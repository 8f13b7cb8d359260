import { Cancelled } from "../../api/errors.ts";

export interface Turn {
  /** Milliseconds waited for it. */
  readonly waitedMs: number;
  /** From now on the work may be paused, once it is in the background. */
  pausable(pausing: Pausing): void;
}

/** How to pause work. */
export interface Pausing {
  /** Resolves when it computes no more, or has ended. */
  pause(): Promise<void>;
  resume(): void;
}

/** Which work can be in progress at the same time. */
interface Place {
  /** Aborted: it is in the background, and gives way to work that isn't. Absent: it never gives way. */
  readonly background?: AbortSignal | undefined;
  /** What it computes with. */
  readonly process: object;
  /** It starts only if fewer than this many are in progress in its process, called each time. */
  readonly width: () => number;
  /** It computes together with other such work of its process; else alone. */
  readonly isShared?: boolean;
}

interface Entry {
  readonly place: Place | undefined;
  state: "waiting" | "running" | "pausing" | "paused";
  pausing: Pausing | undefined;
  readonly start: () => void;
}

const isBehind = ({ place }: Entry): boolean => place?.background?.aborted === true;

/** Whether both compute at the same time. */
function isBeside(one: Entry, other: Entry): boolean {
  const areShared = one.place?.isShared === true && other.place?.isShared === true;
  return areShared && one.place.process === other.place.process && isBehind(one) === isBehind(other);
}

/**
 * Two decoders that share cores are fifty times slower than one after the other (1.8 tok/s against 105 on 2 cores), so
 * all child processes compute through one gate, one process at a time. In order of arrival, but work in the background goes
 * last, and is paused for other work. When that has ended, or is itself in the background by then, the work that came first
 * continues.
 */
export class ComputeGate {
  readonly #now: () => number;
  readonly #graceMs: number;
  /** Until then work in the background waits, because the next question often follows at once. */
  #quietUntil = Number.NEGATIVE_INFINITY;
  /** In the order of arrival. */
  readonly #entries = new Set<Entry>();

  /** `graceMs`: so long work in the background waits after other work that could have gone there. */
  constructor(now: () => number, graceMs = 0) {
    [this.#now, this.#graceMs] = [now, graceMs];
  }

  /**
   * Runs `work` when it is its turn. Rejects with `Cancelled` when `signal` aborts during the wait; running work must
   * handle the signal itself.
   */
  async run<Result>(signal: AbortSignal, work: (turn: Turn) => Promise<Result>, place?: Place): Promise<Result> {
    const calledAt = this.#now();
    const entry = await this.#enter(signal, place);
    const schedule = () => this.schedule();
    place?.background?.addEventListener("abort", schedule, { once: true });
    try {
      return await work({
        waitedMs: this.#now() - calledAt,
        pausable: (pausing) => {
          entry.pausing = pausing;
          schedule();
        },
      });
    } finally {
      place?.background?.removeEventListener("abort", schedule);
      this.#entries.delete(entry);
      if (this.#graceMs > 0 && place?.background?.aborted === false) this.#quiet();
      schedule();
    }
  }

  #quiet(): void {
    this.#quietUntil = this.#now() + this.#graceMs;
    setTimeout(() => this.schedule(), this.#graceMs + 1).unref();
  }

  #enter(signal: AbortSignal, place: Place | undefined): Promise<Entry> {
    const cancelled = () => new Cancelled("waiting for free cores was cancelled", { cause: signal.reason });
    if (signal.aborted) return Promise.reject(cancelled());
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#entries.delete(entry);
        reject(cancelled());
      };
      const start = () => {
        signal.removeEventListener("abort", leave);
        resolve(entry);
      };
      const entry: Entry = { place, state: "waiting", pausing: undefined, start };
      signal.addEventListener("abort", leave, { once: true });
      this.#entries.add(entry);
      this.schedule();
    });
  }

  /** Call when a process has room for more work, or for less. */
  schedule(): void {
    const entries = [...this.#entries];
    const active = entries.filter(({ state }) => state === "running" || state === "pausing");
    if (active.some(({ state }) => state === "pausing")) return;
    const ready = entries.filter((entry) => !active.includes(entry) && this.#mayCompute(entry, entries));
    const next = ready.find((entry) => !isBehind(entry)) ?? ready[0];
    if (next !== undefined && isBehind(next) && active.length === 0 && this.#now() < this.#quietUntil) return;
    if (next !== undefined && active.every((each) => isBeside(each, next))) {
      this.#compute(next);
      return this.schedule();
    }
    const isFirst = next?.state === "paused" && active.every((each) => entries.indexOf(next) < entries.indexOf(each));
    const isWanted = (next !== undefined && (!isBehind(next) || isFirst)) || !active.every(isBehind);
    for (const each of active) {
      if (isWanted && isBehind(each) && each.pausing !== undefined) void this.#pause(each, each.pausing);
    }
  }

  /** Whether its process has room for it, and for those that came before it, unless they wait for work in the background. */
  #mayCompute(entry: Entry, entries: readonly Entry[]): boolean {
    const { state, place } = entry;
    if (state !== "waiting" || place === undefined) return true;
    const ofProcess = entries.filter((each) => each.place?.process === place.process);
    const inProgress = ofProcess.filter((each) => each.state !== "waiting");
    const first = inProgress.every(isBehind) ? ofProcess.indexOf(entry) : 0;
    const inTurn = ofProcess.slice(first, ofProcess.indexOf(entry) + 1);
    return inTurn
      .filter((each) => each.state === "waiting" && isBehind(each) === isBehind(entry))
      .every((each) => inProgress.length < (each.place?.width() ?? 1));
  }

  #compute(entry: Entry): void {
    const wasPaused = entry.state === "paused";
    entry.state = "running";
    if (wasPaused) entry.pausing?.resume();
    else entry.start();
  }

  async #pause(entry: Entry, pausing: Pausing): Promise<void> {
    entry.state = "pausing";
    await pausing.pause();
    entry.state = "paused";
    this.schedule();
  }
}
