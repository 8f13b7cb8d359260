import type { CheckResult } from "../api/facade-answers.ts";
import { sameModel } from "../util/model-name.ts";
import type { Candidate } from "../routing/choose.ts";
import type { DecidedRequest } from "./route.ts";

/** Prepares a request for a check, and judges the answer. Pure. */
export interface AnswerCheck {
  /** The request as models get it: with instructions, a format, limits. */
  readonly request: DecidedRequest;
  /** The answer as the caller gets it, and what the check found. */
  judge(answer: string): { readonly text: string; readonly result: CheckResult };
}

/**
 * The steps of a chain that may do better than a model whose answer failed its check: larger local models, then remote
 * ones. After a remote model only those that are known to be larger, since each one costs. The order is kept otherwise;
 * a named model is the only one of its chain, so that nothing is left.
 */
export function stepsAfterCheck<Step extends { readonly entry: { readonly candidate: Candidate } }>(
  waiting: readonly Step[],
  failed: Candidate,
): readonly Step[] {
  const others = waiting.filter(({ entry }) => !sameModel(entry.candidate.model, failed.model));
  const isRemote = ({ entry }: Step) => entry.candidate.trust === "remote";
  const isLarger = ({ entry }: Step) => compareSizes(entry.candidate, failed);
  const remote = others.filter(isRemote);
  if (failed.trust === "remote") return remote.filter((step) => isLarger(step) === true);
  // A server of its own may not tell the size of its models.
  return [...others.filter((step) => !isRemote(step) && isLarger(step) !== false), ...remote];
}

/** Whether a model is larger than another one; undefined if that is unknown. */
function compareSizes(one: Candidate, other: Candidate): boolean | undefined {
  if (one.parameterCount !== undefined && other.parameterCount !== undefined) {
    return one.parameterCount > other.parameterCount;
  }
  return one.sizeBytes > 0 && other.sizeBytes > 0 ? one.sizeBytes > other.sizeBytes : undefined;
}
