/** Counts of this process, in memory: since the start, not yet written, and of the last hour. */
import type { MemorySample } from "../api/facade-metrics.ts";
import {
  type Counts,
  type EndedRequest,
  type MoneyTally,
  type NameKind,
  type Names,
  type Row,
  emptyCounts,
  hasWorked,
  mergeCounts,
  mergeMoney,
  names,
  otherName,
} from "./counts.ts";
import { type Batch, addSample, keyOf } from "./history.ts";
import { percentileMs, record, type Histogram } from "./histogram.ts";

/** Names of each kind; further ones are counted together. */
const maxNames = 50;
const maxRows = 2_000;

/** Rows by all names together, within bounds: a client chooses its name, and may choose many. */
export class RowTable {
  readonly #rows = new Map<string, Row>();
  readonly #known = new Map<NameKind, Set<string>>(names.map((kind) => [kind, new Set()]));

  get rows(): readonly Row[] {
    return [...this.#rows.values()];
  }

  of({ model, engine, profile, client, task }: Names): Counts {
    const key = keyOf(model, engine, profile, client, task);
    const found = this.#rows.get(key);
    if (found !== undefined) return found.counts;
    const bounded: Names = {
      model: this.#bounded("model", model),
      engine: this.#bounded("engine", engine),
      profile: this.#bounded("profile", profile),
      client: this.#bounded("client", client),
      task: this.#bounded("task", task),
    };
    const isFull = this.#rows.size >= maxRows;
    const kept: Names = isFull
      ? { model: otherName, engine: otherName, profile: otherName, client: otherName, task: otherName }
      : bounded;
    const keptKey = keyOf(...names.map((kind) => kept[kind]));
    let row = this.#rows.get(keptKey);
    if (row === undefined) this.#rows.set(keptKey, (row = { names: kept, counts: emptyCounts() }));
    return row.counts;
  }

  #bounded(kind: NameKind, name: string): string {
    const known = this.#known.get(kind) as Set<string>;
    if (known.size >= maxNames && !known.has(name)) return otherName;
    known.add(name);
    return name;
  }
}

/** What was counted in one hour and isn't written yet. */
export class PendingBatch implements Batch {
  /** `2026-11-23T05` */
  readonly hour: string;
  readonly table = new RowTable();
  readonly #money = new Map<string, MoneyTally>();
  readonly evictions = new Map<string, number>();
  memory: MemorySample | undefined;

  constructor(hour: string) {
    this.hour = hour;
  }

  get rows(): readonly Row[] {
    return this.table.rows;
  }

  get money(): readonly MoneyTally[] {
    return [...this.#money.values()];
  }

  moneyOf(day: string, task: string, client: string): MoneyTally {
    const key = keyOf(day, task, client);
    let count = this.#money.get(key);
    if (count === undefined) {
      count = { day, task, client, promptTokens: 0, completionTokens: 0, fileTokens: 0, paid: [] };
      this.#money.set(key, count);
    }
    return count;
  }

  evicted(model: string, kind: string, times = 1): void {
    const key = keyOf(model, kind);
    this.evictions.set(key, (this.evictions.get(key) ?? 0) + times);
  }

  sampled(sample: MemorySample): void {
    const samples = new Map(this.memory === undefined ? [] : [[this.hour, this.memory]]);
    addSample(samples, this.hour, sample);
    this.memory = samples.get(this.hour);
  }

  add(other: PendingBatch): void {
    for (const row of other.rows) mergeCounts(this.table.of(row.names), row.counts);
    for (const each of other.money) mergeMoney(this.moneyOf(each.day, each.task, each.client), each);
    for (const [key, times] of other.evictions) this.evictions.set(key, (this.evictions.get(key) ?? 0) + times);
    if (other.memory !== undefined) this.sampled(other.memory);
  }
}

/** How a model or profile did recently. */
export interface RecentUse {
  readonly kind: "model" | "profile";
  readonly name: string;
  /** Requests of a profile, requests to the engine of a model; cancelled ones and refused questions left out. */
  readonly count: number;
  readonly failed: number;
  /** Of those that did not fail, from the queue to the end; 0 without any. */
  readonly p50Ms: number;
  readonly p95Ms: number;
}

interface Use {
  readonly atMs: number;
  readonly totalMs: number;
  readonly hasWorked: boolean;
}

const recentMs = 3_600_000;
const maxUses = 100;
const maxSubjects = 200;

/** The last 100 uses of each model and profile within the last hour. */
export class RecentUses {
  /** The one that was used last is at the end. */
  readonly #uses = new Map<string, Use[]>();

  add({ profile, totalMs, error, attempts }: EndedRequest, atMs: number): void {
    this.#add(keyOf("profile", profile), { atMs, totalMs, hasWorked: hasWorked(error) });
    for (const attempt of attempts) {
      const use = { atMs, totalMs: attempt.totalMs, hasWorked: hasWorked(attempt.error) };
      this.#add(keyOf("model", attempt.model), use);
    }
  }

  #add(key: string, use: Omit<Use, "hasWorked"> & { readonly hasWorked: boolean | undefined }): void {
    if (use.hasWorked === undefined) return;
    const uses = this.#uses.get(key) ?? [];
    uses.push({ ...use, hasWorked: use.hasWorked });
    if (uses.length > maxUses) uses.shift();
    this.#uses.delete(key);
    this.#uses.set(key, uses);
    const [first = ""] = this.#uses.keys();
    if (this.#uses.size > maxSubjects) this.#uses.delete(first);
  }

  list(nowMs: number): readonly RecentUse[] {
    return [...this.#uses].flatMap(([key, uses]): readonly RecentUse[] => {
      const [kind = "", name = ""] = key.split("\n");
      const within = uses.filter(({ atMs }) => atMs > nowMs - recentMs);
      if (within.length === 0) return [];
      const times: Histogram = [];
      for (const use of within) if (use.hasWorked) record(times, use.totalMs);
      return [
        {
          kind: kind as RecentUse["kind"],
          name,
          count: within.length,
          failed: within.filter((use) => !use.hasWorked).length,
          p50Ms: percentileMs(times, 0.5),
          p95Ms: percentileMs(times, 0.95),
        },
      ];
    });
  }
}
