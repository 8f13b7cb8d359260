import type { ScoreTerms } from "../api/facade-route.ts";
import { type ModelEvidence, differenceAt, fitOf, typicalScore, varianceAt } from "./quality-fit.ts";
import { type QualityState, nameOf } from "./quality-state.ts";

/** `answers`: how many to this task it rests on, beside the prior and other tasks: the sum of their weights. */
type Quality = NonNullable<ScoreTerms["quality"]>;

/** A model that may go first. */
interface Contender {
  readonly model: string;
  /** It may be tried to learn about it: it is loaded, and the request is not in a hurry. */
  readonly mayExplore?: boolean;
}

interface QualityOrder {
  /** Positions among the contenders, the first to try first. */
  readonly order: readonly number[];
  /** Why the first goes first: nothing speaks against the given order, evidence does, or it is tried to learn about it. */
  readonly because: "given" | "learned" | "explored";
}

/** Half of the 90 % interval of a normal distribution, in standard deviations. */
const ninety = 1.645;

/** Standard deviations by which a model must be better than the first of the given order, without comparisons. */
const proof = 1.75;
/**
 * A model is clearly bad at a task where the whole 90 % interval of its expected score is below this, and clearly good
 * where it is above. After six bad ratings a model is clearly bad, after eight good ones clearly good; one of whose answers
 * 70 % are good is taken for bad in less than 0.5 % of its lives (`bench -- judgement --part learning`).
 */
const clear = typicalScore - 0.022;
/** How much more a model must be expected to score to go before one that is clearly bad, or unknown. */
const worthwhile = 0.1;
const exploring = {
  /** Share of requests that explore a model: one that seems worse, and one that seems better. */
  worse: 0.05,
  better: 0.3,
  /** Standard deviations by which an explored model may be better than it seems. */
  hope: 1,
  /** What exploration may have cost: so many answers, and this share of all. */
  lostAnswers: 3,
  lostShare: 0.001,
} as const;

/** The expected score of the model at this position of the family order, from 0, while nothing is known of its answers. */
export function priorAt(position: number): number {
  return typicalScore + 0.02 - (0.06 * position) / (position + 4);
}

/** Whether anything was learned of the model, at any task. */
export function hasEvidence(state: QualityState, model: string): boolean {
  return fitOf(state).models.has(nameOf(model));
}

/** What is expected of the model's answers to this task; `prior` is the expected score while nothing is known. */
export function qualityOf(state: QualityState, task: string, model: string, prior: number): Quality {
  const estimate = estimateOf(state, task, model, prior);
  const margin = Math.min(1, ninety * Math.sqrt(estimate.variance()));
  return { mean: Math.min(1, Math.max(0, estimate.mean)), margin, answers: estimate.answers };
}

export function isClearlyBad({ mean, margin, answers }: Quality): boolean {
  return answers > 0 && mean + margin < clear;
}

/** Whether it is expected to score so much more that it may go before one that is clearly bad. */
export function isWorthwhile(mean: number, bad: number): boolean {
  return bad + worthwhile <= mean;
}

/**
 * The order in which to try the contenders, which come in the order that holds without evidence. Those that are better
 * than the first of them by evidence go before it, the best first; the rest keeps its order. Where models were compared,
 * the means decide. Where each was only judged when it answered, the difference must be `proof` standard deviations: an
 * error would not correct itself, as the other models are no longer seen. A first model that has no answers to this task
 * yet leaves its place to one that is clearly good: what works isn't changed for one of unknown value.
 *
 * With `random` (from 0 to 1), one that may be explored may go first to learn about it: the one that may be best, as long
 * as what exploration has cost by the present estimates is within a budget. What it has gained is in the budget.
 */
export function orderByQuality(
  state: QualityState,
  task: string,
  contenders: readonly Contender[],
  random?: number,
): QualityOrder {
  const positions = contenders.map((_, position) => position);
  if (contenders.length < 2 || (state.tasks.length === 0 && random === undefined)) {
    return { order: positions, because: "given" };
  }
  const better = betterThanFirst(state, task, contenders);
  const isAhead = new Set(better);
  const order =
    better.length === 0 ? positions : [...better, ...positions.filter((position) => !isAhead.has(position))];
  const explored = random === undefined ? undefined : exploredBy(state, task, contenders, order[0] ?? 0, random);
  if (explored === undefined) return { order, because: better.length > 0 ? "learned" : "given" };
  return { order: [explored, ...order.filter((position) => position !== explored)], because: "explored" };
}

/** The positions of those that are better than the first contender, the best first. */
function betterThanFirst(state: QualityState, task: string, contenders: readonly Contender[]): readonly number[] {
  const first = estimateOf(state, task, contenders[0]?.model ?? "", priorAt(0));
  const better: { readonly position: number; readonly mean: number }[] = [];
  // Of most of a thousand models nothing is known. What is expected of these falls with the position.
  let isUnknownBetter = true;
  for (const [position, { model }] of contenders.entries()) {
    const isUnknown = !hasEvidence(state, model);
    if (position === 0 || (isUnknown && !isUnknownBetter)) continue;
    const estimate = estimateOf(state, task, model, priorAt(position));
    if (isProven(estimate, first) || isClearlyGood(estimate, first)) better.push({ position, mean: estimate.mean });
    else if (isUnknown) isUnknownBetter = false;
  }
  return better.toSorted((a, b) => b.mean - a.mean || a.position - b.position).map(({ position }) => position);
}

type Estimate = ReturnType<typeof estimateOf>;

function estimateOf(state: QualityState, task: string, model: string, prior: number) {
  const fit = fitOf(state);
  const at = fit.tasks.get(nameOf(task));
  const evidence = fit.models.get(nameOf(model));
  return {
    mean: meanOf(state, at, evidence, prior),
    /** Computed when it is needed: comparisons are decided without it. */
    variance: () => varianceAt(fit, at, evidence),
    answers: evidence?.seen.find((seen) => seen.task === at)?.answers ?? 0,
    /** Over all tasks. */
    evidence,
  };
}

function meanOf(state: QualityState, at: number | undefined, evidence: ModelEvidence | undefined, prior: number) {
  const fit = fitOf(state);
  const level = at === undefined ? typicalScore : (fit.levels[at] ?? typicalScore);
  const before = prior - typicalScore;
  return level + (evidence === undefined ? before : differenceAt(fit, at, evidence, before));
}

function isProven(estimate: Estimate, first: Estimate): boolean {
  const difference = estimate.mean - first.mean;
  if (difference <= 0) return false;
  const single = (estimate.evidence?.single ?? 0) + (first.evidence?.single ?? 0);
  const compared = (estimate.evidence?.compared ?? 0) + (first.evidence?.compared ?? 0);
  const share = single + compared === 0 ? 1 : single / (single + compared);
  return share === 0 || difference > share * proof * Math.sqrt(estimate.variance() + first.variance());
}

/** Against a first one that has no answers yet. */
function isClearlyGood({ mean, answers, variance }: Estimate, first: Estimate): boolean {
  if (answers === 0 || first.answers > 0 || mean < first.mean + worthwhile) return false;
  return mean - ninety * Math.sqrt(variance()) > clear;
}

function exploredBy(state: QualityState, task: string, contenders: readonly Contender[], best: number, random: number) {
  if (random >= exploring.better) return undefined;
  const leader = estimateOf(state, task, contenders[best]?.model ?? "", priorAt(best));
  let chosen: { readonly position: number; readonly difference: number; readonly hope: number } | undefined;
  for (const [position, { model, mayExplore }] of contenders.entries()) {
    if (mayExplore !== true || position === best) continue;
    const estimate = estimateOf(state, task, model, priorAt(position));
    const difference = estimate.mean - leader.mean;
    const hope = difference + exploring.hope * Math.sqrt(estimate.variance() + leader.variance());
    if (hope > 0 && (chosen === undefined || hope > chosen.hope)) chosen = { position, difference, hope };
  }
  if (chosen === undefined) return undefined;
  const { position, difference } = chosen;
  if (random >= (difference > 0 ? exploring.better : exploring.worse)) return undefined;
  const { lost, answers } = costOf(state, contenders);
  const budget = exploring.lostAnswers + exploring.lostShare * answers;
  return lost + Math.max(0, -difference) <= budget ? position : undefined;
}

/** What the answers of the other models have cost against those of the first, by the present estimates. */
function costOf(state: QualityState, contenders: readonly Contender[]) {
  const { models: known } = fitOf(state);
  const positions = new Map(contenders.map(({ model }, position) => [nameOf(model), position]));
  let lost = 0;
  let answers = 0;
  for (const [at, { models }] of state.tasks.entries()) {
    const meanAt = (model: string, position: number) => meanOf(state, at, known.get(model), priorAt(position));
    const firstMean = meanAt(contenders[0]?.model ?? "", 0);
    for (const { model, single } of models) {
      const position = positions.get(model);
      if (position === undefined) continue;
      answers += single.answers;
      lost += single.answers * (firstMean - meanAt(model, position));
    }
  }
  return { lost, answers };
}
