import type { RouteExplanation } from "../api/facade-route.ts";
import { sameModel } from "../util/model-name.ts";
import { type Candidate, type ChoiceFailure, type ChoiceRequest, rejecting } from "./candidate.ts";
import { expectation } from "./expected-seconds.ts";
import { explainFailure, reasonFor } from "./explain.ts";
import { type Match, rank, termsOf } from "./rank.ts";

interface Choice {
  /** Best first; the runner tries them in turn. Empty exactly when there is a `failure`. */
  readonly chain: readonly ReturnType<typeof linkOf>[];
  /** All candidates, those of the chain first. */
  readonly considered: RouteExplanation["considered"];
  /** The requested profile. */
  readonly profile: string;
  /** The profile that the first model of the chain matches instead. */
  readonly fallback?: string;
  readonly failure?: ChoiceFailure;
}

/**
 * The models to try, in order, with reasons; or why there is none. Pure.
 *
 * Hard filters: named by the request, capability, privacy, context window, budget, cool-down, memory (`reject`). Families
 * never exclude a model. Models that pass are tried in this order:
 *
 * 0. The preferred model; if it does not fit, another quantization of it.
 * 1. Loaded models that match the profile, else its fallback. The latter yield to a local model that matches the profile
 *    itself, if it is expected to load within `maxSwitchSeconds` without unloading a model that is answering.
 * 2. Models that are not loaded and match the profile.
 * 3. Models that are not loaded and match the profile's fallback.
 * 4. All other capable models, loaded ones first.
 * 5. Models whose window may be too small for the whole answer, or for the prompt if the estimate is right.
 * 6. Remote models.
 *
 * `isOfProfile` says which models match; models unknown to the database match only by name. One that misses a threshold
 * of the profile goes with step 4.
 * `rank` defines the order within a step. Under `complexity` a loaded model yields step 1 to a local model that
 * matches as well: under `high` to one that is much larger, under `low` to one that answers much sooner, load included. A
 * model named by the request is the only candidate, on every engine that has it, and is never replaced silently; the
 * failure's next step names what could take the request.
 */
export function chooseModel(request: ChoiceRequest, candidates: readonly Candidate[]): Choice {
  const { model, profile } = request;
  const named = model === undefined ? candidates : candidates.filter((candidate) => sameModel(candidate.model, model));
  const rejectionOf = rejecting(request);
  const passing = named.filter((candidate) => rejectionOf(candidate) === undefined);
  const matches = rank(passing, request, unfitPreferred(request, candidates));
  const chain = matches.map((match) => linkOf(match, request));
  let considered: Choice["considered"] | undefined;
  const [best] = matches;
  return {
    chain,
    get considered() {
      // Among a thousand models most of an explanation is never read.
      return (considered ??= consideredModels(request, candidates, named, matches));
    },
    profile: profile.name,
    ...(best?.level === "fallback" && typeof profile.fallback === "string" ? { fallback: profile.fallback } : {}),
    ...(best === undefined ? { failure: explainFailure(request, candidates, named) } : {}),
  };
}

/** One model of the chain. Among a thousand the reasons of most are never read. */
function linkOf(match: Match, request: ChoiceRequest) {
  const { candidate, better, because } = match;
  return {
    candidate,
    /** A better match that was not chosen. */
    better,
    because,
    get reason(): string {
      return reasonFor(match, request);
    },
  };
}

/** All candidates, those of the chain first, with their expected seconds; with the reason why each of the others is not in it. */
function consideredModels(
  request: ChoiceRequest,
  candidates: readonly Candidate[],
  named: readonly Candidate[],
  matches: readonly Match[],
): RouteExplanation["considered"] {
  const rejectionOf = rejecting(request);
  const expected = expectation(
    request,
    matches.map(({ candidate }) => candidate),
  );
  const [inChain, isNamed] = [new Set(matches.map(({ candidate }) => candidate)), new Set(named)];
  return [
    ...matches.map((match) => ({
      model: match.candidate.model,
      engine: match.candidate.engine,
      expectedSeconds: match.seconds,
      terms: termsOf(match, expected(match.candidate), request),
    })),
    ...candidates
      .filter((candidate) => !inChain.has(candidate))
      .map((candidate) => ({
        model: candidate.model,
        engine: candidate.engine,
        rejected: isNamed.has(candidate) ? (rejectionOf(candidate)?.text ?? "") : "is not the requested model",
      })),
  ];
}

/** The preferred model, if it is installed and does not fit on any engine. */
function unfitPreferred(request: ChoiceRequest, candidates: readonly Candidate[]): Candidate | undefined {
  const { preferred } = request;
  if (preferred === undefined) return undefined;
  const held = candidates.filter((candidate) => sameModel(candidate.model, preferred));
  const rejectionOf = rejecting(request);
  return held.every((candidate) => rejectionOf(candidate)?.kind === "memory") ? held[0] : undefined;
}
