import { cleanName } from "../../util/control-characters.ts";
import type { MoneyTally } from "../../api/cost.ts";
import type { EndedRequest, Events, EventOf, MemorySample } from "../../api/events.ts";
import type { CountedFigures, Counters, MetricsReport } from "../../api/facade-metrics.ts";
import type { Log } from "../../api/log.ts";
import { StoreFailed } from "../../api/errors.ts";
import { openedOnce } from "../../storage/document.ts";
import type { DocumentFiles } from "../../storage/document-files.ts";
import { messageOf } from "../../util/values.ts";
import { counted } from "../../util/format-bytes.ts";
import type { Timers } from "../../util/timers.ts";
import { countMoney, countRequest } from "./counts.ts";
import { Breaches } from "./breaches.ts";
import { type History, addBatch, emptyHistory, eventOf, openHistory } from "./history.ts";
import { PendingBatch, RowTable, countersOf, modelsOf, reportOf } from "./report.ts";

/** After a request: those that end together are counted, and written, together. A crash loses no more of the money. */
const momentMs = 1_000;
/** For what isn't money. */
const writeDelayMs = 60_000;
const publishIntervalMs = 60_000;
/** A day of samples. */
const maxSamples = 24 * 60;
/** Hours that wait to be written while the disk is full. */
const maxWaitingHours = 48;

interface MetricsParts extends Omit<ConstructorParameters<typeof Breaches>[0], "emit"> {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
  readonly events: Events;
  /** How each engine that pools its connections uses them. */
  readonly connections: () => MetricsReport["connections"];
  /** Absent: counts end with the process. */
  readonly files?: DocumentFiles;
}

/**
 * Counts what this program does. A request that ended is only kept; counting and writing follow a moment later.
 *
 * | what                                | where                                       | when                        |
 * |-------------------------------------|---------------------------------------------|-----------------------------|
 * | tokens, charges, answers read (money) | `metrics.json`, by time, task and client    | within a second             |
 * | prompts that left this machine      | `metrics.json`, by engine, with the last    | at once                     |
 * | figures by name, evictions          | `metrics.json`, by UTC hour, and by day     | with money, else in a minute |
 * | extremes of the memory              | `metrics.json`, the same                    | with others, at the end     |
 * | samples, since start                | memory                                      |                             |
 */
class MetricsStore {
  readonly #parts: MetricsParts;
  readonly #breaches: Breaches;
  readonly #document: ReturnType<typeof openedOnce<Awaited<ReturnType<typeof openHistory>>>>;
  #noted: EventOf<"request ended" | "answer read">[] = [];
  /** By hour and day, what isn't written yet. */
  readonly #pending = new Map<string, PendingBatch>();
  /** Something of `#writing` isn't in the document yet, nor in `#pending`. */
  #isWriting = false;
  readonly #sinceStart = new RowTable();
  #samples: MemorySample[] = [];
  #cancelCount: (() => void) | undefined;
  #cancelWrite: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** Why what was counted is not stored. */
  #problem: string | undefined;
  #isPublished = false;
  #isStale = false;
  #isClosed = false;

  constructor(parts: MetricsParts) {
    this.#parts = parts;
    this.#breaches = new Breaches({ ...parts, emit: parts.events.emit });
    this.#document = openedOnce(() => openHistory(parts.log, parts.files));
    parts.events.on(["request ended", "answer read"], this.#note);
    parts.events.on(["decision taken"], ({ decision }) => this.#countUnloads(decision));
    parts.events.on(["memory sampled"], (sampled) => this.#noteMemory(sampled));
    parts.events.on(["remote request sent"], ({ engine }) => this.#noteRemote(engine));
  }

  readonly #note = (event: EventOf<"request ended" | "answer read">): void => {
    if (this.#isClosed) return;
    this.#noted.push(event);
    this.#cancelCount ??= this.#parts.timers.after(momentMs, () => this.#count());
  };

  #countUnloads({ kind, model, plan }: EventOf<"decision taken">["decision"]): void {
    if (kind !== "load" && kind !== "unload" && kind !== "expire") return;
    const evicted = kind === "load" ? (plan?.evict ?? []).map(({ name }) => name) : [];
    this.#breaches.noteEvicted(evicted);
    const unloaded = kind === "load" ? evicted : [model];
    for (const name of unloaded) this.#batch().evicted(cleanName(name), kind);
    if (unloaded.length > 0) this.#writeSoon();
  }

  #noteRemote(engine: string): void {
    if (this.#isClosed) return;
    this.#batch().sent(cleanName(engine), 1, this.#parts.now() / 1_000);
    void this.#write();
  }

  #noteMemory({ sample, loaded }: EventOf<"memory sampled">): void {
    const nowhere = { engine: "", profile: "", client: "", task: "" };
    // A model in memory, perhaps for another program, counts as used.
    for (const name of loaded) {
      this.#batch().table.of({ model: cleanName(name), ...nowhere }).lastUsedMs = this.#parts.now();
    }
    this.#samples.push(sample);
    if (this.#samples.length > maxSamples) this.#samples.shift();
    // Written with the next request, or at the end: an idle machine's disk stays asleep.
    this.#batch().sampled(sample);
    this.#changed();
  }

  async report(): Promise<MetricsReport> {
    return {
      ...reportOf(await this.#histories(), this.#parts.now(), this.#samples),
      connections: this.#parts.connections(),
    };
  }

  /** The counts of each model, over all that is kept. */
  async models(): Promise<ReturnType<typeof modelsOf>> {
    return modelsOf(await this.#histories());
  }

  /** What money is computed from, up to this moment. */
  async moneyCounts(): Promise<readonly MoneyTally[]> {
    return (await this.#histories()).flatMap(({ money }) => [...money.values()]);
  }

  /** Since the start. */
  counters(): Counters {
    this.#count();
    return countersOf(this.#sinceStart.rows);
  }

  breaches(): ReturnType<Breaches["list"]> {
    return this.#breaches.list();
  }

  async remote(): ReturnType<CountedFigures["remote"]> {
    const all = new PendingBatch(this.#parts.now());
    for (const { remote } of await this.#histories()) {
      for (const [engine, [count, at]] of remote) all.sent(engine, count, at);
    }
    const [[, [, since]] = ["", [0, 0]], ...engines] = all.remote;
    const [last] = engines.toSorted(([, [, a]], [, [, b]]) => b - a);
    return {
      count: engines.reduce((sum, [, [count]]) => sum + count, 0),
      sinceMs: since * 1_000,
      ...(last && { last: { engine: last[0], atMs: last[1][1] * 1_000 } }),
    };
  }

  problems(): readonly string[] {
    const { dropped } = this.#parts.events;
    return [
      ...this.#document.problems().filter((each) => each !== this.#problem),
      ...(this.#problem === undefined ? [] : [`metrics are not saved: ${this.#problem}`]),
      ...(dropped === 0 ? [] : [`${counted(dropped, "event")} were dropped because too much happened at once`]),
    ];
  }

  async close(): Promise<void> {
    this.#count();
    this.#isClosed = true;
    this.#cancelWrite?.();
    await this.#write();
    await this.#document.close();
    this.#breaches.close();
  }

  /** Counts the requests that ended, and the answers that were read. */
  #count(): void {
    this.#parts.events.flush();
    this.#cancelCount?.();
    this.#cancelCount = undefined;
    const noted = this.#noted;
    if (noted.length === 0) return;
    this.#noted = [];
    const nowMs = this.#parts.now();
    const batch = this.#batch();
    const requests = noted.flatMap((each) => (each.kind === "request ended" ? cleaned(each) : []));
    this.#breaches.note(requests);
    const table = new RowTable();
    for (const request of requests) {
      countRequest(request, nowMs, (names) => table.of(names));
      countMoney(request, (task, client) => batch.moneyOf(batch.day, task, client));
    }
    for (const each of noted) {
      if (each.kind === "request ended") continue;
      const tally = batch.moneyOf(batch.day, cleanName(each.task), cleanName(each.client));
      tally.readTokens = (tally.readTokens ?? 0) + each.readTokens();
    }
    batch.table.add(table.rows);
    this.#sinceStart.add(table.rows);
    this.#changed();
    if (batch.money.length > 0) void this.#write();
    else this.#writeSoon();
  }

  /** What is counted in this hour. */
  #batch(): PendingBatch {
    const fresh = new PendingBatch(this.#parts.now());
    let batch = this.#pending.get(fresh.key);
    if (batch === undefined) {
      const [oldest] = this.#pending.keys();
      // What an idle hour had is written after it.
      if (oldest !== undefined) this.#writeSoon();
      // Its hour is lost, not its counts.
      const late = this.#pending.size < maxWaitingHours ? undefined : this.#pending.get(oldest ?? "");
      if (late !== undefined) this.#pending.delete(late.key);
      batch = fresh;
      if (late !== undefined) batch.add(late);
      this.#pending.set(batch.key, batch);
    }
    return batch;
  }

  #writeSoon(): void {
    if (this.#isClosed) return;
    this.#cancelWrite ??= this.#parts.timers.after(writeDelayMs, () => void this.#write());
  }

  #write(): Promise<void> {
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    this.#writing = this.#writing.then(() => this.#writeAll());
    return this.#writing;
  }

  async #writeAll(): Promise<void> {
    const batches = [...this.#pending.values()];
    if (batches.length === 0) return;
    this.#pending.clear();
    this.#isWriting = true;
    const { log } = this.#parts;
    let written = 0;
    try {
      const document = await this.#document.get();
      for (const batch of batches) {
        await document.append(eventOf(batch)).catch((error: unknown) => {
          // Refused by its schema, as it would be at each further try.
          if (error instanceof StoreFailed) throw error;
          log.warn(`metrics: the counts of ${batch.hour} are lost: ${messageOf(error)}`);
        });
        written += 1;
      }
      this.#problem = undefined;
    } catch (error) {
      this.#problem = messageOf(error);
      log.warn(`metrics: ${this.#problem}`);
      for (const batch of batches.slice(written)) {
        const later = this.#pending.get(batch.key);
        if (later === undefined) this.#pending.set(batch.key, batch);
        else later.add(batch);
      }
      this.#writeSoon();
    } finally {
      this.#isWriting = false;
    }
  }

  /** What is stored, and what isn't yet. */
  async #histories(): Promise<readonly History[]> {
    this.#count();
    const document = await this.#document.get().catch(() => undefined);
    while (this.#isWriting) await this.#writing;
    const waiting = emptyHistory();
    for (const batch of this.#pending.values()) addBatch(waiting, batch);
    return document === undefined ? [waiting] : [document.state, waiting];
  }

  #changed(): void {
    this.#isStale = true;
    if (this.#isPublished || this.#isClosed) return;
    this.#isPublished = true;
    this.#isStale = false;
    this.#parts.events.emit({ kind: "figures changed" });
    this.#parts.timers.after(publishIntervalMs, () => {
      this.#isPublished = false;
      if (this.#isStale) this.#changed();
    });
  }
}

/** See `MetricsStore`. */
export function watchMetrics(parts: MetricsParts): MetricsStore {
  return new MetricsStore(parts);
}

function cleaned(request: EndedRequest): EndedRequest {
  const { client, profile, task, attempts } = request;
  const isClean =
    [client, profile, task].every(isCleanName) &&
    attempts.every(({ model, engine }) => isCleanName(model) && isCleanName(engine));
  // Hardly ever anything has to be copied.
  if (isClean) return request;
  const named = { client: cleanName(client), profile: cleanName(profile), task: cleanName(task) };
  return {
    ...request,
    ...named,
    attempts: attempts.map((each) => ({ ...each, model: cleanName(each.model), engine: cleanName(each.engine) })),
  };
}

function isCleanName(name: string): boolean {
  return cleanName(name) === name;
}
