import * as z from "zod";
import { type MoneyTally, mergeMoney, noMoney, moneyTally, otherName } from "../../api/cost.ts";
import { type MemorySample, memorySample } from "../../api/events.ts";
import type { Log } from "../../api/log.ts";
import { localDay } from "../../util/format-bytes.ts";
import { openDocument } from "../../storage/document.ts";
import type { DocumentFiles } from "../../storage/document-files.ts";
import {
  type Counts,
  type NameKind,
  type Row,
  emptyCounts,
  mergeCounts,
  mergeSums,
  names,
  namesOf,
  sums,
  times,
  histogramOf,
  histogramText,
} from "./counts.ts";
import { defined, getOrInsert } from "../../util/values.ts";

/** As many hours and days as were used are kept: a clock that is wrong for a while deletes nothing. */
const maxHours = 8 * 24;
const maxDays = 400;
/** Bounds of `metrics.json`: 8 MB, if all rows are as wide as those of a busy day. The oldest go first. */
const maxHourRows = 10_000;
const maxDayRows = 20_000;
/** Names of a kind per hour or day: a client chooses its name, and may choose many. */
const maxNames = 40;
const maxMoneyPerDay = 100;
const maxMoney = 20_000;
const maxEvictions = 200;
/** Counts by kind and name (`keyOf`): each request is in one row of each kind. */
type Period = Map<string, Counts>;

/** What was counted. */
export interface History {
  /** By UTC hour (`2026-11-23T05`), without times. */
  readonly hours: Map<string, Period>;
  /** By day in the time zone of this machine (`2026-11-23`), all of it. */
  readonly days: Map<string, Period>;
  /** By day, task and client. */
  readonly money: Map<string, MoneyTally>;
  /** By model and kind of decision. */
  readonly evictions: Map<string, number>;
  /**
   * Prompts sent to each engine or host that is not on this machine, and when the last one was, in seconds since the epoch.
   * The name `""` has none, and when the count began: older files have no such count.
   */
  readonly remote: Map<string, readonly [count: number, atSeconds: number]>;
  /** For an hour or a day: the least that was available, and the most that models had. */
  readonly memory: { readonly hours: Map<string, MemorySample>; readonly days: Map<string, MemorySample> };
}

export function emptyHistory(): History {
  return {
    hours: new Map(),
    days: new Map(),
    money: new Map(),
    evictions: new Map(),
    remote: new Map(),
    memory: { hours: new Map(), days: new Map() },
  };
}

/** What was counted since the last write, within one hour of one day. */
interface Batch {
  /** `2026-11-23T05`, UTC. */
  readonly hour: string;
  /** `2026-11-23`, in the time zone of this machine when it was counted. */
  readonly day: string;
  readonly rows: readonly Row[];
  readonly money: readonly MoneyTally[];
  readonly evictions: ReadonlyMap<string, number>;
  readonly remote: History["remote"];
  readonly memory?: MemorySample | undefined;
}

const separator = "\n";

export function keyOf(...parts: readonly string[]): string {
  return parts.join(separator);
}

export function partsOf(key: string): readonly string[] {
  return key.split(separator);
}

/** Adds a batch, each row to the names that it has. */
export function addBatch(history: History, { hour, day, rows, money, evictions, remote, memory }: Batch): void {
  const [ofHour, ofDay] = [periodOf(history.hours, hour), periodOf(history.days, day)];
  for (const { names: given, counts } of rows) {
    for (const kind of names) {
      if (given[kind] === "") continue;
      mergeSums(countsOf(ofHour, kind, given[kind]), counts);
      mergeCounts(countsOf(ofDay, kind, given[kind]), counts);
    }
  }
  for (const each of money) mergeMoney(moneyOf(history, each), each);
  for (const [key, count] of evictions) {
    const isFull = history.evictions.size >= maxEvictions && !history.evictions.has(key);
    const kept = isFull ? keyOf(otherName, partsOf(key)[1] ?? "") : key;
    history.evictions.set(kept, (history.evictions.get(kept) ?? 0) + count);
  }
  for (const [engine, [sent, at]] of remote) {
    const name = history.remote.size > maxNames && !history.remote.has(engine) ? otherName : engine;
    const [known, knownAt] = history.remote.get(name) ?? [0, at];
    history.remote.set(name, [known + sent, name === "" ? Math.min(knownAt, at) : Math.max(knownAt, at)]);
  }
  if (memory !== undefined) {
    addSample(history.memory.hours, hour, memory);
    addSample(history.memory.days, day, memory);
  }
}

function periodOf(periods: Map<string, Period>, start: string): Period {
  return getOrInsert(periods, start, () => new Map());
}

function countsOf(period: Period, kind: NameKind, name: string): Counts {
  let key = keyOf(kind, name);
  let counts = period.get(key);
  if (counts !== undefined) return counts;
  if (countKind(period, kind) >= maxNames) {
    key = keyOf(kind, otherName);
    counts = period.get(key);
  }
  if (counts === undefined) period.set(key, (counts = emptyCounts()));
  return counts;
}

function countKind(period: Period, kind: NameKind): number {
  let count = 0;
  for (const key of period.keys()) if (key.startsWith(kind + separator)) count += 1;
  return count;
}

function moneyOf({ money }: History, { day, task, client }: MoneyTally): MoneyTally {
  const key = keyOf(day, task, client);
  const known = money.get(key);
  if (known !== undefined) return known;
  const ofDay = new Set<string>();
  for (const each of money.values()) if (each.day === day) ofDay.add(keyOf(each.task, each.client));
  const name = ofDay.size >= maxMoneyPerDay && !ofDay.has(keyOf(task, client)) ? otherName : client;
  const kept = keyOf(day, task, name);
  return getOrInsert(money, kept, () => ({ ...noMoney, day, task, client: name, paid: [] }));
}

/** The least that was available, the most that models had. */
export function addSample(samples: Map<string, MemorySample>, start: string, sample: MemorySample): void {
  const known = samples.get(start);
  if (known === undefined) return void samples.set(start, sample);
  const byType: Record<string, number> = { ...known.byType };
  for (const [type, bytes] of Object.entries(sample.byType)) byType[type] = Math.max(byType[type] ?? 0, bytes);
  samples.set(start, {
    at: known.at,
    availableBytes: Math.min(known.availableBytes, sample.availableBytes),
    modelBytes: Math.max(known.modelBytes, sample.modelBytes),
    byType,
  });
}

/** Drops the oldest hours and days beyond the bounds. */
export function dropOldest(history: History): void {
  const { hours, days, money, memory } = history;
  while (hours.size > maxHours || rowsOf(hours) > maxHourRows) hours.delete(oldest(hours));
  while (days.size > maxDays || rowsOf(days) > maxDayRows) days.delete(oldest(days));
  const moneyDays = new Set([...money.values()].map(({ day }) => day));
  while (moneyDays.size > maxDays || money.size > maxMoney) {
    const day = oldest(moneyDays);
    for (const [key, each] of money) if (each.day === day) money.delete(key);
    moneyDays.delete(day);
  }
  while (memory.hours.size > maxHours) memory.hours.delete(oldest(memory.hours));
  while (memory.days.size > maxDays) memory.days.delete(oldest(memory.days));
}

function oldest(starts: { keys(): Iterable<string> }): string {
  let first: string | undefined;
  for (const start of starts.keys()) if (first === undefined || start < first) first = start;
  return first ?? "";
}

function rowsOf(periods: ReadonlyMap<string, Period>): number {
  let rows = 0;
  for (const period of periods.values()) rows += period.size;
  return rows;
}

// -------------------------------------------------------------------------------------------------- on disk

const count = z.number();
/** Later ones stand behind what followed these. */
const firstSums = 10;
const counted = z.tuple([
  /** The first of `sums`, in their order, the last use in seconds since the epoch, the largest tokens, and the other sums. */
  z.array(count),
  z.record(z.string(), count),
  /** In the order of `times`: `histogramText`. */
  z.array(z.string()),
]);
type StoredCounts = z.output<typeof counted>;

function stored(counts: Counts): StoredCounts {
  const numbers: number[] = sums.map((name) => counts[name]);
  numbers.splice(firstSums, 0, Math.round(counts.lastUsedMs / 1000), counts.largestTokens);
  return [numbers, { ...counts.errors }, times.map((name) => histogramText(counts[name]))];
}

function restored([[...numbers], errors, histograms]: StoredCounts): Counts {
  const counts = emptyCounts();
  const [lastUsed = 0, largestTokens = 0] = numbers.splice(firstSums, 2);
  for (const [at, name] of sums.entries()) counts[name] = numbers[at] ?? 0;
  Object.assign(counts, { lastUsedMs: lastUsed * 1000, largestTokens });
  Object.assign(counts.errors, errors);
  for (const [at, name] of times.entries()) counts[name].push(...histogramOf(histograms[at] ?? ""));
  return counts;
}

/** Hour or day, kind (an index of `names`) and name. */
const periodRow = z.tuple([z.string(), z.int().min(0), z.string(), counted]);
const timedSample = z.tuple([z.string(), memorySample]);
const samples = z.array(timedSample);
const eviction = z.tuple([z.string(), count]);
const evictions = z.array(eviction);
const remoteRow = z.tuple([z.string(), z.tuple([count, count])]);
const remoteRows = z.array(remoteRow).default([]);

const storedHistory = z.object({
  hours: z.array(periodRow),
  days: z.array(periodRow),
  money: z.array(moneyTally),
  evictions,
  remote: remoteRows,
  memoryHours: samples,
  memoryDays: samples,
});

function snapshot({ hours, days, money, evictions: evicted, remote, memory }: History): z.output<typeof storedHistory> {
  return {
    hours: flat(hours),
    days: flat(days),
    money: structuredClone([...money.values()]),
    evictions: [...evicted],
    remote: Array.from(remote, ([engine, [sent, at]]) => [engine, [sent, at]]),
    memoryHours: [...memory.hours],
    memoryDays: [...memory.days],
  };
}

function flat(periods: ReadonlyMap<string, Period>): z.output<typeof periodRow>[] {
  return [...periods].flatMap(([start, period]) =>
    Array.from(period, ([key, counts]): z.output<typeof periodRow> => {
      const [kind = "", name = ""] = partsOf(key);
      return [start, names.indexOf(kind as NameKind), name, stored(counts)];
    }),
  );
}

function historyOf(given: z.output<typeof storedHistory>): History {
  const history = emptyHistory();
  for (const [rows, periods] of [
    [given.hours, history.hours],
    [given.days, history.days],
  ] as const) {
    for (const [start, kind, name, counts] of rows) {
      periodOf(periods, start).set(keyOf(names[kind] ?? "", name), restored(counts));
    }
  }
  for (const each of inDays(given.money)) {
    const key = keyOf(each.day, each.task, each.client);
    const known = history.money.get(key);
    if (known === undefined) history.money.set(key, each);
    else mergeMoney(known, each);
  }
  for (const [key, unloads] of given.evictions) history.evictions.set(key, unloads);
  for (const [engine, sent] of given.remote) history.remote.set(engine, sent);
  for (const [start, each] of given.memoryHours) history.memory.hours.set(start, each);
  for (const [start, each] of given.memoryDays) history.memory.days.set(start, each);
  return history;
}

const event = z.object({
  hour: z.string(),
  /** Older ones have none: that of the hour. */
  day: z.string().exactOptional(),
  rows: z.array(z.tuple([z.array(z.string()).length(names.length), counted])),
  money: z.array(moneyTally),
  evictions: evictions,
  remote: remoteRows,
  memory: memorySample.exactOptional(),
});
type HistoryEvent = z.output<typeof event>;

export function eventOf({ hour, day, rows, money, evictions: evicted, remote, memory }: Batch): HistoryEvent {
  return {
    hour,
    day,
    rows: rows.map(({ names: given, counts }) => [names.map((kind) => given[kind]), stored(counts)]),
    money: [...money],
    evictions: [...evicted],
    remote: Array.from(remote, ([engine, [sent, at]]) => [engine, [sent, at]]),
    ...defined({ memory }),
  };
}

/** Older files have quarters of an hour. */
function inDays(money: readonly MoneyTally[]): readonly MoneyTally[] {
  return money.map((each) => (each.day.includes("T") ? { ...each, day: localDay(Date.parse(`${each.day}Z`)) } : each));
}

function batchOf({
  hour,
  day = hour.slice(0, 10),
  rows,
  money,
  evictions: evicted,
  remote,
  memory,
}: HistoryEvent): Batch {
  return {
    hour,
    day,
    rows: rows.map(([given, counts]) => {
      return { names: namesOf((kind) => given[names.indexOf(kind)] ?? ""), counts: restored(counts) };
    }),
    money: inDays(money),
    evictions: new Map(evicted),
    remote: new Map(remote),
    memory,
  };
}

export function openHistory(log: Log, files: DocumentFiles | undefined) {
  return openDocument<History, HistoryEvent>({
    name: "metrics",
    schemaVersion: 1,
    empty: emptyHistory,
    state: storedHistory.transform(historyOf),
    event,
    apply: (history, given) => addBatch(history, batchOf(given)),
    prune: dropOldest,
    rows: {
      hours: periodRow,
      days: periodRow,
      money: moneyTally,
      evictions: eviction,
      remote: remoteRow,
      memoryHours: timedSample,
      memoryDays: timedSample,
    },
    snapshot,
    log,
    ...defined({ files }),
  });
}
