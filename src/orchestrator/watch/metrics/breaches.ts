import type { Advice } from "../../api/facade-status.ts";
import { blamesRequest } from "../../api/errors.ts";
import type { Emit, EndedRequest, RequestRow } from "../../api/events.ts";
import type { Log } from "../../api/log.ts";
import type { Timers } from "../../util/timers.ts";
import { defined } from "../../util/values.ts";
import {
  type Subject,
  type Surroundings,
  type ThresholdKind,
  boundOf,
  describeBreach,
  keptText,
  nextBreach,
  readingOf,
  recentOf,
} from "./thresholds.ts";

interface BreachesParts {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
  /** Thresholds are those of the daemon, not of a client: a warning is shown to all. */
  readonly limitsOf: (subject: Subject) => Parameters<typeof boundOf>[1] | undefined;
  /** Why answers are slow now. */
  readonly pressure: () => Promise<Surroundings["pressure"]>;
  /** The kept requests that began since then (ms since the epoch), newest first. */
  readonly requestsSince: (ms: number) => Promise<readonly RequestRow[]>;
  readonly emit: Emit;
}

type WatchedRequest = ReturnType<typeof recentOf>[number];

interface Watched {
  readonly subject: Subject;
  requests: WatchedRequest[];
  readonly breaches: Map<ThresholdKind, NonNullable<ReturnType<typeof nextBreach>>>;
}

const kinds: readonly ThresholdKind[] = ["latency", "success_rate"];
/** A breach may end, and requests grow old, without another one. */
const intervalMs = 60_000;
const hourMs = 3_600_000;
const maxEvictions = 200;
/** The one that was used last stays. */
const maxSubjects = 200;

/** Watches the thresholds of profiles and models. After a restart, with the kept requests of the last hour. */
export class Breaches {
  readonly #parts: BreachesParts;
  /** The one that was used last is at the end. */
  readonly #watched = new Map<string, Watched>();
  #evictions: readonly { readonly model: string; readonly atMs: number }[] = [];
  readonly #startMs: number;
  #seeding: Promise<void> | undefined;
  /** When the last request ended while something was breached: what is wrong later did not make it slow. */
  #pressure: ReturnType<BreachesParts["pressure"]> = Promise.resolve({});
  #cancel: (() => void) | undefined;
  #isClosed = false;

  constructor(parts: BreachesParts) {
    this.#parts = parts;
    this.#startMs = parts.now();
  }

  /** Takes requests that ended. Not on the way of a call: it judges them. */
  note(requests: readonly EndedRequest[]): void {
    const atMs = this.#parts.now();
    for (const { profile, attempts, error } of requests) {
      for (const attempt of attempts)
        this.#add("model", attempt.model, { ...attempt, error: attempt.error?.code }, atMs);
      this.#add("profile", profile, { ...attempts.at(-1), error: error?.code }, atMs);
    }
    if (this.#cancel !== undefined) this.#look();
    this.#judge();
  }

  /** Models that were evicted to make room for another. */
  noteEvicted(models: readonly string[]): void {
    const atMs = this.#parts.now();
    if (models.length === 0) return;
    this.#evictions = [...this.#evictions, ...models.map((model) => ({ model, atMs }))].slice(-maxEvictions);
  }

  /** The present ones, oldest first, with their likely causes. */
  async list(): Promise<readonly Advice[]> {
    await (this.#seeding ??= this.#seed());
    this.#judge();
    const present = [...this.#watched.values()].flatMap((watched) =>
      Array.from(watched.breaches, ([kind, { sinceMs }]) => ({ watched, kind, sinceMs })),
    );
    if (present.length === 0) return [];
    const surroundings = await this.#surroundings();
    return present
      .toSorted((a, b) => a.sinceMs - b.sinceMs)
      .flatMap(({ watched, kind }) => this.#described(watched, kind, surroundings) ?? []);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  /** What an earlier process kept. A row has the times of all its attempts together. */
  async #seed(): Promise<void> {
    const rows = await this.#parts.requestsSince(this.#startMs - hourMs).catch(() => []);
    for (const { startedAt, totalMs, profile, attempts, outcome, ...row } of rows) {
      const atMs = Date.parse(startedAt) + totalMs;
      // The others were noted.
      if (atMs >= this.#startMs) continue;
      // A request for which no model was found has none.
      const count = Math.max(
        1,
        attempts.reduce((sum, each) => sum + each.count, 0),
      );
      const times = { ...row, queueMs: row.queueMs / count, loadMs: row.loadMs / count };
      for (const { model, error, count: alike } of attempts) {
        for (let at = 0; at < alike; at += 1) this.#add("model", model, { ...times, model, error }, atMs);
      }
      const error = outcome === "cancelled" ? outcome : /^failed:(.*)/.exec(outcome)?.[1];
      this.#add("profile", profile, { ...times, error }, atMs);
    }
    this.#judge();
  }

  #add(
    kind: Subject["kind"],
    name: string,
    attempt: Partial<Omit<WatchedRequest, "error">> & { readonly error: string | undefined },
    atMs: number,
  ): void {
    const { model = "", error, queueMs = 0, loadMs = 0, firstTokenMs = 0, promptTokens = 0 } = attempt;
    // One that was cancelled, or refused for what it asked, says nothing.
    if (name === "" || (error !== undefined && blamesRequest(error))) return;
    const key = `${kind} ${name}`;
    const known: Watched = this.#watched.get(key) ?? { subject: { kind, name }, requests: [], breaches: new Map() };
    const added = { atMs, model, ...defined({ error }), queueMs, loadMs, firstTokenMs, promptTokens };
    const inOrder = [...known.requests, added].toSorted((one, other) => one.atMs - other.atMs);
    known.requests = recentOf(inOrder, this.#parts.now());
    this.#watched.delete(key);
    this.#watched.set(key, known);
    const [oldest = ""] = this.#watched.keys();
    if (this.#watched.size > maxSubjects) this.#watched.delete(oldest);
  }

  /** Judges all, reports what began and ended, and looks again in a minute while something is breached. */
  #judge(): void {
    if (this.#isClosed) return;
    const nowMs = this.#parts.now();
    const begun: (readonly [Watched, ThresholdKind])[] = [];
    const ended: string[] = [];
    for (const [key, watched] of this.#watched) {
      watched.requests = recentOf(watched.requests, nowMs);
      for (const kind of kinds) {
        const before = watched.breaches.get(kind);
        const reading = readingOf(kind, watched.requests);
        const bound = this.#boundOf(watched, kind);
        const after = nextBreach(before, kind, reading, bound, nowMs);
        if (after !== undefined) watched.breaches.set(kind, after);
        else watched.breaches.delete(kind);
        if (before === undefined && after !== undefined) begun.push([watched, kind]);
        if (before !== undefined && after === undefined) ended.push(keptText(watched.subject, kind, bound, reading));
      }
      if (watched.requests.length === 0 && watched.breaches.size === 0) this.#watched.delete(key);
    }
    // As loud as the begin, so that a log that has one has both.
    for (const text of ended) this.#parts.log.warn(text);
    if (begun.length > 0) {
      this.#look();
      void this.#warn(begun);
    } else if (ended.length > 0) this.#publish();
    this.#cancel?.();
    this.#cancel = undefined;
    const isBreached = [...this.#watched.values()].some(({ breaches }) => breaches.size > 0);
    if (isBreached) this.#cancel = this.#parts.timers.after(intervalMs, () => this.#judge());
  }

  async #warn(begun: readonly (readonly [Watched, ThresholdKind])[]): Promise<void> {
    const surroundings = await this.#surroundings();
    for (const [watched, kind] of begun) {
      const breach = this.#described(watched, kind, surroundings);
      if (breach !== undefined) this.#parts.log.warn(breach.text);
    }
    this.#publish();
  }

  #publish(): void {
    this.#parts.emit({ kind: "figures changed" });
    // Its subscribers are told what is wrong with this machine, too.
    this.#parts.emit({ kind: "memory changed" });
  }

  #described(watched: Watched, kind: ThresholdKind, surroundings: Surroundings): Advice | undefined {
    const bound = this.#boundOf(watched, kind);
    if (bound === undefined) return undefined;
    const isSettling = watched.breaches.get(kind)?.keptSinceMs !== undefined;
    return describeBreach(watched.subject, kind, bound, watched.requests, surroundings, isSettling);
  }

  #boundOf({ subject }: Watched, threshold: ThresholdKind): number | undefined {
    return boundOf(threshold, this.#parts.limitsOf(subject) ?? {}, subject.kind);
  }

  #look(): void {
    // Without a measurement the other causes are left.
    this.#pressure = this.#parts.pressure().catch(() => ({}));
  }

  async #surroundings(): Promise<Surroundings> {
    const sinceMs = this.#parts.now() - hourMs;
    return {
      pressure: await this.#pressure,
      evictions: (model) => this.#evictions.filter((each) => each.model === model && each.atMs > sinceMs).length,
    };
  }
}
