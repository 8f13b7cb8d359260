/** Counts of this process, in memory: since the start, and not yet written. */
import type { MemorySample } from "../../api/facade-metrics.ts";
import {
  type Counts,
  type MoneyTally,
  type NameKind,
  type Names,
  type Row,
  emptyCounts,
  mergeCounts,
  mergeMoney,
  names,
  otherName,
} from "./counts.ts";
import { type Batch, addSample, keyOf } from "./history.ts";

/** Names of each kind; further ones are counted together. */
const maxNames = 50;
const maxRows = 1_000;

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

  add(rows: readonly Row[]): void {
    for (const row of rows) mergeCounts(this.of(row.names), row.counts);
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
    this.table.add(other.rows);
    for (const each of other.money) mergeMoney(this.moneyOf(each.day, each.task, each.client), each);
    for (const [key, times] of other.evictions) this.evictions.set(key, (this.evictions.get(key) ?? 0) + times);
    if (other.memory !== undefined) this.sampled(other.memory);
  }
}
