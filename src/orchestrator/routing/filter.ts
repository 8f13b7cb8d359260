import { sureTokens } from "../catalog/tokens.ts";
import type { Capability } from "../api/types.ts";
import type { Candidate, ChoiceRequest, Rejection } from "./candidate.ts";

/** A window that leaves fewer tokens than this after the prompt excludes a model. */
export const leastAnswerTokens = 256;

/** The capabilities that the task requires, and those that the request adds. */
export function neededCapabilities(request: Pick<ChoiceRequest, "task" | "needs">): readonly Capability[] {
  const byTask: readonly Capability[] =
    request.task === "embedding"
      ? ["embedding"]
      : request.task === "vision"
        ? ["completion", "vision"]
        : ["completion"];
  return [...new Set([...byTask, ...request.needs])];
}

/** Whether the window holds the estimated prompt and an answer of the maximum length. */
export function hasRoomForAnswer(candidate: Candidate, request: ChoiceRequest): boolean {
  return candidate.contextTokens >= request.promptTokens + answerTokens(request, request.outputTokens);
}

/**
 * The hard filters, in order: capability, privacy, context window, cool-down, memory. Undefined if the candidate passes.
 * The window must hold the certain part of the prompt and a short answer; models without `hasRoomForAnswer` rank last.
 */
export function reject(candidate: Candidate, request: ChoiceRequest): Rejection | undefined {
  const missing = neededCapabilities(request).filter((capability) => !candidate.capabilities.includes(capability));
  if (missing.length > 0) return { kind: "capability", text: `lacks ${missing.join(", ")}` };
  if (request.privacy === "local_only" && candidate.trust !== "local") {
    return { kind: "privacy", text: "is not local, and privacy is local_only" };
  }
  const least = leastContextTokens(request);
  if (candidate.contextTokens < least) {
    return {
      kind: "context",
      text: `has a window of ${candidate.contextTokens} tokens, at least ${least} are required`,
    };
  }
  if (candidate.coolDown !== undefined) return { kind: "cool_down", text: `is cooling down: ${candidate.coolDown}` };
  if (candidate.fits === "no") return { kind: "memory", text: `does not fit in memory${whilePinned(candidate)}` };
  return undefined;
}

/** ` while a:1b is pinned`, or empty if pinned models are not the cause. */
export function whilePinned({ pinnedInTheWay: names = [] }: Candidate): string {
  return names.length === 0 ? "" : ` while ${names.join(", ")} ${names.length === 1 ? "is" : "are"} pinned`;
}

/** The smallest window that may hold the request: the certain part of the prompt and a short answer, in tokens. */
function leastContextTokens(request: ChoiceRequest): number {
  return sureTokens(request.promptTokens) + answerTokens(request, Math.min(request.outputTokens, leastAnswerTokens));
}

/** An embedding has no answer in tokens. */
function answerTokens(request: ChoiceRequest, tokens: number): number {
  return request.task === "embedding" ? 0 : tokens;
}
