import type { ConsideredModel } from "../api/facade-route.ts";
import { sameModel } from "../util/model-name.ts";
import { type Candidate, type ChoiceFailure, type ChoiceRequest, reject } from "./candidate.ts";
import { explainFailure, reasonFor } from "./explain.ts";
import { type Match, rank, termsOf } from "./rank.ts";
import { defined } from "../util/defined.ts";

export type { Candidate, ChoiceFailure, ChoiceRequest } from "./candidate.ts";

export interface Choice {
  /** Best first; the runner tries them in turn. Empty exactly when there is a `failure`. */
  readonly chain: readonly {
    readonly candidate: Candidate;
    readonly reason: string;
    /** A better match that was not chosen. */
    readonly better?: Candidate;
    readonly because?: Match["because"];
  }[];
  /** All candidates, those of the chain first. */
  readonly considered: readonly ConsideredModel[];
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
  const passing = named.filter((candidate) => reject(candidate, request) === undefined);
  const matches = rank(passing, request, unfitPreferred(request, candidates));
  const chain = matches.map((match) => ({
    candidate: match.candidate,
    get reason() {
      return reasonFor(match, request);
    },
    ...defined({ better: match.better, because: match.because }),
  }));
  const considered = lazily(() => consideredModels(request, candidates, named, matches));
  const [best] = matches;
  return {
    chain,
    get considered() {
      return considered();
    },
    profile: profile.name,
    ...(best?.level === "fallback" && typeof profile.fallback === "string" ? { fallback: profile.fallback } : {}),
    ...(best === undefined ? { failure: explainFailure(request, candidates, named) } : {}),
  };
}

/** All candidates, those of the chain first, with their expected seconds; with the reason why each of the others is not in it. */
function consideredModels(
  request: ChoiceRequest,
  candidates: readonly Candidate[],
  named: readonly Candidate[],
  matches: readonly Match[],
): readonly ConsideredModel[] {
  const [inChain, isNamed] = [new Set(matches.map(({ candidate }) => candidate)), new Set(named)];
  return [
    ...matches.map((match) => ({
      model: match.candidate.model,
      engine: match.candidate.engine,
      expectedSeconds: match.seconds.totalSeconds,
      terms: termsOf(match),
    })),
    ...candidates
      .filter((candidate) => !inChain.has(candidate))
      .map((candidate) => ({
        model: candidate.model,
        engine: candidate.engine,
        rejected: isNamed.has(candidate) ? (reject(candidate, request)?.text ?? "") : "is not the requested model",
      })),
  ];
}

/** Among a thousand models most of an explanation is never read. */
function lazily<Value extends object>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => (made ??= make());
}

/** The preferred model, if it is installed and does not fit on any engine. */
function unfitPreferred(request: ChoiceRequest, candidates: readonly Candidate[]): Candidate | undefined {
  const { preferred } = request;
  if (preferred === undefined) return undefined;
  const held = candidates.filter((candidate) => sameModel(candidate.model, preferred));
  return held.every((candidate) => reject(candidate, request)?.kind === "memory") ? held[0] : undefined;
}
