/** What this process counted and has in memory, and the figures of all that was counted. */
import { type MoneyTally, mergeMoney, noMoney, otherName } from "../../api/cost.ts";
import type { Counters, Distribution, MetricsReport, NamedFigures } from "../../api/facade-metrics.ts";
import type { MemorySample } from "../../api/events.ts";
import type { DecisionKind } from "../../api/facade-status.ts";
import {
  type Counts,
  type NameKind,
  type Names,
  type Row,
  emptyCounts,
  figuresOf,
  mergeCounts,
  names,
  namesOf,
  sums,
  cumulative,
} from "./counts.ts";
import { localDay } from "../../util/format-bytes.ts";
import { keyOfName } from "../../util/model-name.ts";
import { type History, addSample, keyOf, partsOf } from "./history.ts";
import { getOrInsert } from "../../util/values.ts";

const shownDays = 30;
/** Names of a kind; those with the fewest requests are added up. */
const maxNames = 50;
/** Every request has one task, and there are few. */
const complete: NameKind = "task";

/** The figures of several histories that don't overlap: what is stored, and what isn't yet. `nowMs`: since the epoch. */
export function reportOf(
  histories: readonly History[],
  nowMs: number,
  samples: readonly MemorySample[],
): Omit<MetricsReport, "connections"> {
  const total = emptyCounts();
  /** By name, by kind. */
  const all = new Map<keyof MetricsReport["by"], Map<string, Counts>>();
  /** Requests by day, by kind and name; of the day itself by hour. */
  const series = new Map<string, Map<string, number>>();
  let since = localDay(nowMs);
  const seriesFor = (kind: keyof MetricsReport["by"], name: string): Map<string, number> => {
    const key = keyOf(kind, name);
    return getOrInsert(series, key, () => new Map<string, number>());
  };
  const add = (kind: keyof MetricsReport["by"], name: string, counts: Counts): void => {
    const byName = getOrInsert(all, kind, () => new Map<string, Counts>());
    const found = getOrInsert(byName, name, () => emptyCounts());
    mergeCounts(found, counts);
  };
  for (const { hours, days } of histories) {
    for (const [day, period] of days) {
      if (period.size > 0 && day < since) since = day;
      for (const [key, counts] of period) {
        // It was in memory only.
        if (counts.requests === 0 && counts.queue.length === 0 && Object.keys(counts.errors).length === 0) continue;
        const [kind = "", name = ""] = partsOf(key);
        add(kind as NameKind, name, counts);
        addTo(seriesFor(kind as NameKind, name), day, counts.requests);
        if (kind !== complete) continue;
        mergeCounts(total, counts);
        add("day", day, counts);
      }
    }
    for (const [hour, period] of hours) {
      for (const [key, { requests }] of period) {
        if (partsOf(key)[0] === complete) addTo(seriesFor("day", dayOf(hour)), hour, requests);
      }
    }
  }
  const days = lastDays(nowMs, since);
  const seriesOf = (kind: keyof MetricsReport["by"], name: string): readonly number[] => {
    const requests = seriesFor(kind, name);
    if (kind !== "day") return days.map((day) => requests.get(day) ?? 0);
    // The hours of an old day are not kept.
    if (requests.size === 0) return [];
    return hoursOf(name).map((hour) => requests.get(hour) ?? 0);
  };
  const named = (kind: keyof MetricsReport["by"]): readonly NamedFigures[] =>
    Array.from(all.get(kind) ?? [], ([name, counts]) => ({
      name,
      ...figuresOf(counts),
      history: seriesOf(kind, name),
    }));
  for (const kind of names) bound(all.get(kind), kind, series);
  return {
    since: new Date(startOf(since)).toISOString(),
    total: figuresOf(total),
    by: {
      ...(Object.fromEntries(
        names.map((kind) => [kind, named(kind).toSorted((a, b) => b.requests - a.requests)]),
      ) as unknown as Record<NameKind, readonly NamedFigures[]>),
      day: named("day").toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    },
    evictions: evictionsOf(histories),
    memory: memoryOf(histories, samples),
  };
}

/** Adds the names with the fewest requests to `other`. */
function bound(
  byName: Map<string, Counts> | undefined,
  kind: NameKind,
  series: Map<string, Map<string, number>>,
): void {
  if (byName === undefined || byName.size <= maxNames) return;
  const least = [...byName]
    .filter(([name]) => name !== otherName)
    .toSorted(([, a], [, b]) => b.requests - a.requests)
    .slice(maxNames - 1);
  const other = emptyCounts();
  const requests = new Map<string, number>();
  const kept = byName.get(otherName);
  for (const [name, counts] of [...least, ...(kept === undefined ? [] : [[otherName, kept] as const])]) {
    byName.delete(name);
    mergeCounts(other, counts);
    for (const [day, times] of series.get(keyOf(kind, name)) ?? []) addTo(requests, day, times);
  }
  byName.set(otherName, other);
  series.set(keyOf(kind, otherName), requests);
}

function addTo(series: Map<string, number>, start: string, requests: number): void {
  series.set(start, (series.get(start) ?? 0) + requests);
}

/** Days up to today, from the first that is counted on. */
function lastDays(nowMs: number, since: string): readonly string[] {
  const today = localDay(nowMs);
  const days = Array.from({ length: shownDays }, (_, at) => localDay(startOf(today, at + 1 - shownDays)));
  return days.filter((day) => day >= since);
}

/** When a day begins in the time zone of this machine, or one that is `later` by days. Milliseconds since the epoch. */
function startOf(day: string, later = 0): number {
  const start = new Date(`${day}T12:00`);
  start.setDate(start.getDate() + later);
  return start.setHours(0, 0, 0, 0);
}

/** The day in which an hour (`2026-11-23T05`, UTC) begins. */
const dayOf = (hour: string): string => localDay(Date.parse(`${hour}:00Z`));

const hourMs = 3_600_000;

/** The hours that begin within a day: 23 to 25. */
function hoursOf(day: string): readonly string[] {
  const first = Math.ceil(startOf(day) / hourMs);
  const end = Math.ceil(startOf(day, 1) / hourMs);
  return Array.from({ length: end - first }, (_, at) => new Date((first + at) * hourMs).toISOString().slice(0, 13));
}

/** The counts of each model, by `keyOfName`, and since when (ms since the epoch) there are any; without the names that were added up. */
export function modelsOf(histories: readonly History[]) {
  const byName = new Map<string, Counts>();
  let since: string | undefined;
  // The hours are counted in their days, too.
  for (const { days } of histories) {
    for (const [start, period] of days) {
      if (since === undefined || start < since) since = start;
      for (const [parts, counts] of period) {
        const [kind, name = ""] = partsOf(parts);
        if (kind !== "model" || name === otherName) continue;
        const key = keyOfName(name);
        const found = getOrInsert(byName, key, () => emptyCounts());
        mergeCounts(found, counts);
      }
    }
  }
  return { byName, ...(since !== undefined && { sinceMs: startOf(since) }) };
}

function evictionsOf(histories: readonly History[]): MetricsReport["evictions"] {
  const counts = new Map<string, number>();
  for (const { evictions } of histories) {
    for (const [key, count] of evictions) counts.set(key, (counts.get(key) ?? 0) + count);
  }
  return Array.from(counts, ([key, count]) => {
    const [model = "", kind = ""] = partsOf(key);
    return { model, kind: kind as DecisionKind, count };
  }).toSorted((a, b) => b.count - a.count);
}

/** Days before the first hour, hours before the first minute, minutes. */
function memoryOf(histories: readonly History[], samples: readonly MemorySample[]): readonly MemorySample[] {
  const sorted = (kind: "hours" | "days") =>
    histories.flatMap(({ memory }) => [...memory[kind]]).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const hours = sorted("hours");
  const firstMinute = samples[0]?.at.slice(0, 13) ?? "9";
  const first = hours[0]?.[0] ?? samples[0]?.at.slice(0, 13);
  const firstDay = first === undefined ? "9" : dayOf(first);
  return [...sorted("days").filter(([day]) => day < firstDay), ...hours.filter(([hour]) => hour < firstMinute)]
    .map(([, sample]) => sample)
    .concat(samples);
}

/** The durations by model and engine alone: a histogram has a line for each of its bounds. */
export function countersOf(rows: readonly Row[]): Counters {
  const byModel = new Map<string, Row>();
  for (const { names: given, counts } of rows) {
    const key = keyOf(given.model, given.engine);
    const row = getOrInsert(byModel, key, () => ({ names: given, counts: emptyCounts() }));
    mergeCounts(row.counts, counts);
  }
  return {
    requests: rows.map(({ names: given, counts }) => {
      const numbers = Object.fromEntries(sums.map((sum) => [sum, counts[sum]])) as Record<
        (typeof sums)[number],
        number
      >;
      return { ...given, ...numbers, errors: { ...counts.errors } };
    }),
    durations: Array.from(byModel.values(), ({ names: { model, engine }, counts }) => ({
      model,
      engine,
      queue: distributionOf(counts.queue),
      load: distributionOf(counts.load),
      firstToken: distributionOf(counts.firstToken),
      total: distributionOf(counts.total),
    })),
  };
}

function distributionOf(histogram: readonly number[]): Distribution {
  return { sumMs: histogram[0] ?? 0, bounds: cumulative(histogram) };
}

/** Names of each kind; further ones are counted together. */
const maxNamesOfKind = 50;
const maxRows = 1_000;

/** Rows by all names together, within bounds: a client chooses its name, and may choose many. */
export class RowTable {
  readonly #rows = new Map<string, Row>();
  readonly #known = new Map<NameKind, Set<string>>(names.map((kind) => [kind, new Set()]));

  get rows(): readonly Row[] {
    return [...this.#rows.values()];
  }

  of(given: Names): Counts {
    const key = keyOf(...names.map((kind) => given[kind]));
    const found = this.#rows.get(key);
    if (found !== undefined) return found.counts;
    const isFull = this.#rows.size >= maxRows;
    const kept = namesOf((kind) => (isFull ? otherName : this.#bounded(kind, given[kind])));
    const keptKey = keyOf(...names.map((kind) => kept[kind]));
    const row = getOrInsert(this.#rows, keptKey, () => ({ names: kept, counts: emptyCounts() }));
    return row.counts;
  }

  add(rows: readonly Row[]): void {
    for (const row of rows) mergeCounts(this.of(row.names), row.counts);
  }

  #bounded(kind: NameKind, name: string): string {
    const known = this.#known.get(kind) as Set<string>;
    if (known.size >= maxNamesOfKind && !known.has(name)) return otherName;
    known.add(name);
    return name;
  }
}

/** What was counted in one hour of one day and isn't written yet. */
export class PendingBatch {
  readonly hour: string;
  readonly day: string;
  readonly table = new RowTable();
  readonly #money = new Map<string, MoneyTally>();
  readonly evictions = new Map<string, number>();
  readonly remote: History["remote"] = new Map();
  memory: MemorySample | undefined;

  constructor(nowMs: number) {
    this.hour = new Date(nowMs).toISOString().slice(0, 13);
    this.day = localDay(nowMs);
    this.sent("", 0, nowMs / 1_000);
  }

  get key(): string {
    return keyOf(this.hour, this.day);
  }

  get rows(): readonly Row[] {
    return this.table.rows;
  }

  get money(): readonly MoneyTally[] {
    return [...this.#money.values()];
  }

  moneyOf(day: string, task: string, client: string): MoneyTally {
    const key = keyOf(day, task, client);
    return getOrInsert(this.#money, key, () => ({ ...noMoney, day, task, client, paid: [] }));
  }

  evicted(model: string, kind: string, times = 1): void {
    const key = keyOf(model, kind);
    this.evictions.set(key, (this.evictions.get(key) ?? 0) + times);
  }

  /** Prompts that left this machine; of `""` none, and the moment counts as the first. `at`: seconds since the epoch. */
  sent(engine: string, count: number, at: number): void {
    const [known, knownAt] = this.remote.get(engine) ?? [0, at];
    this.remote.set(engine, [known + count, Math.floor(engine === "" ? Math.min(knownAt, at) : Math.max(knownAt, at))]);
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
    for (const [engine, [count, at]] of other.remote) this.sent(engine, count, at);
    if (other.memory !== undefined) this.sampled(other.memory);
  }
}
