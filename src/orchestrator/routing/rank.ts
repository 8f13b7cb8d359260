import type { ExpectedSeconds, ScoreTerms } from "../api/facade-route.ts";
import type { Profile } from "../api/types.ts";
import { canonicalName, sameModel } from "../util/model-name.ts";
import { type Candidate, type ChoiceRequest, hasRoomForAnswer, isOfProfile, missedThreshold } from "./candidate.ts";
import { safeDefaults, isOtherQuantization } from "./database.ts";
import { expectation, magnitude, meritOf } from "./expected-seconds.ts";
import { hasEvidence, isClearlyBad, isWorthwhile, orderByQuality, priorAt, qualityOf } from "./quality.ts";
import type { QualityState } from "./quality-state.ts";
import { defined } from "../util/values.ts";

/** A candidate that passed the filters, with its rank. */
export interface Match {
  readonly candidate: Candidate;
  /** Position among the given candidates: the configured order of engines. */
  readonly index: number;
  readonly level: Level;
  readonly standIn: StandIn;
  /** The expected ones, altogether. */
  readonly seconds: number;
  /** What its answer is worth after the wait (`meritOf`). */
  readonly merit: number;
  step: Step;
  /** The score, most important first; of each term, less is better. In the order of `rank`. */
  terms: readonly number[];
  /** The first candidate that matches the profile better, but ranks lower for another reason. */
  better: Candidate | undefined;
  /** The next one, which the first was preferred to. */
  runnerUp?: Match;
  /** What was learned about its answers to this task. */
  readonly quality?: ReturnType<typeof qualityOf>;
  /** Why it goes first, unless what was learned changed nothing. */
  readonly because?: Exclude<ReturnType<typeof orderByQuality>["because"], "given">;
  /** It goes first because what is in memory answers this task badly. */
  readonly replaces?: Candidate;
}

const noTerms: readonly number[] = [];

/** The steps of `chooseModel`; lower goes first. */
export const steps = {
  preferred: 0,
  listed: 1,
  loaded: 2,
  own: 3,
  fallback: 4,
  able: 5,
  shortWindow: 6,
  remote: 7,
} as const;
type Step = (typeof steps)[keyof typeof steps];
const stepNames = Object.keys(steps) as readonly (keyof typeof steps)[];

type Level = ScoreTerms["profile"];
const levelOrder = { own: 0, fallback: 1, none: 2 } as const;

/** What a model has in common with a preferred one that does not fit. */
type StandIn = "itself" | "quantization" | "family" | "none";

/** How much more merit a model must have than a loaded match to be loaded instead. */
const worthLoading = { low: 0.4, medium: 0.4, high: 0.2 } as const;
/** What a better match of the profile counts against a loaded model. */
const betterMatch = 1;

/**
 * The candidates in the order in which to try them. All have passed the filters. Terms of the score:
 *
 * 1. step: `chooseModel`.
 * 2. profile: matches it, else its fallback, else neither; models that the settings mean for other profiles go last.
 * 3. stand-in, if the preferred model does not fit: another quantization of it, the nearest first, then its family.
 * 4. evidence: models that are clearly bad at the task go last (`isBad`), whatever is in memory.
 * 5. listed: the profile's own models, in their order.
 * 6. merit: the strength at this task less the wait (`expected-seconds.ts`), which counts more the simpler the request is.
 *
 * Last come the name and the configured order of engines. What was learned about the quality of answers then reorders
 * models that are equal in the terms before it (`byQuality`): the merit is what is expected without evidence.
 */
export function rank(
  candidates: readonly Candidate[],
  request: ChoiceRequest,
  unfitPreferred: Candidate | undefined,
): readonly Match[] {
  const expected = expectation(request, candidates);
  const matches = candidates.map((candidate, index): Match => {
    const level = levelOf(candidate, request);
    const standIn = unfitPreferred === undefined ? "none" : standInFor(unfitPreferred, candidate);
    const awaited = expected(candidate);
    const seconds = awaited.totalSeconds;
    // The only one is not compared with others.
    const merit = candidates.length === 1 ? 0 : meritOf(candidate, awaited, request);
    // Filled below: a copy of each costs as much as all terms among a thousand models.
    return { candidate, index, level, standIn, seconds, merit, step: steps.able, terms: noTerms, better: undefined };
  });
  const rivals = rivalsOf(matches, request);
  const named = namesWithEvidence(candidates, request.learned);
  const bad = badAt(matches, request, named);
  for (const match of matches) {
    const { candidate, level, standIn, merit } = match;
    const isBad = bad.size > 0 && bad.has(candidate);
    match.step = stepOf(match, request, rivals[levelOrder[level]] ?? Number.NEGATIVE_INFINITY, isBad);
    match.terms = [
      match.step,
      levelOrder[level] + (level === "none" && candidate.hasStatedProfiles === true ? 1 : 0),
      unfitPreferred === undefined ? 0 : standInOrder(standIn, candidate, unfitPreferred),
      isBad ? 1 : 0,
      listedPlace(candidate, level, request),
      -merit,
    ];
  }
  let ranked: readonly Match[] = matches.toSorted(compareMatches);
  if (named.size > 0 || request.random !== undefined) ranked = byQuality(ranked, request, named, bad);
  const own = ranked.find(({ level }) => level === "own")?.candidate;
  const closest = own ?? ranked.find(({ level }) => level === "fallback")?.candidate;
  const [first, next] = ranked;
  if (first !== undefined && next !== undefined && next.step <= steps.able) first.runnerUp = next;
  for (const match of ranked) {
    if (match.level !== "own") match.better = match.level === "fallback" ? own : closest;
  }
  return ranked;
}

/** The terms in words, for explanations. */
export function termsOf(
  { candidate, level, step, standIn, quality }: Match,
  expected: ExpectedSeconds,
  request: ChoiceRequest,
): ScoreTerms {
  const { totalSeconds: _total, ...parts } = expected;
  return {
    step: stepNames[step] ?? "able",
    profile: level,
    ...(standIn === "quantization" || standIn === "family" ? { standIn } : {}),
    room: candidate.isLoaded ? "loaded" : candidate.fits === "now" ? "free" : "afterUnloading",
    ...(quality === undefined || quality.answers === 0 ? {} : { quality }),
    parameters: magnitude(candidate) / 1e9,
    merit: meritOf(candidate, expected, request),
    ...parts,
  };
}

function compareMatches(a: Match, b: Match): number {
  // Called ten times for each of a thousand models: without an iterator.
  for (let at = 0; at < a.terms.length; at += 1) {
    const difference = (a.terms[at] ?? 0) - (b.terms[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return compareText(a.candidate.model, b.candidate.model) || a.index - b.index;
}

/**
 * The highest merit among local models of each level, and those that match better, that could be loaded in place of a
 * loaded one: by `levelOrder`. Of all candidates at once: comparing each with each would cost a second among a few thousand.
 */
function rivalsOf(entries: readonly Match[], request: ChoiceRequest): readonly number[] {
  const rivals = Object.keys(levelOrder).map(() => Number.NEGATIVE_INFINITY);
  for (const { candidate, level, merit } of entries) {
    if (candidate.trust !== "local" || candidate.isLoaded || candidate.evictsInUse === true) continue;
    if (!hasRoomForAnswer(candidate, request)) continue;
    // Under `high` strength is worth the load; under `low` the merit alone looks for the soonest answer.
    if (request.complexity === undefined || request.complexity === "medium") {
      if (candidate.expectedLoadSeconds > request.maxSwitchSeconds) continue;
    }
    for (let order = levelOrder[level]; order < rivals.length; order += 1) {
      const bonus = (order - levelOrder[level]) * betterMatch;
      rivals[order] = Math.max(rivals[order] ?? merit, merit + bonus);
    }
  }
  return rivals;
}

/** Terms that what was learned can't overrule: up to and including the listed ones. */
const firmTerms = 5;
/** Under `complexity: high`: by how much less merit what was learned puts a model first. It was mostly of easier requests. */
const alike = 0.4;

/** Candidates that something was learned about, with the names under which it was. */
type Evidenced = ReadonlyMap<Candidate, string>;

/** Reorders models that are equal in the firm terms by what was learned of their answers. */
function byQuality(
  ranked: readonly Match[],
  { learned, task, random, complexity }: ChoiceRequest,
  named: Evidenced,
  bad: ReadonlySet<Candidate>,
): readonly Match[] {
  if (learned === undefined) return ranked;
  const found: Match[] = [];
  const isAlike = (head: Match | undefined, other: Match | undefined) =>
    isEqualIn(firmTerms, head, other) &&
    (complexity !== "high" || (head?.merit ?? 0) - (other?.merit ?? Number.NEGATIVE_INFINITY) <= alike);
  const replaces = ranked[0]?.candidate.isLoaded === false ? [...bad].find(({ isLoaded }) => isLoaded) : undefined;
  for (let from = 0, to = 0; from < ranked.length; from = to) {
    const head = ranked[from];
    while (to < ranked.length && isAlike(head, ranked[to])) to += 1;
    const group = ranked.slice(from, to);
    const contenders = group.map(({ candidate, step }) => ({
      model: named.get(candidate) ?? candidate.model,
      mayExplore: step === steps.loaded,
    }));
    const { order, because } = orderByQuality(learned, task, contenders, from === 0 ? random : undefined);
    for (const place of order) {
      const match = group[place];
      if (match === undefined) continue;
      const model = named.get(match.candidate);
      const quality = model === undefined ? undefined : qualityOf(learned, task, model, priorAt(place));
      const isFirst = found.length === 0;
      if (quality === undefined && !isFirst) found.push(match);
      else {
        found.push({
          ...match,
          ...defined({ quality }),
          ...(isFirst && because !== "given" ? { because } : {}),
          ...(isFirst && replaces !== undefined ? { replaces } : {}),
        });
      }
    }
  }
  return found;
}

function namesWithEvidence(candidates: readonly Candidate[], learned: QualityState | undefined): Evidenced {
  const found = new Map<Candidate, string>();
  if (learned === undefined) return found;
  for (const candidate of candidates) {
    const name = canonicalName(candidate.model);
    if (hasEvidence(learned, name)) found.set(candidate, name);
  }
  return found;
}

function isEqualIn(count: number, a: Match | undefined, b: Match | undefined): boolean {
  for (let at = 0; at < count; at += 1) if (a?.terms[at] !== b?.terms[at]) return false;
  return true;
}

/**
 * The models that are clearly bad at the task, where another local model that matches as well and can answer now is
 * expected to score notably more. So a loaded model gives way after six bad answers, also to one that was never rated, but
 * not to one that is only a little better, and never by outcomes alone, which don't count enough (`evidence.ts`).
 */
function badAt(entries: readonly Match[], request: ChoiceRequest, named: Evidenced): ReadonlySet<Candidate> {
  const bad = new Set<Candidate>();
  const { learned, task } = request;
  if (learned === undefined) return bad;
  const expected = ({ candidate }: Match, place: number) =>
    qualityOf(learned, task, named.get(candidate) ?? candidate.model, priorAt(place));
  // Most models were never rated; only for others it matters which place they have.
  const suspects = entries.filter((entry) => {
    if (!named.has(entry.candidate)) return false;
    return entry.candidate.trust === "local" && isClearlyBad(expected(entry, 0));
  });
  if (suspects.length === 0) return bad;
  const rivals = entries
    .filter(({ candidate }) => candidate.trust === "local" && hasRoomForAnswer(candidate, request))
    .toSorted((a, b) => levelOrder[a.level] - levelOrder[b.level] || b.merit - a.merit);
  const qualities = new Map<Match, ReturnType<typeof qualityOf>>();
  // By `levelOrder`, of models that match as well and can answer now.
  const best = Object.keys(levelOrder).map(() => 0);
  let hasUnknown = false;
  for (const [place, entry] of rivals.entries()) {
    const { candidate, level } = entry;
    const mayAnswer = candidate.isLoaded || candidate.evictsInUse !== true;
    const isUnknown = !named.has(candidate);
    // The first of those about which nothing is known is expected to be the best of them.
    if (isUnknown && (hasUnknown || !mayAnswer)) continue;
    hasUnknown ||= isUnknown;
    const quality = expected(entry, place);
    qualities.set(entry, quality);
    for (let order = mayAnswer ? levelOrder[level] : best.length; order < best.length; order += 1) {
      best[order] = Math.max(best[order] ?? 0, quality.mean);
    }
  }
  for (const suspect of suspects) {
    const own = qualities.get(suspect);
    if (own === undefined || !isClearlyBad(own)) continue;
    if (isWorthwhile(best[levelOrder[suspect.level]] ?? 0, own.mean)) bad.add(suspect.candidate);
  }
  return bad;
}

function stepOf(entry: Match, request: ChoiceRequest, rival: number, isBad: boolean): Step {
  const { candidate, level, standIn, merit } = entry;
  if (request.preferred !== undefined && sameModel(candidate.model, request.preferred)) return steps.preferred;
  if (isListed(candidate, request.profile) && hasRoomForAnswer(candidate, request)) return steps.listed;
  if (candidate.trust !== "local") return steps.remote;
  if (!hasRoomForAnswer(candidate, request)) return steps.shortWindow;
  if (standIn === "quantization") return steps.preferred;
  if (level === "none" || missedThreshold(candidate, request) !== undefined) return steps.able;
  if (candidate.isLoaded && !isBad && merit + worthLoading[request.complexity ?? "medium"] >= rival)
    return steps.loaded;
  return level === "own" ? steps.own : steps.fallback;
}

function levelOf(candidate: Candidate, request: ChoiceRequest): Level {
  // Profiles describe chat; every embedding model suits an embedding.
  if (request.task === "embedding") return "own";
  const { profile, fallback } = request;
  if (isOfProfile(candidate, profile)) return "own";
  // A model that was made for the task suits any profile that doesn't choose its models.
  const isMadeForIt = candidate.profiles.includes(request.task) && candidate.contextTokens >= profile.contextTokens;
  if (isMadeForIt && profile.match === undefined) return "own";
  return fallback !== undefined && isOfProfile(candidate, fallback) ? "fallback" : "none";
}

/** What `candidate` has in common with `unfit`. Unknown models without an architecture do not form a family. */
export function standInFor(unfit: Candidate, candidate: Candidate): StandIn {
  if (sameModel(unfit.model, candidate.model)) return "itself";
  if (isOtherQuantization(unfit, candidate)) return "quantization";
  const isFamily = unfit.family !== undefined && unfit.family !== safeDefaults.family;
  return isFamily && candidate.family === unfit.family ? "family" : "none";
}

function standInOrder(standIn: StandIn, { sizeBytes }: Candidate, unfit: Candidate): number {
  const order = { itself: 0, quantization: 1, family: 2, none: 3 }[standIn];
  if (standIn !== "quantization") return order;
  // Below 1, so that the next kind of stand-in follows.
  return order + Math.min(0.999, Math.abs(1 - sizeBytes / Math.max(1, unfit.sizeBytes)));
}

/** Whether the profile names the model: what a user wrote there comes before what is in memory, also if it is remote. */
const isListed = ({ model }: Candidate, { models = [] }: Profile): boolean =>
  models.some((listed) => sameModel(listed, model));

/** From 0: the models that the profile lists, in their order, before all others. */
function listedPlace(candidate: Candidate, level: Level, { profile, fallback }: ChoiceRequest): number {
  const models = (level === "fallback" ? fallback?.models : profile.models) ?? [];
  const place = models.findIndex((model) => sameModel(model, candidate.model));
  return place < 0 ? models.length : place;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
