import type { Cost, Spending } from "../api/cost.ts";
import type { Savings } from "../api/facade-status.ts";
import type { PromptTokens } from "../api/types.ts";
import { type CheckResult, type CheckedStatement, type QueriedRows, statementStatuses } from "../api/facade-answers.ts";

/** `5.7 GB`, `98.1 MB`: decimal units with one decimal place, like Ollama. Negative values count as 0. */
export function formatBytes(bytes: number): string {
  const value = Math.max(0, bytes);
  if (value < 1e3) return `${Math.round(value)} bytes`;
  // 999,950 bytes would round to "1000.0 kB".
  if (value < 999_950) return `${(value / 1e3).toFixed(1)} kB`;
  if (value < 999_950_000) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}

/** `needs 0.3 GB, 2.1 GB stay free`: what a load takes, and what must be free beside it. */
export function formatNeed(ownBytes: number, neededBytes: number): string {
  const own = `needs ${formatBytes(ownBytes)}`;
  return neededBytes > ownBytes ? `${own}, ${formatBytes(neededBytes - ownBytes)} stay free` : own;
}

/** `812 ms`, `6.2 s`, `95 s`: a duration with its significant digits; empty where it is not known. */
export function formatDuration(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return "";
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1_000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}

/** `40 s`, `3 min`: a wait, rounded up. */
export function formatWait(milliseconds: number): string {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1_000));
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

/** A text of at most so many characters, and `…` for what was cut. */
export function shortened(text: string, mostCharacters: number): string {
  return text.length > mostCharacters ? `${text.slice(0, mostCharacters)}…` : text;
}

/** `2026-11-22 17:20` in the local time zone, for people; a text that is no time is returned unchanged. */
export function localTime(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  // toLocaleString takes fifty times as long, and lists have many times.
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16).replace("T", " ");
}

/** `2026-11-22`: the day in the time zone of this machine. `ms`: since the epoch. */
export function localDay(ms: number): string {
  return localTime(new Date(ms).toISOString()).slice(0, "2026-11-22".length);
}

/** `1 model`, `2 models`; `1 entry`, `2 entries` with the plural given. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`;
}

/** `67 %`; 0 and 100 only where it is no less and no more. */
export function formatShare(share: number): string {
  const rounded = Math.round(share * 100);
  return `${share > 0 && share < 1 ? Math.min(99, Math.max(1, rounded)) : rounded} %`;
}

/** `connections: 2 of 10, 3 for answers, 1 request waiting; 98 % of 210 requests reused a connection` (of `system_status`) */
export function formatConnections(numbers: Readonly<Record<string, number>>): string {
  const { open = 0, limit, queued = 0, for_answers = 0, requests = 0, opened = 0 } = numbers;
  const waiting = queued === 0 ? "" : `, ${counted(queued, "request")} waiting`;
  const reused = Math.max(0, Math.floor((1 - opened / Math.max(1, requests)) * 100));
  const share = requests === 0 ? "" : `; ${reused} % of ${counted(requests, "request")} reused a connection`;
  const short = limit === undefined ? String(open) : `${open} of ${limit}`;
  return `connections: ${short}, ${for_answers} for answers${waiting}${share}`;
}

/** `0.0012 USD`, `12.35 USD`, `10 USD`: two significant digits, at least to the cent. */
export function formatAmount(amount: number, currency: string): string {
  if (amount < 0) return `-${formatAmount(-amount, currency)}`;
  const decimals = amount > 0 && amount < 0.1 ? Math.min(9, 1 - Math.floor(Math.log10(amount))) : 2;
  const text = amount.toFixed(decimals);
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text} ${currency}`;
}

/** `0.42 USD this month (1.2 M local tokens at claude-sonnet-5-5 prices)` */
export function formatSavings({ amount, currency, spent, localTokens, reference }: Savings): string {
  const paid = spent === 0 ? "" : ` and ${formatAmount(spent, currency)} paid`;
  const prices = reference === "own prices" ? "your own prices" : `${reference} prices`;
  return `${formatAmount(amount, currency)} this month (${formatCount(localTokens)} local tokens at ${prices}, less what assistants read${paid})`;
}

/** `cached 2,214 of 2,263 prompt tokens, from disk`; undefined where none were, or it isn't known. */
export function cachedText({
  promptTokens,
  cachedPromptTokens,
  restoredPromptTokens,
}: PromptTokens): string | undefined {
  if (promptTokens === undefined || !cachedPromptTokens) return undefined;
  const [cached, all] = [cachedPromptTokens, promptTokens].map((count) => count.toLocaleString("en-US"));
  return `cached ${cached} of ${all} prompt tokens${restoredPromptTokens ? ", from disk" : ""}`;
}

/** `950`, `12.4 k`, `1.2 M` */
export function formatCount(count: number): string {
  if (count < 1_000) return String(count);
  // 999,950 would round to "1000.0 k".
  return count < 999_950 ? `${(count / 1e3).toFixed(1)} k` : `${(count / 1e6).toFixed(1)} M`;
}

/** `0.0012 USD spent in 2026-11 of a budget of 10 USD` */
export function formatSpending({ month, amount, currency, budget }: Spending): string {
  const limit = budget === undefined ? "" : ` of a budget of ${formatAmount(budget, currency)}`;
  return `${formatAmount(amount, currency)} spent in ${month}${limit}`;
}

/** `0.0012 USD`, `about 0.0012 USD` */
export function formatCost({ amount, currency, isEstimated }: Omit<Cost, "date">): string {
  return `${isEstimated === true ? "about " : ""}${formatAmount(amount, currency)}`;
}

/** Longer lists of parts are cut; the structured form has all. */
const shownParts = 8;

/** More statements are counted, not shown. */
const shownStatements = 32;

/** `[quoted, app.yaml:2: port: 8443]`, `[not found; nearest: app.yaml:2: port: 8443]`: what stands in the files about a statement. */
export function evidenceMark({ text, status, where, line = text }: CheckedStatement): string {
  const isNearest = status === "not_found" || status === "not_judged";
  const place = where === undefined ? "" : `${isNearest ? "; nearest:" : ","} ${where}`;
  // What is a line of a file itself need not be shown twice.
  const isLine = withoutStop(text) === withoutStop(line);
  return `[${status.replace("_", " ")}${place}${isLine ? "" : `: ${line}`}]`;
}

const withoutStop = (text: string): string => text.trim().replace(/\.$/, "");

/** `3 quoted, 1 not found` */
export function countStatements(statements: readonly Pick<CheckedStatement, "status">[]): string {
  return statementStatuses
    .map((status) => ({ status, count: statements.filter((each) => each.status === status).length }))
    .filter(({ count }) => count > 0)
    .map(({ status, count }) => `${count} ${status.replace("_", " ")}`)
    .join(", ");
}

/** Rows of a query in the text; the structured form has more. */
const shownRows = 8;

interface ReadParts {
  readonly total: number;
  readonly read?: readonly string[] | undefined;
  readonly share?: number | undefined;
  readonly missing?: readonly string[] | undefined;
}

interface Checked {
  readonly statements: readonly CheckedStatement[];
  readonly problem?: string | undefined;
  readonly votes?: (Pick<Votes, "equal" | "total"> & { readonly others?: readonly string[] | undefined }) | undefined;
}

type Votes = NonNullable<CheckResult["votes"]>;

type Query = Pick<QueriedRows, "text" | "rows"> & { readonly total?: number | undefined };

/** `3 quoted, 1 not found`, `read 3 of 70 parts, 4 %: ...`: what was found, and which parts were read, a line each. */
export function reliabilityLines(answered: {
  /** Statements that it has with what stands behind them, which JSON has not, are counted only. */
  readonly text?: string | undefined;
  readonly check?: Checked | undefined;
  readonly parts?: ReadParts | undefined;
  readonly query?: Query | undefined;
}): readonly string[] {
  const { text, check, parts, query } = answered;
  const lines: string[] = [];
  if (check !== undefined) {
    const { statements, problem, votes } = check;
    const found = votes === undefined ? countStatements(statements) : `${votes.equal} of ${votes.total} answers agree`;
    const others = (votes?.others ?? []).length === 0 ? "" : `; others: ${votes?.others?.join(", ")}`;
    if ((problem ?? found) !== "") lines.push(`${problem ?? found}${others}`);
    const apart = text === undefined ? [] : statements.filter((each) => !text.includes(evidenceMark(each)));
    lines.push(...apart.slice(0, shownStatements).map((each) => `${each.text} ${evidenceMark(each)}`));
  }
  if (parts !== undefined) lines.push(partsLine(parts), ...(parts.missing ?? []).map((part) => `missing: ${part}`));
  if (query !== undefined) {
    const { rows, total = rows.length } = query;
    const values = (row: (typeof rows)[number]) =>
      Object.values(row)
        .map((value) => value ?? "none")
        .join(", ");
    // A single row is the answer.
    const shown = total === 1 ? [] : rows.slice(0, shownRows).map(values);
    const more = total - shown.length;
    lines.push(
      `query: ${query.text} (${counted(total, "row")})`,
      ...shown,
      ...(total > 1 && more > 0 ? [`${more} more`] : []),
    );
  }
  return lines;
}

/** `read 3 of 70 parts, 4 %: the passages that match the question (guide.md: 3 Ports, ...)` */
function partsLine({ total, read, share = 1 }: ReadParts): string {
  const percent = share < 0.01 ? "under 1 %" : `${Math.min(Math.round(share * 100), share < 1 ? 99 : 100)} %`;
  if (read === undefined) return `read ${share < 1 ? `${percent} ` : ""}in ${counted(total, "part")}`;
  if (read.length === total) return `read all ${counted(total, "part")}`;
  const more = read.length - shownParts;
  const names = `${read.slice(0, shownParts).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  return `read ${read.length} of ${counted(total, "part")}, ${percent}: the passages that match the question (${names})`;
}

/** How tools spell the name of a setting: `max_tokens` for `maxTokens`. */
export function argumentName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
