import { randomNumbers } from "../../scripts/classifier/labelled.ts";
import { chooseModel } from "../../src/orchestrator/routing/choose.ts";
import { learnFeedback, ratingEvidence } from "../../src/orchestrator/routing/evidence.ts";
import { type QualityState, nothingLearned } from "../../src/orchestrator/routing/quality-state.ts";
import { candidate, loaded, request } from "../../test/orchestrator/routing/candidates.ts";
import type { Bench } from "../bench.ts";
import { median, rounded } from "../support/statistics.ts";

const [first, second] = ["llama3.1:8b", "mistral:7b"] as const;
/** What is in memory: the first model and then the one that answered last, both, or nothing. */
const places = ["one", "both", "none"] as const;
type Place = (typeof places)[number];

const seeds = 20;
/** A share of half a per cent can't be seen in 20 lives. */
const lives = 1_000;
const requests = 300;

/** The model that answers the next request. */
function chosen(learned: QualityState, place: Place, held: string): string {
  const models = [first, second].map((model) =>
    place === "both" || (place === "one" && model === held) ? loaded(model) : candidate(model),
  );
  return chooseModel(request({ learned }), models).chain[0]?.candidate.model ?? "";
}

const rated = (state: QualityState, model: string, isGood: boolean): QualityState =>
  learnFeedback(state, ratingEvidence("general", model, isGood));

/** Bad ratings until the first model is left, after 100 that are good but for the share `bad`. */
function leftAfter(place: Place, seed: number, bad: number): number {
  const random = randomNumbers(seed);
  let state = nothingLearned;
  for (let count = 0; count < 100; count += 1) state = rated(state, first, random() >= bad);
  for (let count = 0; count < 300; count += 1) {
    if (chosen(state, place, first) !== first) return count;
    state = rated(state, first, false);
  }
  return Number.POSITIVE_INFINITY;
}

/** The user rates each answer; `good` is the share of good answers of each model. */
function live(place: Place, seed: number, good: readonly [number, number]) {
  const random = randomNumbers(seed);
  let state = nothingLearned;
  let held: string = first;
  let leftAt = Number.POSITIVE_INFINITY;
  let others = 0;
  for (let count = 0; count < requests; count += 1) {
    held = chosen(state, place, held);
    if (held !== first) {
      leftAt = Math.min(leftAt, count);
      others += 1;
    }
    state = rated(state, held, random() < good[held === first ? 0 : 1]);
  }
  return { leftAt, others, last: held };
}

const range = (count: number): readonly number[] => Array.from({ length: count }, (_none, at) => at + 1);

export const learning: Bench = {
  name: "learning",
  summary: "simulated ratings: a model that became bad is left, a steady one is kept, a better one is found",
  runsSources: true,
  async run() {
    const rows = places.map((place) => {
      const left = range(seeds).map((seed) => leftAfter(place, seed, seed <= seeds / 2 ? 0 : 0.05));
      const steady = range(lives).map((seed) => live(place, seed, [0.7, 0.5]));
      const found = range(seeds).map((seed) => live(place, seed, [0.4, 0.8]));
      const ofSteady = (count: number) => rounded((100 * count) / steady.length, 2);
      return {
        in_memory: place,
        left_after_most: Math.max(...left),
        steady_left_percent: ofSteady(steady.filter(({ leftAt }) => leftAt < requests).length),
        steady_requests_percent: ofSteady(steady.reduce((sum, { others }) => sum + others / requests, 0)),
        found: found.filter(({ leftAt }) => leftAt < requests).length,
        found_after_median: median(found.map(({ leftAt }) => leftAt)),
        found_after_most: Math.max(...found.map(({ leftAt }) => leftAt)),
        second_at_the_end: found.filter(({ last }) => last === second).length,
      };
    });
    const isLeft = rows.every((row) => row.left_after_most <= 35);
    const isKept = rows.every((row) => row.steady_left_percent <= 0.5);
    const isFound = rows.every((row) => row.found === seeds);
    const said = (isReached: boolean) => (isReached ? "reached" : "missed");
    return {
      rows,
      passed: isLeft && isKept && isFound,
      verdict: [
        `bar "after 100 good ratings left within 35 bad ones, in all of ${seeds}": ${said(isLeft)}`,
        `bar "70 % good, the other one 50 %: ever left in at most 0.5 % of ${lives} lives of ${requests} requests": ${said(isKept)}`,
        `bar "40 % good, the other one 80 %: found in all of ${seeds}": ${said(isFound)}`,
      ].join("\n"),
    };
  },
};
