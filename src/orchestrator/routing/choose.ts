import { findProfile, profiles } from "../catalog/profiles.ts";
import { sameModel } from "../store/model-name.ts";
import { nearestNames } from "../text/nearest.ts";
import type { ConsideredModel } from "../facade.ts";
import type { Candidate, ChoiceFailure, ChoiceRequest } from "./candidate.ts";
import { explainFailure, reasonFor } from "./explain.ts";
import { reject } from "./filter.ts";
import { isKnownFamily, rank } from "./rank.ts";

export type { Candidate, ChoiceFailure, ChoiceRequest } from "./candidate.ts";

export interface Choice {
  /** Best first; the runner tries them in turn. Empty exactly when there is a `failure`. */
  readonly chain: readonly {
    readonly candidate: Candidate;
    readonly reason: string;
    /** Fits better, and was passed over. */
    readonly better?: Candidate;
  }[];
  /** Every candidate, those of the chain first. */
  readonly considered: readonly ConsideredModel[];
  /** The requested one. */
  readonly profile: string;
  /** The profile that the first of the chain matches in its place. */
  readonly fallback?: string;
  readonly failure?: ChoiceFailure;
}

/**
 * The models to try, in order, and why; or why none will do. Pure.
 *
 * Hard filters: named by the request, capability, privacy, context window, cool-down, memory (`reject`). Families
 * never rule anything out. What passes is tried in this order:
 *
 * 0. What the settings prefer.
 * 1. Loaded, and matching the profile, else its fallback. The latter gives way to a local model that matches the profile
 *    itself, if that is expected to load within `maxSwitchSeconds` and its load unloads nothing that is answering.
 * 2. Not loaded, matching the profile.
 * 3. Not loaded, matching the profile's fallback.
 * 4. Whatever else can do it, loaded first.
 * 5. Models whose window may not hold the whole answer, or the prompt if that is as long as it is estimated.
 * 6. Models of engines that are not local.
 *
 * To match a profile is to carry its name and have its minimum window; models that the database doesn't know carry none.
 * Order inside a step: `rank`. Under `complexity: high` a loaded model gives up step 1 to a local one that matches as
 * well and is more than twice as large. A model named by the request is the only candidate: on every engine that holds
 * it, and nothing is put in its place silently; the failure's next step names what could take the request.
 */
export function chooseModel(request: ChoiceRequest, candidates: readonly Candidate[]): Choice {
  const profile = findProfile(request.profile);
  if (profile === undefined)
    return { chain: [], considered: [], profile: request.profile, failure: unknownProfile(request.profile) };

  const { model } = request;
  const named = model === undefined ? candidates : candidates.filter((candidate) => sameModel(candidate.model, model));
  const passing = named.filter((candidate) => reject(candidate, request) === undefined);
  const matches = rank(passing, request, profile, familyOfUnfitPreferred(request, candidates));
  const considered: readonly ConsideredModel[] = [
    ...matches.map((match) => ({ model: match.candidate.model, engine: match.candidate.engine })),
    ...candidates
      .filter((candidate) => !passing.includes(candidate))
      .map((candidate) => ({
        model: candidate.model,
        engine: candidate.engine,
        rejected: named.includes(candidate) ? (reject(candidate, request)?.text ?? "") : "is not the model asked for",
      })),
  ];
  const [best] = matches;
  if (best === undefined) {
    return { chain: [], considered, profile: profile.name, failure: explainFailure(request, candidates, named) };
  }
  return {
    chain: matches.map((match) => ({
      candidate: match.candidate,
      reason: reasonFor(match, request, profile),
      ...(match.better === undefined ? {} : { better: match.better }),
    })),
    considered,
    profile: profile.name,
    ...(best.level === "fallback" && profile.fallback !== undefined ? { fallback: profile.fallback } : {}),
  };
}

function familyOfUnfitPreferred(request: ChoiceRequest, candidates: readonly Candidate[]): string | undefined {
  const { preferred } = request;
  if (preferred === undefined) return undefined;
  const held = candidates.filter((candidate) => sameModel(candidate.model, preferred));
  const isUnfit = held.length > 0 && held.every((candidate) => reject(candidate, request)?.kind === "memory");
  const family = isUnfit ? held[0]?.family : undefined;
  return isKnownFamily(family) ? family : undefined;
}

function unknownProfile(name: string): ChoiceFailure {
  const names = Object.keys(profiles);
  const [nearest = "general"] = nearestNames(name, names, 1);
  return {
    kind: "unknown_profile",
    message: `There is no profile "${name}"; there are ${names.join(", ")}`,
    next: { step: "setArgument", argument: "profile", to: nearest },
  };
}
