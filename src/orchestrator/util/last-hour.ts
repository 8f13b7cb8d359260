import type { LiveHistory, LiveModel, LiveState } from "../api/facade-metrics.ts";

const names = ["modelBytes", "otherBytes", "availableBytes", "tokensPerSecond", "running", "waiting"] as const;
type Columns = Omit<LiveHistory, "endsAt">;
type Moment = Pick<LiveState, "memory" | "operations" | "tokens" | "queue">;

const keptSeconds = 3_600;

/** A sample a second of the last hour, in a ring: the daemon's, and what a page has seen since. */
export class LastHour {
  /** NaN: none. */
  readonly #columns = names.map(() => new Float32Array(keptSeconds).fill(Number.NaN));
  /** Seconds since the epoch. */
  #oldest = 0;
  #newest = Number.NEGATIVE_INFINITY;
  /** The newest sample stands for the seconds after it, too. */
  #isHeld = false;
  /** All tokens at the newest sample. */
  #tokens: { readonly count: number; readonly atMs: number; readonly isBusy: boolean } | undefined;
  /** Those of the second that is under way, and since when they are known. */
  #begun = { tokens: 0, sinceMs: 0 };

  /** All tokens at the newest sample; undefined: not known. */
  get tokens(): number | undefined {
    return this.#tokens?.count;
  }

  /** Since the newest sample. Infinite without one, or if the clock was set back. */
  secondsSince(nowMs: number): number {
    const seconds = secondOf(nowMs) - this.#newest;
    return seconds < 0 ? Number.POSITIVE_INFINITY : seconds;
  }

  /** The sample before it stands for the seconds between them, if they are at most `heldSeconds`. */
  add(moment: Moment, nowMs: number, heldSeconds = Number.POSITIVE_INFINITY): void {
    const second = secondOf(nowMs);
    if (this.secondsSince(nowMs) <= heldSeconds) this.#hold(second - 1);
    else this.#tokens = undefined;
    const rate = this.#count(moment, nowMs);
    // The clock was set back: what comes after it is not known any more.
    for (let later = Math.max(second, this.#newest - keptSeconds) + 1; later <= this.#newest; later++)
      this.#write(later);
    this.#newest = Math.min(this.#newest, second);
    this.#put(second, valuesOf(moment, rate));
    this.#isHeld = true;
  }

  /** Adds a daemon's; one that was restarted knows less than this page, which keeps what is older. */
  takeHistory(history: LiveHistory): void {
    const count = history.modelBytes.length;
    const first = secondOf(Date.parse(history.endsAt)) - count + 1;
    for (let at = 0; at < count; at++) {
      const values = names.map((name) => history[name][at] ?? Number.NaN);
      if (!values.every(Number.isNaN)) this.#put(first + at, values);
    }
    // It was read now: its newest sample stands for the seconds until the next state.
    this.#isHeld = true;
  }

  /** What follows is unknown until the next sample. */
  pause(nowMs: number): void {
    this.#hold(secondOf(nowMs));
    this.#isHeld = false;
    this.#tokens = undefined;
  }

  history(): LiveHistory {
    const count = Math.max(0, Math.min(keptSeconds, this.#newest - this.#oldest + 1));
    return { endsAt: new Date(Math.max(0, this.#newest) * 1_000).toISOString(), ...this.#read(this.#newest, count) };
  }

  /** The last `count` seconds until now, all columns of the same length. */
  columns(nowMs: number, count: number): Columns & { readonly seconds: readonly number[] } {
    const now = secondOf(nowMs);
    this.#hold(now);
    return { seconds: Array.from({ length: count }, (_none, at) => now - count + 1 + at), ...this.#read(now, count) };
  }

  #read(endSecond: number, count: number): Columns {
    const read = this.#columns.map((column, index) => [
      names[index],
      Array.from({ length: count }, (_none, at) => {
        const second = endSecond - count + 1 + at;
        const isKept = second <= this.#newest && second > this.#newest - keptSeconds;
        const value = isKept ? (column[second % keptSeconds] ?? Number.NaN) : Number.NaN;
        return Number.isNaN(value) ? null : Math.round(value * 10) / 10;
      }),
    ]);
    return Object.fromEntries(read) as Columns;
  }

  /**
   * Writes the tokens of the seconds that have ended since the last sample; returns the rate for the one under way: that of
   * the second before it, until it has ended, too.
   */
  #count({ tokens: count, operations }: Moment, nowMs: number): number {
    const second = secondOf(nowMs);
    const last = this.#tokens;
    const isBusy = operations.length > 0;
    this.#tokens = { count, atMs: nowMs, isBusy };
    const column = this.#columns[names.indexOf("tokensPerSecond")] as Float32Array;
    // The daemon is another one, or the clock was set back.
    if (last === undefined || count < last.count || nowMs < last.atMs) this.#begun = { tokens: 0, sinceMs: nowMs };
    else {
      // Samples are further apart while nothing runs: what came, came just before this one.
      const fromMs = last.isBusy ? last.atMs : Math.max(last.atMs, nowMs - 1_000);
      const perMs = (count - last.count) / Math.max(1, nowMs - fromMs);
      for (let at = Math.max(secondOf(last.atMs), second - keptSeconds + 1); at < second; at++) {
        const endMs = (at + 1) * 1_000;
        const tokens = this.#begun.tokens + perMs * Math.max(0, endMs - Math.max(fromMs, at * 1_000));
        const knownMs = endMs - this.#begun.sinceMs;
        // Of less, what came says little: the rate of the second before stands.
        if (knownMs >= 500) column[at % keptSeconds] = (tokens * 1_000) / knownMs;
        this.#begun = { tokens: 0, sinceMs: endMs };
      }
      this.#begun.tokens += perMs * (nowMs - Math.max(fromMs, second * 1_000));
    }
    const before = column[(second - 1) % keptSeconds] ?? 0;
    return isBusy && second - 1 <= this.#newest && !Number.isNaN(before) ? before : 0;
  }

  #hold(until: number): void {
    if (!this.#isHeld) return;
    const values = this.#columns.map((column) => column[this.#newest % keptSeconds] ?? Number.NaN);
    for (let at = Math.max(this.#newest, until - keptSeconds) + 1; at <= until; at++) this.#put(at, values);
  }

  #put(second: number, values: readonly number[]): void {
    if (second <= this.#newest - keptSeconds) return;
    if (second > this.#newest + keptSeconds) this.#oldest = second;
    for (let at = Math.max(this.#newest + 1, second - keptSeconds + 1); at < second; at++) this.#write(at);
    this.#write(second, values);
    this.#oldest = Math.min(this.#oldest, second);
    this.#newest = Math.max(this.#newest, second);
  }

  #write(second: number, values?: readonly number[]): void {
    for (const [index, column] of this.#columns.entries()) column[second % keptSeconds] = values?.[index] ?? Number.NaN;
  }
}

function secondOf(ms: number): number {
  return Math.floor(ms / 1_000);
}

function valuesOf({ memory, queue }: Moment, tokensPerSecond: number): readonly number[] {
  const sum = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
    items.reduce((total, item) => total + of(item), 0);
  return [
    sum(memory.models.filter(isHere), ramBytesOf),
    memory.otherBytes,
    memory.availableBytes,
    tokensPerSecond,
    sum(queue, ({ running }) => running),
    sum(queue, ({ waiting }) => waiting),
  ];
}

/** Whether a model is in the memory of this machine. */
export function isHere({ isElsewhere }: LiveModel): boolean {
  return isElsewhere !== true;
}

/** What a model takes of RAM; the rest of it is on cards. */
export function ramBytesOf({ bytes, vramBytes = 0 }: LiveModel): number {
  return Math.max(0, bytes - vramBytes);
}
