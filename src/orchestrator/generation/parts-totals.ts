import type { Cost } from "../api/cost.ts";
import type { GenerateResult } from "../api/facade.ts";
import { counted } from "../util/format-bytes.ts";
import { formatAmount } from "../util/format-usage.ts";

type Attempt = GenerateResult["route"]["attempts"][number];

/** Notes beyond these are counted. */
const maxNotes = 5;

/** Sums of the requests that one answer took. */
export class PartsTotals {
  readonly #results: GenerateResult[] = [];

  add(result: GenerateResult): void {
    this.#results.push(result);
  }

  get last(): GenerateResult | undefined {
    return this.#results.at(-1);
  }

  /** The last answer with the tokens, times, costs and attempts of all requests. */
  of(last: GenerateResult): GenerateResult {
    const sum = (amount: (result: GenerateResult) => number | undefined) =>
      this.#results.reduce((total, result) => total + (amount(result) ?? 0), 0);
    const isKnown = (amount: (result: GenerateResult) => number | undefined) =>
      this.#results.some((result) => amount(result) !== undefined);
    const [cost] = this.#costs();
    const cached = ({ cachedPromptTokens }: GenerateResult) => cachedPromptTokens;
    return {
      ...last,
      promptTokens: sum(({ promptTokens }) => promptTokens),
      ...(isKnown(cached) ? { cachedPromptTokens: sum(cached) } : {}),
      completionTokens: sum(({ completionTokens }) => completionTokens),
      ...(cost === undefined ? {} : { cost }),
      timing: {
        queueMs: sum(({ timing }) => timing.queueMs),
        loadMs: sum(({ timing }) => timing.loadMs),
        firstTokenMs: last.timing.firstTokenMs,
      },
      // Its list of models is made only if it is read.
      route: Object.defineProperties(
        {},
        {
          ...Object.getOwnPropertyDescriptors(last.route),
          attempts: { value: grouped(this.#results.flatMap(({ route }) => route.attempts)), enumerable: true },
        },
      ) as GenerateResult["route"],
    };
  }

  /** Those of all requests, each once. */
  notes(): readonly string[] {
    const all = [
      ...new Set(this.#results.flatMap(({ notes }) => notes)),
      ...this.#costs()
        .slice(1)
        .map(({ amount, currency }) => `other requests cost ${formatAmount(amount, currency)}`),
    ];
    const more = all.length - maxNotes;
    return more <= 1 ? all : [...all.slice(0, maxNotes), `${counted(more, "note")} more`];
  }

  /** By currency. */
  #costs(): readonly Cost[] {
    const costs = new Map<string, Cost>();
    for (const { cost } of this.#results) {
      if (cost === undefined) continue;
      const before = costs.get(cost.currency);
      costs.set(cost.currency, {
        ...cost,
        ...before,
        amount: cost.amount + (before?.amount ?? 0),
        ...(cost.isEstimated === true ? { isEstimated: true } : {}),
      });
    }
    return [...costs.values()];
  }
}

/** Equal attempts once, with their number. */
function grouped(attempts: readonly Attempt[]): readonly Attempt[] {
  const counts = new Map<string, { readonly attempt: Attempt; count: number }>();
  for (const attempt of attempts) {
    const key = JSON.stringify(attempt);
    const found = counts.get(key);
    if (found === undefined) counts.set(key, { attempt, count: 1 });
    else found.count += 1;
  }
  return [...counts.values()].map(({ attempt, count }) =>
    count === 1 ? attempt : { ...attempt, outcome: `${attempt.outcome} (${counted(count, "request")})` },
  );
}
