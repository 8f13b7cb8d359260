import { type MoneyTally, mergeMoney, nanosPerUnit, noMoney, otherName } from "../api/cost.ts";
import type { RequestRow } from "../api/events.ts";
import type { MoneyReport } from "../api/facade-metrics.ts";
import { type Settings, referencePrices } from "../config/schema.ts";
import { localDay } from "../util/format-bytes.ts";
import { getOrInsert } from "../util/values.ts";

/** Its models answer the same prompt several times, which a cloud model would not have been asked to do. */
const notSaved = "compare";

/** More than a year with four pairs of task and client each day; a megabyte as JSON if all names are long. */
const maxRows = 4_000;

type Reference = MoneyReport["reference"] & { readonly currency: string };

/** The prices that the settings name, or hold. */
export function referenceOf({ savings }: Pick<Settings, "savings">): Reference {
  const { referenceModel: model, promptPerMillion, answerPerMillion } = savings;
  const listed = referencePrices.get(model);
  if ((promptPerMillion === undefined || answerPerMillion === undefined) && listed !== undefined) {
    const { source: _source, note: _note, ...price } = listed;
    return { model, ...price, currency: "USD" };
  }
  return {
    model: "own prices",
    promptPerMillion: promptPerMillion ?? 0,
    answerPerMillion: answerPerMillion ?? 0,
    currency: "USD",
  };
}

/**
 * What local models saved: their tokens at the reference price, less what assistants read of answers and what paid
 * engines charged. The price applies to all
 * days, so another one changes the past, too. Each row is rounded to a billionth of the currency's unit and the sums are
 * those of the rounded rows, so that adding up the rows gives exactly the same. There are at most `maxRows` rows: beyond, old
 * days are joined before they are priced.
 */
export function moneyReport(counts: readonly MoneyTally[], reference: Reference, nowMs: number): MoneyReport {
  const { currency, ...shown } = reference;
  const today = localDay(nowMs);
  const billOf = (some: readonly MoneyTally[]) => some.map((count) => ({ count, lines: linesOf(count, reference) }));
  const sumIn = (entries: ReturnType<typeof billOf>): MoneyReport["total"] =>
    sumOf(
      entries.flatMap(({ lines }) => lines),
      entries.reduce((sum, { count }) => sum + count.fileTokens, 0),
    );
  // What isn't stored yet is counted apart.
  const days = merged(counts, (names) => names);
  const bill = billOf(joined(days, today));
  return {
    currency,
    formula: formulaOf(reference),
    reference: shown,
    today: {
      ...sumIn(bill.filter(({ count }) => count.day === today)),
      day: today,
      from: new Date(new Date(nowMs).setHours(0, 0, 0, 0)).toISOString(),
    },
    month: sumIn(bill.filter(({ count }) => count.day.startsWith(today.slice(0, 7)))),
    total: sumIn(bill),
    rows: bill
      .flatMap(({ lines }) => lines)
      .map(({ nanos: _nanos, ...row }) => row)
      .toSorted((a, b) => order(a.day, b.day) || order(a.client, b.client) || order(a.task, b.task)),
  };
}

/** Joins the days of a month, oldest month first, until there are few enough rows; then the clients of a month. */
function joined(counts: readonly MoneyTally[], today: string): readonly MoneyTally[] {
  const months = [...new Set(counts.map(({ day }) => day.slice(0, 7)))].toSorted(order);
  const clients: readonly Partial<MoneyTally>[] = [{}, { client: otherName }];
  let kept = counts;
  for (const [name, month] of clients.flatMap((each) => months.map((start) => [each, start] as const))) {
    if (kept.reduce((rows, { paid, readTokens: read }) => rows + (read ? 3 : 2) + paid.length, 0) <= maxRows) break;
    const isJoined = ({ day }: MoneyTally): boolean => day !== today && day.startsWith(month);
    const sums = merged(kept.filter(isJoined), (names) => ({ ...names, ...name, day: month }));
    kept = [...sums, ...kept.filter((count) => !isJoined(count))];
  }
  return kept;
}

/** The sums of those that are named alike. */
function merged(
  counts: readonly MoneyTally[],
  named: (names: Pick<MoneyTally, "day" | "task" | "client">) => Pick<MoneyTally, "day" | "task" | "client">,
): readonly MoneyTally[] {
  const sums = new Map<string, MoneyTally>();
  for (const count of counts) {
    const { day, task, client } = named(count);
    const key = JSON.stringify([day, task, client]);
    const sum = getOrInsert(sums, key, () => ({ ...noMoney, day, task, client, paid: [] }));
    mergeMoney(sum, count);
  }
  return [...sums.values()];
}

type Row = MoneyReport["rows"][number];

interface Line extends Row {
  readonly nanos: bigint;
}

function linesOf(
  { day, task, client, promptTokens, completionTokens, readTokens = 0, paid }: MoneyTally,
  reference: Reference,
): Line[] {
  const names = { day, task, client };
  const local = (kind: "prompt" | "answer" | "read", tokens: number, pricePerMillion: number): Line[] => {
    const nanos = nanosOf(tokens, pricePerMillion) * (kind === "read" ? -1n : 1n);
    const line = { ...names, kind, tokens, pricePerMillion, amount: amountOf(nanos), nanos };
    return tokens === 0 || task === notSaved ? [] : [line];
  };
  const charged = new Map<string, { nanos: number; tokens: number }>();
  for (const { currency, nanos, tokens } of paid) {
    const before = charged.get(currency) ?? { nanos: 0, tokens: 0 };
    charged.set(currency, { nanos: before.nanos + nanos, tokens: before.tokens + tokens });
  }
  return [
    ...local("prompt", promptTokens, reference.promptPerMillion),
    ...local("answer", completionTokens, reference.answerPerMillion),
    ...local("read", readTokens, reference.promptPerMillion),
    ...Array.from(charged, ([currency, { nanos, tokens }]): Line => {
      // Prompts, cached prompts and answers have a price each.
      const pricePerMillion = tokens === 0 ? 0 : Math.round((nanos / tokens) * 1_000) / 1_000_000;
      const spent = { amount: amountOf(-BigInt(nanos)), nanos: -BigInt(nanos) };
      const line: Line = { ...names, kind: "cloud", tokens, pricePerMillion, ...spent };
      return currency === reference.currency ? line : { ...line, currency };
    }),
  ];
}

/** What a request's local tokens would have cost at the reference price; undefined if it saved nothing. */
export function savedBy(
  { task, localTokens: [prompt, answer] }: Pick<RequestRow, "task" | "localTokens">,
  { promptPerMillion, answerPerMillion, currency }: Reference,
): RequestRow["saved"] {
  const nanos = nanosOf(prompt, promptPerMillion) + nanosOf(answer, answerPerMillion);
  return nanos === 0n || task === notSaved ? undefined : { amount: amountOf(nanos), currency };
}

function sumOf(lines: readonly Line[], neverSentTokens: number): MoneyReport["total"] {
  const total = (of: readonly Line[]) => of.reduce((sum, { nanos }) => sum + nanos, 0n);
  const local = lines.filter(({ kind }) => kind !== "cloud");
  const paid = lines.filter(({ kind }) => kind === "cloud");
  const readTokens = local.reduce((sum, { kind, tokens }) => sum + (kind === "read" ? tokens : 0), 0);
  const saved = total(local);
  const spent = -total(paid.filter(({ currency }) => currency === undefined));
  const others = new Set(paid.flatMap(({ currency }) => currency ?? []));
  return {
    total: amountOf(saved - spent),
    saved: amountOf(saved),
    spent: amountOf(spent),
    localTokens: local.reduce((sum, { tokens }) => sum + tokens, 0) - readTokens,
    readTokens,
    neverSentTokens,
    ...(others.size > 0 && {
      otherSpent: [...others].map((currency) => ({
        currency,
        amount: amountOf(-total(paid.filter((line) => line.currency === currency))),
      })),
    }),
  };
}

function formulaOf({ model, promptPerMillion, answerPerMillion, currency, asOf }: Reference): string {
  const origin = asOf === undefined ? "Your own prices" : `List prices of ${model} on ${asOf}`;
  return (
    `saved = (local prompt tokens × ${promptPerMillion} ${currency} + local answer tokens × ${answerPerMillion} ${currency} ` +
    `- tokens of answers that assistants read × ${promptPerMillion} ${currency}) ÷ 1,000,000 - what paid engines charged in ${currency}; comparisons save nothing. ${origin}; another price applies to all days. ` +
    "Days and months are those of this machine's time zone."
  );
}

/** Rounded half up. Exact for prices of up to six decimal places. */
function nanosOf(tokens: number, pricePerMillion: number): bigint {
  const thousandths = BigInt(tokens) * BigInt(Math.round(pricePerMillion * 1_000_000));
  return (thousandths + 500n) / 1_000n;
}

function amountOf(nanos: bigint): number {
  return Number(nanos) / nanosPerUnit;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
