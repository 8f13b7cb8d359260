import { randomUUID } from "node:crypto";
import * as z from "zod";
import { BudgetExceeded } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import { type Cost, type Prices, type Spending, nanosPerUnit } from "../api/cost.ts";
import { budgetPath } from "../config/openai-servers.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import {
  type BudgetLeft,
  type ChargedTokens,
  budgetSteps,
  costNanos,
  costOf,
  isTooFew,
  overBudget,
  unknownCost,
  worstTokens,
} from "../routing/cost.ts";
import { type JournaledDocument, openDocument } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { formatAmount } from "../util/format-bytes.ts";
import { defined, messageOf } from "../util/values.ts";

type PaidEngine = Pick<Engine, "id" | "pricesOf" | "monthlyBudget">;

const sum = z.object({
  engine: z.string(),
  /** `2026-11` */
  month: z.string(),
  currency: z.string(),
  nanos: z.int().min(0),
});
type Sum = z.output<typeof sum>;

const reserved = sum.extend({ id: z.string() });
type Reserved = z.output<typeof reserved>;

const rows = {
  months: sum.extend({ isWarned: z.boolean().exactOptional() }),
  /** Requests that were sent and whose cost is not known: after a crash they count in full. */
  open: reserved,
  /** Months with a sum that could not be read, of an engine, or of any. */
  unknown: z.object({ engine: z.string().exactOptional(), month: z.string() }),
};
const state = z.object({
  months: z.array(rows.months),
  open: z.array(rows.open),
  unknown: z.array(rows.unknown),
});
type State = z.output<typeof state>;

const event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("reserve"), ...reserved.shape }),
  z.object({ type: z.literal("settle"), ...reserved.shape }),
  z.object({ type: z.literal("warn"), engine: z.string(), month: z.string(), currency: z.string() }),
]);
type Event = z.output<typeof event>;

const warnShare = 0.8;
/** Sums that are kept, the newest: years, for a few engines. */
const maxMonths = 240;

/**
 * What paid engines cost, per calendar month (UTC), on disk in `spending.json`. Each request is recorded with its worst
 * case before it is sent, and with its cost after the answer: requests at the same time can't exceed a budget together,
 * and one that a crash interrupts counts in full. Amounts are in nanos of the currency.
 */
export class SpendingLedger {
  readonly #parts: ConstructorParameters<typeof SpendingLedger>[0];
  #opening: Promise<void> | undefined;
  #document: JournaledDocument<State, Event> | undefined;
  /** Why it can't be read. */
  #failure: string | undefined;
  /** Requests of this process, by id, until their cost is stored. */
  readonly #held = new Map<string, Reserved>();

  constructor(parts: {
    /** Absent: sums end with the process. */
    readonly files?: DocumentFiles;
    readonly now: () => number;
    readonly log: Log;
    /** Names the budget of an engine. */
    readonly settings: () => Pick<Settings, "providers">;
  }) {
    this.#parts = parts;
  }

  /** Resolves when the stored sums are read, or can't be. */
  ready(): Promise<void> {
    return (this.#opening ??= this.#open());
  }

  /** What is left for a model's requests; undefined without a budget, or before `ready`. */
  left(engine: PaidEngine, model: string): BudgetLeft | undefined {
    const prices = engine.pricesOf?.(model);
    const { monthlyBudget: budget } = engine;
    if (prices === undefined || budget === undefined || this.#document === undefined) return undefined;
    const used = this.#usedNanos(engine.id, this.#month(), prices.currency);
    const isUnknown = this.#isUnknown(engine.id);
    return {
      leftNanos: Math.round(budget * nanosPerUnit) - used,
      budget,
      prices,
      setting: budgetPath(this.#parts.settings().providers.openai, engine.id),
      ...(isUnknown && { unknownMonth: this.#month() }),
    };
  }

  /**
   * Records the worst case of a request before it is sent; undefined for a model without prices. Throws `BudgetExceeded`
   * if it may exceed the budget, or if there is a budget and the record can't be written.
   */
  async reserve(engine: PaidEngine, model: string, worst: ChargedTokens) {
    const prices = engine.pricesOf?.(model);
    if (prices === undefined) return undefined;
    await this.ready();
    const hasBudget = engine.monthlyBudget !== undefined;
    if (hasBudget && this.#failure !== undefined) throw this.#unrecorded(engine, this.#failure);
    const left = this.left(engine, model);
    const reason = left === undefined ? undefined : overBudget(left, worst);
    if (left !== undefined && reason !== undefined)
      throw new BudgetExceeded(`${model} on ${engine.id} ${reason}`, {
        next: [...budgetSteps(left), { step: "chooseModel", that: "without a budget" }],
      });
    const { currency } = prices;
    const held: Reserved = {
      id: randomUUID(),
      engine: engine.id,
      month: this.#month(),
      currency,
      nanos: costNanos(worst, prices),
    };
    // Counted before anything is awaited, so that requests that arrive together see each other.
    this.#held.set(held.id, held);
    const problem = await this.#append({ type: "reserve", ...held });
    if (problem !== undefined && hasBudget) {
      this.#held.delete(held.id);
      throw this.#unrecorded(engine, problem);
    }
    let isSettled = false;
    return {
      /**
       * Replaces the reserved amount by the actual cost. The note is given once a month, when most of the budget is spent.
       * Never rejects.
       */
      settle: async (tokens: ChargedTokens, isEstimated: boolean) => {
        isSettled = true;
        await this.#settle(held, costNanos(tokens, prices));
        const cost = costOf(tokens, prices, isEstimated);
        return { cost, ...defined({ note: await this.#warnOnce(engine, held) }) };
      },
      /**
       * Nothing was charged; without effect after `settle`, though a cost that could not be stored is still held. Never
       * rejects.
       */
      release: async () => (isSettled ? undefined : await this.#settle(held, 0)),
    };
  }

  /** Embeds texts, whose tokens are charged like those of prompts. Throws `BudgetExceeded`, and what `work` throws. */
  async embedding<Result extends { readonly promptTokens: number }>(
    engine: PaidEngine,
    model: string,
    texts: readonly string[],
    work: () => Promise<Result>,
  ): Promise<Result & { readonly cost?: Cost }> {
    const promptTokens = texts.reduce((tokens, text) => tokens + estimateTokens(text), 0);
    const worst = worstTokens({ promptTokens, maxTokens: 0 });
    const bill = await this.reserve(engine, model, worst);
    try {
      const result = await work();
      // A count far below the estimate is none: the budget would last longer than it does.
      const isWrong = isTooFew(result.promptTokens, promptTokens);
      const tokens = isWrong ? worst : { promptTokens: result.promptTokens, completionTokens: 0 };
      return { ...result, ...defined({ cost: (await bill?.settle(tokens, isWrong))?.cost }) };
    } finally {
      await bill?.release();
    }
  }

  /** The sums of the current month; of an engine with a budget also where nothing was spent. */
  async spent(engine: PaidEngine, models: readonly { readonly name: string }[]): Promise<readonly Spending[]> {
    if (engine.pricesOf === undefined) return [];
    await this.ready();
    const month = this.#month();
    const priced = models.flatMap(({ name }): Prices | readonly Prices[] => engine.pricesOf?.(name) ?? []);
    const { monthlyBudget: budget } = engine;
    const known = [...(this.#document?.state.months ?? []), ...this.#held.values()].filter(
      (each) => each.engine === engine.id && each.month === month,
    );
    const currencies = new Set([...known, ...(budget === undefined ? [] : priced)].map(({ currency }) => currency));
    return [...currencies].map((currency) => ({
      month,
      amount: this.#usedNanos(engine.id, month, currency) / nanosPerUnit,
      currency,
      ...defined({ budget }),
    }));
  }

  /** A warning for each engine whose budget is nearly or wholly spent, and what happened to the file. */
  problems(engines: readonly PaidEngine[]): readonly string[] {
    const month = this.#month();
    const sums = this.#document?.state.months ?? [];
    const warnings = engines.flatMap((engine) => {
      const own = sums.find((each) => each.engine === engine.id && each.month === month);
      const warning = own && this.#warning(engine, own);
      return warning === undefined ? [] : [warning];
    });
    const unknown = engines.flatMap(({ id, monthlyBudget }) =>
      monthlyBudget !== undefined && this.#isUnknown(id) ? [`${id} ${unknownCost(month)}`] : [],
    );
    const problem = this.#failure === undefined ? [] : [`spending.json: ${this.#failure}`];
    return [...warnings, ...unknown, ...problem, ...(this.#document?.problems ?? [])];
  }

  async close(): Promise<void> {
    await this.#opening;
    await this.#document?.close();
  }

  async #open(): Promise<void> {
    const { files, log } = this.#parts;
    try {
      const document = await openDocument<State, Event>({
        ...(files && { files }),
        name: "spending",
        schemaVersion: 1,
        empty: () => ({ months: [], open: [], unknown: [] }),
        state,
        event,
        apply,
        prune: (kept) => void (kept.months = kept.months.slice(-maxMonths)),
        rows,
        // A sum that can't be read may have been any: it must not count as none.
        noteLost: (kept, lost) => void kept.unknown.push(...monthsOf(lost, this.#month())),
        log,
      });
      this.#document = document;
      // An earlier process ended before these were answered: they may have cost as much.
      for (const interrupted of document.state.open) this.#held.set(interrupted.id, interrupted);
      for (const interrupted of document.state.open) await this.#settle(interrupted, interrupted.nanos);
    } catch (error) {
      this.#failure = messageOf(error);
      log.warn(`spending: ${this.#failure}`);
    }
  }

  async #settle(held: Reserved, nanos: number): Promise<void> {
    if (!this.#held.has(held.id)) return;
    const settled = { ...held, nanos };
    this.#held.set(held.id, settled);
    const problem = await this.#append({ type: "settle", ...settled });
    // What isn't stored still counts in this process.
    if (problem === undefined) this.#held.delete(held.id);
  }

  /** Returns why it can't be written. */
  async #append(next: Event): Promise<string | undefined> {
    try {
      if (this.#document === undefined) return this.#failure ?? "it is not open";
      await this.#document.append(next);
      return undefined;
    } catch (error) {
      const reason = messageOf(error);
      this.#parts.log.warn(`spending: ${reason}`);
      return reason;
    }
  }

  #isUnknown(engine: string): boolean {
    const month = this.#month();
    const unknown = this.#document?.state.unknown ?? [];
    return unknown.some((each) => each.month === month && (each.engine ?? engine) === engine);
  }

  #usedNanos(engine: string, month: string, currency: string): number {
    let used = 0;
    for (const each of [...(this.#document?.state.months ?? []), ...this.#held.values()]) {
      if (each.engine === engine && each.month === month && each.currency === currency) used += each.nanos;
    }
    return used;
  }

  async #warnOnce(engine: PaidEngine, { month, currency }: Sum): Promise<string | undefined> {
    const own = this.#document?.state.months.find((each) => isSame(each, { engine: engine.id, month, currency }));
    const warning = own && this.#warning(engine, own);
    if (own === undefined || own.isWarned === true || warning === undefined) return undefined;
    await this.#append({ type: "warn", engine: engine.id, month, currency });
    return warning;
  }

  #warning({ id, monthlyBudget: budget }: PaidEngine, { month, currency, nanos }: Sum): string | undefined {
    if (budget === undefined) return undefined;
    const used = nanos / nanosPerUnit;
    if (used < budget * warnShare) return undefined;
    const share = budget === 0 ? 100 : Math.floor((used / budget) * 100);
    return `${id}: ${formatAmount(used, currency)} of its budget of ${formatAmount(budget, currency)} for ${month} are spent (${share} %)`;
  }

  #unrecorded({ id }: PaidEngine, reason: string): BudgetExceeded {
    return new BudgetExceeded(
      `${id} has a monthly budget, and the cost of a request can't be recorded, so none is sent: ${reason}`,
      { next: advice("free some disk space and make the home folder writable") },
    );
  }

  #month(): string {
    return new Date(this.#parts.now()).toISOString().slice(0, 7);
  }
}

function isSame(a: Omit<Sum, "nanos">, b: Omit<Sum, "nanos">): boolean {
  return a.engine === b.engine && a.month === b.month && a.currency === b.currency;
}

/** The months that damaged rows belong to, with their engines; this month of all engines if a row doesn't say. */
function monthsOf(lost: readonly unknown[], thisMonth: string): State["unknown"] {
  return lost.map((row) => {
    const { success, data } = rows.unknown.required().safeParse(row);
    return success ? data : { month: thisMonth };
  });
}

function apply(kept: State, next: Event): void {
  if (next.type === "reserve") {
    const { type: _type, ...held } = next;
    kept.open.push(held);
    return;
  }
  let month = kept.months.find((each) => isSame(each, next));
  if (month === undefined) {
    month = { engine: next.engine, month: next.month, currency: next.currency, nanos: 0 };
    kept.months.push(month);
  }
  if (next.type === "warn") {
    month.isWarned = true;
    return;
  }
  // Also of a request whose reservation could not be written.
  kept.open = kept.open.filter(({ id }) => id !== next.id);
  // A larger sum could not be read again.
  month.nanos = Math.min(month.nanos + next.nanos, Number.MAX_SAFE_INTEGER);
}
