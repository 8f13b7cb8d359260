import * as z from "zod";
import type { Capability } from "./types.ts";

/** Prices of a model's tokens, from the settings. */
export interface Prices {
  readonly inputPerMillion: number;
  /** Input that the server read from its cache; absent: `inputPerMillion`. */
  readonly cachedInputPerMillion?: number;
  readonly outputPerMillion: number;
  /** ISO 4217: `USD`. */
  readonly currency: string;
  /** The day on which the prices were looked up, ISO 8601. */
  readonly date: string;
}

/** What an answer cost, by the prices in the settings. */
export interface Cost {
  readonly amount: number;
  readonly currency: string;
  /** The day of the prices. */
  readonly date: string;
  /** Its tokens are estimated: the server reported none, or the answer was cut off. */
  readonly isEstimated?: true;
}

/** What the answers of an engine cost in a calendar month (UTC), and the limit if there is one. */
export interface Spending {
  /** `2026-11` */
  readonly month: string;
  readonly amount: number;
  readonly currency: string;
  readonly budget?: number;
}

/** A billionth of a currency's unit, in which costs are added: sums of fractions drift. */
export const nanosPerUnit = 1_000_000_000;

/** Takes the place of names beyond a bound. */
export const otherName = "other";

/** What money is computed from, of one time, task and client; it grows. */
export const moneyTally = z.object({
  /** `2026-11-23`, in the time zone of this machine. Older files have quarters of an hour: `2026-11-23T05:15`, UTC. */
  day: z.string(),
  task: z.string(),
  client: z.string(),
  /** Tokens of local models, for requests that were answered. */
  promptTokens: z.number(),
  completionTokens: z.number(),
  /** Tokens of answers that an assistant read. */
  readTokens: z.number().exactOptional(),
  /** Tokens of files that were read here. */
  fileTokens: z.number(),
  /** What paid engines charged, in billionths of the currency. */
  paid: z.array(z.object({ currency: z.string(), nanos: z.number(), tokens: z.number() })),
});
export type MoneyTally = z.output<typeof moneyTally>;
/** The counts of one to which nothing was added yet. */
export const noMoney = { promptTokens: 0, completionTokens: 0, fileTokens: 0 } as const;

export function addPaid(paid: MoneyTally["paid"], added: Readonly<MoneyTally["paid"][number]>): void {
  const same = paid.find(({ currency }) => currency === added.currency);
  if (same === undefined) paid.push({ ...added });
  else {
    same.nanos += added.nanos;
    same.tokens += added.tokens;
  }
}

export function mergeMoney(into: MoneyTally, from: MoneyTally): void {
  into.promptTokens += from.promptTokens;
  into.completionTokens += from.completionTokens;
  into.fileTokens += from.fileTokens;
  into.readTokens = (into.readTokens ?? 0) + (from.readTokens ?? 0);
  for (const each of from.paid) addPaid(into.paid, each);
}

/** A model of the settings: restricts the server's list to it, and completes what the list lacks. */
export interface ConfiguredModel {
  readonly name: string;
  readonly contextTokens?: number;
  readonly capabilities?: readonly Capability[];
  readonly prices?: Prices;
}
