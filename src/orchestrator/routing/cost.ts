import { type Cost, type Prices, nanosPerUnit } from "../api/cost.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import { formatAmount } from "../util/format-bytes.ts";

/** Tokens that a server charges for. */
export interface ChargedTokens {
  readonly promptTokens: number;
  /** A part of `promptTokens`. */
  readonly cachedPromptTokens?: number | undefined;
  readonly completionTokens: number;
}

/** The cost in nanos, a safe integer, rounded up. Exact for prices of up to six decimal places. */
export function costNanos(
  { promptTokens, cachedPromptTokens = 0, completionTokens }: ChargedTokens,
  prices: Prices,
): number {
  const { inputPerMillion, cachedInputPerMillion = inputPerMillion, outputPerMillion } = prices;
  const prompt = whole(promptTokens);
  const cached = Math.min(prompt, whole(cachedPromptTokens));
  const thousandths =
    BigInt(prompt - cached) * micros(inputPerMillion) +
    BigInt(cached) * micros(cachedInputPerMillion) +
    BigInt(whole(completionTokens)) * micros(outputPerMillion);
  return Math.min(Number((thousandths + 999n) / 1_000n), Number.MAX_SAFE_INTEGER);
}

/** Estimated prompts have up to half more tokens (`needsCount`). */
const promptMargin = 1.5;
/** More than services charge for an image in their usual resolution. */
export const imageTokens = 1_600;

/** The most that a request may cost: an uncached prompt and the longest answer. */
export function worstTokens(request: {
  readonly promptTokens: number;
  /** Counted by the model's tokenizer, not estimated. */
  readonly isExact?: boolean;
  readonly images?: number;
  readonly maxTokens: number;
}): ChargedTokens {
  const { promptTokens, isExact = false, images = 0, maxTokens } = request;
  const prompt = isExact ? promptTokens : Math.ceil(promptTokens * promptMargin);
  return { promptTokens: prompt + images * imageTokens, completionTokens: maxTokens };
}

/** Tokenizers differ by less from an estimate. */
const mostDifference = 8;

/**
 * The tokens to charge, and why they are not those that the server reported. A budget does not last longer because of a
 * server's counts: a prompt without one costs what was reserved, and so does an answer whose count can't be true.
 */
export function chargedTokens(
  {
    promptTokens,
    cachedPromptTokens,
    completionTokens,
    estimatedUsage,
  }: Partial<ChargedTokens> & {
    readonly completionTokens: number;
    readonly estimatedUsage?: "missing" | "impossible";
  },
  expected: { readonly worst: ChargedTokens; readonly promptTokens: number; readonly textTokens: number },
  received: number,
): { readonly tokens: ChargedTokens; readonly doubt?: "missing" | "impossible" } {
  const { worst } = expected;
  // An answer that was stopped because it repeated itself.
  if (promptTokens === undefined)
    return { tokens: { promptTokens: expected.promptTokens, completionTokens: received }, doubt: "missing" };
  const isWrong = isTooFew(promptTokens, expected.textTokens) || isTooFew(completionTokens, received);
  const doubt = isWrong ? "impossible" : estimatedUsage;
  if (doubt === undefined) return { tokens: { promptTokens, cachedPromptTokens, completionTokens } };
  const atLeast = doubt === "missing" ? received : worst.completionTokens;
  return {
    tokens: {
      promptTokens: Math.max(promptTokens, worst.promptTokens),
      completionTokens: Math.max(completionTokens, atLeast),
    },
    doubt,
  };
}

/** Whether a server reports so few tokens that its count can't be that of the text. */
export function isTooFew(reported: number, estimated: number): boolean {
  return reported * mostDifference < estimated;
}

export function costOf(tokens: ChargedTokens, prices: Prices, isEstimated: boolean): Cost {
  const { currency, date } = prices;
  const amount = costNanos(tokens, prices) / nanosPerUnit;
  return { amount, currency, date, ...(isEstimated && { isEstimated }) };
}

/** The sum of several answers' costs by the same prices; undefined without any. */
export function totalCost(costs: readonly Cost[]): Cost | undefined {
  const [first] = costs;
  if (first === undefined) return undefined;
  const nanos = costs.reduce((sum, { amount }) => sum + Math.round(amount * nanosPerUnit), 0);
  const isEstimated = costs.some((cost) => cost.isEstimated === true);
  return { ...first, amount: nanos / nanosPerUnit, ...(isEstimated && { isEstimated }) };
}

/** What is left of a budget; a part of what is known of a candidate. */
export interface BudgetLeft {
  readonly leftNanos: number;
  readonly budget: number;
  readonly prices: Prices;
  /** Path of the budget: `providers.openai[0].monthlyBudget`. */
  readonly setting: string;
  /** A part of what this month (`2026-11`) has cost could not be read. */
  readonly unknownMonth?: string;
}

/** As a predicate for the engine. */
export function unknownCost(month: string): string {
  return `has a monthly budget, and what ${month} has cost is not known, since spending.json was damaged; nothing is sent to it until the next month`;
}

/** What can be done about a request that its budget doesn't allow. */
export function budgetSteps({ setting, unknownMonth }: BudgetLeft): readonly NextStep[] {
  if (unknownMonth === undefined)
    return [
      { step: "askUserToSet", setting },
      { step: "lowerArgument", argument: "maxTokens" },
    ];
  const renew = "stop the daemon, move spending.json away, and lower the budget by what the provider's bill says";
  return [advice(renew)];
}

/** Why a request may not be sent, as a predicate for the engine or the model; undefined if it may. */
export function overBudget(
  { leftNanos, budget, prices, unknownMonth }: BudgetLeft,
  worst: ChargedTokens,
): string | undefined {
  if (unknownMonth !== undefined) return unknownCost(unknownMonth);
  const nanos = costNanos(worst, prices);
  if (nanos <= leftNanos) return undefined;
  const { currency } = prices;
  const left = formatAmount(Math.max(0, leftNanos) / nanosPerUnit, currency);
  return `may cost ${formatAmount(nanos / nanosPerUnit, currency)}, and ${left} of this month's budget of ${formatAmount(budget, currency)} are left`;
}

function whole(tokens: number): number {
  return Number.isFinite(tokens) ? Math.max(0, Math.ceil(tokens)) : 0;
}

function micros(price: number): bigint {
  return BigInt(Math.round(price * 1_000_000));
}
