import * as z from "zod";
import { type MoneyTally, addPaid, nanosPerUnit } from "../api/cost.ts";
import { Cancelled, StoreFailed } from "../api/errors.ts";
import { type EndedAttempt, type EndedRequest, type Events, type RequestRow, requestRow } from "../api/events.ts";
import type { KeptRequests } from "../api/facade-metrics.ts";
import type { Log } from "../api/log.ts";
import { openDocument, openedOnce } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { cleanName, oneLine } from "../util/control-characters.ts";
import { defined, messageOf, getOrInsert } from "../util/values.ts";
import { localDay } from "../util/format-bytes.ts";
import { createMutex } from "../util/joined-work.ts";
import type { Timers } from "../util/timers.ts";

/** Some 5 MB on disk; the oldest go first. */
const maxRows = 10_000;
/** A text in hundreds of parts is hundreds of attempts, most of them alike. */
const maxAttempts = 20;
const maxReasonCharacters = 300;
/** After a request: those that end together are written together. */
const momentMs = 1_000;
const tryAgainMs = 60_000;
/** Before the class of an error. */
const failure = "failed:";
const { code: cancelled } = Cancelled.facts;

type Query = Parameters<KeptRequests["list"]>[0];

/**
 * Keeps one row for each of the last requests, in `requests.json`: names and figures, never a text. A request that ended is
 * only noted; its row is made and written a moment later, or when the list is read. `now`: milliseconds since the epoch.
 */
export function watchRequests(parts: {
  readonly events: Events;
  readonly now: () => number;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
  /** Absent: the rows end with the process. */
  readonly files?: DocumentFiles;
}) {
  const { events, now, timers, log, files } = parts;
  const document = openedOnce(() =>
    openDocument<{ readonly rows: RequestRow[] }, RequestRow[]>({
      name: "requests",
      schemaVersion: 1,
      empty: () => ({ rows: [] }),
      state: z.object({ rows: z.array(requestRow) }),
      event: z.array(requestRow),
      apply({ rows }, added) {
        rows.push(...added);
        rows.splice(0, rows.length - maxRows);
      },
      rows: { rows: requestRow },
      // Rows don't change.
      snapshot: ({ rows }) => ({ rows: [...rows] }),
      log,
      ...defined({ files }),
    }),
  );
  const inTurn = createMutex();
  /** Unlike those of an earlier process. */
  const idPrefix = now().toString(36);
  let lastId = 0;
  let noted: { readonly request: EndedRequest; readonly endedMs: number }[] = [];
  /** Rows that could not be written yet. */
  let waiting: readonly RequestRow[] = [];
  let cancelWrite: (() => void) | undefined;
  /** Why rows are not stored. */
  let problem: string | undefined;
  let isClosed = false;

  const write = (): void => void inTurn(writeAll);

  events.on(["request ended"], (request) => {
    if (isClosed) return;
    noted.push({ request, endedMs: now() });
    cancelWrite ??= timers.after(momentMs, write);
  });

  async function writeAll(): Promise<void> {
    cancelWrite?.();
    cancelWrite = undefined;
    const added = noted.map((each) => rowOf(each, `${idPrefix}-${(lastId += 1)}`));
    noted = [];
    if (added.length > 0) events.emit({ kind: "requests changed" });
    waiting = [...waiting, ...added].slice(-maxRows);
    if (waiting.length === 0) return;
    try {
      await (await document.get()).append([...waiting]);
      waiting = [];
      problem = undefined;
    } catch (error) {
      problem = messageOf(error);
      log.warn(`requests: ${problem}`);
      // Refused by its schema, as it would be at each further try.
      if (!(error instanceof StoreFailed)) waiting = [];
      else if (!isClosed) cancelWrite ??= timers.after(tryAgainMs, write);
    }
  }

  return {
    list: (query: Query): ReturnType<KeptRequests["list"]> => {
      events.flush();
      return inTurn(async () => {
        await writeAll();
        const kept = await document.get().catch(() => undefined);
        return pageOf([...(kept?.state.rows ?? []), ...waiting].slice(-maxRows), query);
      });
    },
    problems: (): readonly string[] => [
      ...document.problems().filter((each) => each !== problem),
      ...(problem === undefined ? [] : [`the list of requests is not saved: ${problem}`]),
    ],
    async close(): Promise<void> {
      events.flush();
      isClosed = true;
      await inTurn(writeAll);
      await document.close();
    },
  };
}

/** The rows that match, newest first, after the row `before`. `rows`: oldest first. */
function pageOf(rows: readonly RequestRow[], query: Query): Awaited<ReturnType<KeptRequests["list"]>> {
  const { limit, before, by } = query;
  const found = rows.filter((row) => isMatch(row, query)).toReversed();
  const start = before === undefined ? 0 : found.findIndex(({ id }) => id === before) + 1 || found.length;
  const page = found.slice(start, start + limit);
  const older = start + limit < found.length ? page.at(-1)?.id : undefined;
  return { rows: page, total: found.length, ...defined({ before: older, groups: by && groupsOf(found, by) }) };
}

function groupsOf(rows: readonly RequestRow[], by: NonNullable<Query["by"]>) {
  const found = new Map<string, RequestRow[]>();
  for (const row of rows) {
    const key = JSON.stringify(by.map((name) => nameIn(row, name)));
    getOrInsert(found, key, () => []).push(row);
  }
  return [...found.values()]
    .toSorted((one, other) => other.length - one.length)
    .map((group) => {
      const [first] = group as [RequestRow];
      return { ...Object.fromEntries(by.map((name) => [name, nameIn(first, name)])), ...figuresOf(group) };
    });
}

function nameIn(row: RequestRow, name: NonNullable<Query["by"]>[number]): string {
  if (name === "day") return localDay(Date.parse(row.startedAt));
  if (name === "hour") return `${row.startedAt.slice(0, 13)}:00Z`;
  return name === "minute" ? `${row.startedAt.slice(0, 16)}Z` : row[name];
}

function figuresOf(rows: readonly RequestRow[]) {
  const answered = rows.filter(({ outcome }) => outcome === "answered" || outcome === "doubtful");
  const failed = rows.flatMap(({ outcome }) => (outcome.startsWith(failure) ? outcome.slice(failure.length) : []));
  const fallbacks = answered.flatMap(({ model: to, attempts }) => {
    const before = attempts.filter((each) => each.error !== undefined && each.error !== cancelled && each.model !== to);
    return [...new Set(before.map(({ model }) => model))].map((from) => JSON.stringify([from, to]));
  });
  const sum = (name: "promptTokens" | "completionTokens"): number => rows.reduce((all, row) => all + row[name], 0);
  const ranked = (name: "totalMs" | "firstTokenMs" | "tokensPerSecond") => rankedOf(answered.map((row) => row[name]));
  return {
    requests: rows.length,
    answered: answered.length,
    failed: failed.length,
    cancelled: rows.length - answered.length - failed.length,
    errors: Object.fromEntries(countsOf(failed)),
    fallbacks: countsOf(fallbacks).map(([key, count]) => {
      const [from = "", to = ""] = JSON.parse(key) as string[];
      return { from, to, count };
    }),
    totalMs: ranked("totalMs"),
    firstTokenMs: ranked("firstTokenMs"),
    tokensPerSecond: ranked("tokensPerSecond"),
    promptTokens: sum("promptTokens"),
    completionTokens: sum("completionTokens"),
    cost: sumOf(rows.flatMap(({ cost = [] }) => cost)),
  };
}

/** The most first. */
function countsOf(names: readonly string[]): readonly (readonly [name: string, count: number])[] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].toSorted(([, one], [, other]) => other - one);
}

function rankedOf(values: readonly (number | undefined)[]) {
  const known = values.filter((value) => value !== undefined).toSorted((one, other) => one - other);
  const at = (share: number): number => known[Math.ceil(known.length * share) - 1] ?? 0;
  return { count: known.length, p50: at(0.5), p95: at(0.95) };
}

/** By currency, without the drift of fractions. */
function sumOf(costs: NonNullable<RequestRow["cost"]>): NonNullable<RequestRow["cost"]> {
  const paid: MoneyTally["paid"] = [];
  for (const { amount, currency } of costs)
    addPaid(paid, { currency, tokens: 0, nanos: Math.round(amount * nanosPerUnit) });
  return paid.map(({ currency, nanos }) => ({ amount: nanos / nanosPerUnit, currency }));
}

/** `failed` stands for each class of failure. */
function isMatch(row: RequestRow, { from, to, outcome, ...names }: Query): boolean {
  return (
    (["model", "client", "task", "trace"] as const).every((name) => (names[name] ?? row[name]) === row[name]) &&
    (outcome === undefined || outcome === row.outcome || row.outcome.startsWith(`${outcome}:`)) &&
    (from === undefined || row.startedAt >= from) &&
    (to === undefined || row.startedAt < to)
  );
}

function rowOf(
  { request, endedMs }: { readonly request: EndedRequest; readonly endedMs: number },
  id: string,
): RequestRow {
  const { client, task, profile, totalMs, attempts, via, given } = request;
  const { model = "", engine = "" } = given ?? attempts.at(-1) ?? {};
  const sum = (of: (attempt: EndedAttempt) => number | undefined, some = attempts): number =>
    Math.round(some.reduce((all, attempt) => all + (of(attempt) ?? 0), 0));
  const local = attempts.filter(({ isLocal }) => isLocal && request.error === undefined);
  // The time of the first token belongs to the prompt.
  const timed = attempts.filter(({ completionTokens = 0, decodeMs = 0 }) => completionTokens > 1 && decodeMs > 0);
  const decodeMs = timed.reduce((all, attempt) => all + (attempt.decodeMs ?? 0), 0);
  const firstTokenMs = attempts.findLast((attempt) => attempt.firstTokenMs !== undefined)?.firstTokenMs;
  const tokensPerSecond = decodeMs === 0 ? undefined : (sum((each) => each.completionTokens, timed) * 1000) / decodeMs;
  const cost = sumOf(attempts.flatMap(({ charge = [] }) => charge));
  return {
    id,
    startedAt: new Date(endedMs - totalMs).toISOString(),
    client: cleanName(client),
    task: cleanName(task),
    profile: cleanName(profile),
    model: cleanName(model),
    engine: cleanName(engine),
    outcome: outcomeOf(request),
    attempts: alike(attempts),
    queueMs: sum((attempt) => attempt.queueMs),
    loadMs: sum((attempt) => attempt.loadMs),
    totalMs: Math.round(totalMs),
    promptTokens: sum((attempt) => attempt.promptTokens),
    cachedPromptTokens: sum((attempt) => attempt.cachedPromptTokens),
    completionTokens: sum((attempt) => attempt.completionTokens),
    localTokens: [sum((each) => each.promptTokens, local), sum((each) => each.completionTokens, local)],
    ...defined({
      clientVersion: request.clientVersion && cleanName(request.clientVersion),
      reason: given && oneLine(given.reason).slice(0, maxReasonCharacters),
      via,
      trace: request.trace,
      firstTokenMs: firstTokenMs && Math.round(firstTokenMs),
      tokensPerSecond: tokensPerSecond && Math.round(tokensPerSecond * 10) / 10,
      cost: cost.length === 0 ? undefined : cost,
    }),
  };
}

function outcomeOf({ error, given }: EndedRequest): string {
  if (error === undefined) return given?.isDoubtful === true ? "doubtful" : "answered";
  return error.code === cancelled ? "cancelled" : `${failure}${error.code}`;
}

/** Those of one model with one end as one, in the order of their first. */
function alike(attempts: readonly EndedAttempt[]): RequestRow["attempts"] {
  const found = new Map<string, RequestRow["attempts"][number]>();
  for (const { model, engine, error } of attempts) {
    const key = JSON.stringify([model, engine, error?.code]);
    const known = found.get(key) ?? {
      model: cleanName(model),
      engine: cleanName(engine),
      count: 0,
      ...defined({ error: error?.code }),
    };
    found.set(key, { ...known, count: known.count + 1 });
  }
  return [...found.values()].slice(0, maxAttempts);
}
