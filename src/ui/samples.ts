/** A sample a second of the last hour: what the daemon kept, and what this page has seen since. */
import type { LiveHistory, LiveState } from "../orchestrator/api/facade-metrics.ts";
import { isHere, ramBytesOf } from "./bar.ts";

const names = ["modelBytes", "otherBytes", "availableBytes", "tokensPerSecond", "running", "waiting"] as const;
type SampleName = (typeof names)[number];

type Sample = Readonly<Record<SampleName, number | null>>;

/** Samples in columns, as charts take them: all of the same length, oldest first. */
interface Columns extends Readonly<Record<SampleName, readonly (number | null)[]>> {
  /** Seconds since the epoch. */
  readonly seconds: readonly number[];
}

const keptSeconds = 3_600;
const nothing: Sample = {
  modelBytes: null,
  otherBytes: null,
  availableBytes: null,
  tokensPerSecond: null,
  running: null,
  waiting: null,
};

/** The samples by second. Seconds without one are absent, so that a chart has a gap there. */
export class Samples {
  readonly #bySecond = new Map<number, Sample>();
  #newest: number | undefined;

  /** Takes the daemon's history; a daemon that was restarted knows less than this page, which keeps what is older. */
  takeHistory(history: LiveHistory): void {
    const ends = Math.floor(Date.parse(history.endsAt) / 1_000);
    const count = history.modelBytes.length;
    for (let at = 0; at < count; at += 1) {
      const sample = Object.fromEntries(names.map((name) => [name, history[name][at] ?? null])) as Sample;
      if (sample.modelBytes !== null) this.#put(ends - count + 1 + at, sample);
    }
    // What happened between the page's last state and the new connection is not known.
    this.#newest = undefined;
    this.#trim(ends);
  }

  /** Adds a state; the daemon sends none while nothing changes, so the seconds before it are as the last one. */
  add(state: Pick<LiveState, "memory" | "operations" | "queue">, nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    this.#fillUntil(second - 1);
    this.#put(second, sampleOf(state));
    this.#newest = second;
    this.#trim(second);
  }

  /** The connection broke: what follows is unknown until the next state. */
  pause(nowMs: number): void {
    this.#fillUntil(Math.floor(nowMs / 1_000));
    this.#newest = undefined;
  }

  /** The last `seconds` until now. */
  columns(nowMs: number, seconds: number): Columns {
    const now = Math.floor(nowMs / 1_000);
    this.#fillUntil(now);
    const range = Array.from({ length: seconds }, (_none, at) => now - seconds + 1 + at);
    const found = range.map((second) => this.#bySecond.get(second) ?? nothing);
    const column = (name: SampleName) => found.map((sample) => sample[name]);
    return {
      seconds: range,
      modelBytes: column("modelBytes"),
      otherBytes: column("otherBytes"),
      availableBytes: column("availableBytes"),
      tokensPerSecond: column("tokensPerSecond"),
      running: column("running"),
      waiting: column("waiting"),
    };
  }

  #fillUntil(second: number): void {
    if (this.#newest === undefined) return;
    const last = this.#bySecond.get(this.#newest) ?? nothing;
    // A page that was asleep for longer has nothing to fill in.
    const from = Math.max(this.#newest + 1, second - keptSeconds);
    for (let at = from; at <= second; at += 1) this.#put(at, last);
    this.#newest = Math.max(this.#newest, second);
  }

  #put(second: number, sample: Sample): void {
    this.#bySecond.set(second, sample);
  }

  #trim(second: number): void {
    if (this.#bySecond.size <= keptSeconds * 1.1) return;
    for (const key of this.#bySecond.keys()) if (key <= second - keptSeconds) this.#bySecond.delete(key);
  }
}

function sampleOf({ memory, operations, queue }: Pick<LiveState, "memory" | "operations" | "queue">): Sample {
  const sum = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
    items.reduce((total, item) => total + of(item), 0);
  return {
    modelBytes: sum(memory.models.filter(isHere), ramBytesOf),
    otherBytes: memory.otherBytes,
    availableBytes: memory.availableBytes,
    tokensPerSecond: sum(operations, ({ tokensPerSecond = 0 }) => tokensPerSecond),
    running: sum(queue, ({ running }) => running),
    waiting: sum(queue, ({ waiting }) => waiting),
  };
}
