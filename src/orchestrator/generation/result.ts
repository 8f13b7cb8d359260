import { Cancelled, GenerationFailed, type OrchestratorError, PromptTooLong } from "../api/errors.ts";
import type { GenerateResult } from "../api/facade.ts";
import type { Answered } from "./attempt.ts";
import type { LocatedCandidate } from "./candidates.ts";
import { profileOf, type Route } from "./route.ts";

export type Attempt = GenerateResult["route"]["attempts"][number];

/** The result for the caller. `totalMs` is from the request to the answer. */
export function resultOf(parts: {
  readonly route: Route;
  readonly entry: LocatedCandidate;
  readonly reason: string;
  readonly attempts: readonly Attempt[];
  /** One for each attempt but the last, in the same order. */
  readonly failures: readonly OrchestratorError[];
  readonly answered: Answered;
  /** In addition to those of the attempt. */
  readonly notes: readonly string[];
  readonly totalMs: number;
}): GenerateResult {
  const { route, entry, answered } = parts;
  const { generation, memory } = answered;
  const { completionTokens, decodeMs } = generation;
  // The time of the first token belongs to the prompt: a speed from one token would be absurdly high.
  const tokensPerSecond = completionTokens > 1 && decodeMs > 0 ? (completionTokens * 1000) / decodeMs : 0;
  return {
    text: generation.text,
    ...(generation.thinking === undefined ? {} : { thinking: generation.thinking }),
    model: entry.located.model.name,
    engine: entry.located.engine.id,
    finishReason: generation.finishReason,
    reason: withHistory(parts.reason, parts.attempts, parts.failures),
    ...(generation.promptTokens === undefined ? {} : { promptTokens: generation.promptTokens }),
    ...(generation.cachedPromptTokens === undefined ? {} : { cachedPromptTokens: generation.cachedPromptTokens }),
    completionTokens: generation.completionTokens,
    tokensPerSecond,
    totalMs: parts.totalMs,
    timing: { queueMs: answered.queueMs, loadMs: answered.loadMs, firstTokenMs: generation.firstTokenMs },
    route: {
      task: route.task,
      because: route.because,
      ...profileOf(route),
      considered: route.considered,
      attempts: parts.attempts,
    },
    notes: [...answered.notes, ...parts.notes],
    ...(memory === undefined ? {} : { memoryUsed: { keys: memory.keys, tokens: memory.tokens } }),
  };
}

/** The reason with the failed attempts. A prompt that is too long is not a failure of the model. */
function withHistory(reason: string, attempts: readonly Attempt[], failures: readonly OrchestratorError[]): string {
  const modelsThat = (matches: (failure: OrchestratorError) => boolean) => [
    ...new Set(failures.flatMap((failure, at) => (matches(failure) ? [attempts[at]?.model ?? ""] : []))),
  ];
  const tooShort = modelsThat((failure) => failure instanceof PromptTooLong);
  const failed = modelsThat((failure) => !(failure instanceof PromptTooLong));
  const [window, is] = tooShort.length === 1 ? ["window", "is"] : ["windows", "are"];
  return [
    reason,
    ...(tooShort.length === 0 ? [] : [`the ${window} of ${tooShort.join(", ")} ${is} too short`]),
    ...(failed.length === 0 ? [] : [`after ${failed.join(", ")} failed`]),
  ].join("; ");
}

/** One error for all failed attempts. */
export function failureOf(attempts: readonly Attempt[], failures: readonly OrchestratorError[]): Error {
  const last = failures.at(-1);
  if (last === undefined) return new Cancelled("no model was tried");
  if (failures.length === 1) return last;
  const outcomes = attempts.map((entry) => `${entry.model} (${entry.engine}): ${entry.outcome}`).join("; ");
  return new GenerationFailed(`${failures.length} models failed: ${outcomes}`, {
    next: last.next,
    cause: last,
  });
}
