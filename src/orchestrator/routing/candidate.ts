import type { NextSteps } from "../api/next-step.ts";
import type { AudioFormat, Capability, ModelOverrides, Privacy, Profile, Task, Trust } from "../api/types.ts";
import { sameModel } from "../util/model-name.ts";
import { type BudgetLeft, overBudget, worstTokens } from "./cost.ts";
import { overridesOf, paidLimit } from "./model-overrides.ts";
import type { QualityState } from "./quality-state.ts";
import { sureTokens } from "./tokens.ts";

/** A model of one engine, with everything that routing needs. */
export interface Candidate {
  readonly model: string;
  readonly engine: string;
  /** 0: unknown, because a server of its own holds the model. */
  readonly sizeBytes: number;
  readonly trust: Trust;
  /** In memory, or served by others, so that it needs no load. */
  readonly isLoaded: boolean;
  readonly family?: string;
  /** The model database has a row for it. */
  readonly isKnown: boolean;
  /** 7.6e9 for "7.6B". */
  readonly parameterCount?: number;
  readonly contextTokens: number;
  /** Most tokens that it generates, if known. */
  readonly outputTokens?: number;
  readonly capabilities: readonly Capability[];
  /** Formats of recordings that its engine takes; absent: none. */
  readonly audioFormats?: readonly AudioFormat[];
  /** Month of its release (`2024-07`), if known. */
  readonly released?: string;
  /** Names of its profiles, or of the task that it was made for, from the database. */
  readonly profiles: readonly string[];
  /** The settings name its profiles: other ones try it last. */
  readonly hasStatedProfiles?: boolean;
  readonly fits: "now" | "after_eviction" | "no";
  /** Loading it would unload a model that is answering. */
  readonly evictsInUse?: boolean;
  /** Names of pinned models that keep it from fitting; absent if there are none. */
  readonly pinnedInTheWay?: readonly string[];
  /** Measured load time. */
  readonly reloadSeconds?: number;
  /** Expected load time: measured, else estimated from the size. */
  readonly expectedLoadSeconds: number;
  /** Measured decode speed. */
  readonly tokensPerSecond?: number;
  /** Measured speed of reading a prompt. */
  readonly promptTokensPerSecond?: number;
  /** Bytes of weights that its machine reads in a second, of its card or its memory; absent: unknown. */
  readonly bytesPerSecond?: number;
  /** Bytes of weights that one token of an answer reads, if they are fewer than all. */
  readonly activeBytes?: number;
  /** Measured time to the first token of an answer, without load and queue. */
  readonly firstTokenMs?: number;
  /** Share of its recent requests that it answered, from 0 to 1; absent until there are enough. */
  readonly successRate?: number;
  /** What is left of its engine's budget; absent without one. */
  readonly budget?: BudgetLeft;
  /** Why it is cooling down (`failed twice, tried again in 20 s`). */
  readonly coolDown?: string;
  /** For how long its server asked not to be asked; with `coolDown`. */
  readonly mustWaitMs?: number;
}

export interface ChoiceRequest {
  readonly task: Task;
  readonly profile: Profile;
  /** What `profile.fallback` names (`fallbackOf`). */
  readonly fallback?: Profile;
  /** Estimated (`tokens.ts`). */
  readonly promptTokens: number;
  /** Files in the prompt, with their estimated tokens. */
  readonly files?: readonly { readonly path: string; readonly tokens: number }[];
  /** Most tokens of the answer. */
  readonly outputTokens: number;
  /** Expected tokens of the answer; absent: a typical number. */
  readonly answerTokens?: number;
  /** Most tokens of a model's answer, which are what it may cost; `outputTokens` when absent. */
  readonly limitOf?: (model: string) => number;
  readonly images?: number;
  /** In addition to those of the task. */
  readonly needs: readonly Capability[];
  /** Formats of its recordings. */
  readonly audioFormats?: readonly AudioFormat[];
  readonly privacy: Privacy;
  readonly complexity?: "low" | "medium" | "high" | undefined;
  /** `model.routing.maxSwitchSeconds` */
  readonly maxSwitchSeconds: number;
  /** The model that the request names; no other is considered. */
  readonly model?: string | undefined;
  /** Why `model`, for the reason; `requested` when absent. */
  readonly modelBecause?: string;
  /** From the settings (`model.routing.overrides`, `model.default`), a pick or a conversation; tried first if it passes. */
  readonly preferred?: string | undefined;
  /** For the reason; `preferred` when absent. */
  readonly preferredBecause?: string | undefined;
  /** What was learned about the answers of models; absent if nothing was, or it must not be used. */
  readonly learned?: QualityState | undefined;
  /** `models` of the settings, for thresholds. */
  readonly models?: Readonly<Record<string, ModelOverrides>>;
  /** A random number from 0 to 1, if a loaded model may be tried to learn about it. */
  readonly random?: number;
}

/** Why no model was chosen, in the order of the filters; the class of the error follows from it. */
export const failureKinds = [
  "unknown_model",
  "capability",
  "privacy",
  "context",
  "budget",
  "cool_down",
  "memory",
] as const;

type FailureKind = (typeof failureKinds)[number];

/** Why one candidate was ruled out. */
export interface Rejection {
  readonly kind: FailureKind;
  /** A predicate for the model's name: `lacks vision`. */
  readonly text: string;
}

/** Why no model can be chosen, and what to do about it. */
export interface ChoiceFailure {
  readonly kind: FailureKind;
  readonly message: string;
  readonly next: NextSteps;
  /** Window of the model that comes closest, in tokens; for `context`. */
  readonly contextTokens?: number;
  /** Capabilities that no installed model has. */
  readonly missing?: readonly Capability[];
}

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
 * The hard filters, in order: capability, privacy, context window, budget, cool-down, memory. Undefined if the candidate passes.
 * The window must hold the certain part of the prompt and a short answer; models without `hasRoomForAnswer` rank last.
 */
export function rejecting(request: ChoiceRequest): (candidate: Candidate) => Rejection | undefined {
  const needed = neededCapabilities(request);
  const least = leastContextTokens(request);
  return (candidate) => reject(candidate, request, needed, least);
}

function reject(
  candidate: Candidate,
  request: ChoiceRequest,
  needed: readonly Capability[],
  least: number,
): Rejection | undefined {
  if (!needed.every((capability) => candidate.capabilities.includes(capability))) {
    const missing = needed.filter((capability) => !candidate.capabilities.includes(capability));
    return { kind: "capability", text: `lacks ${missing.join(", ")}` };
  }
  const unheard = request.audioFormats?.filter((format) => candidate.audioFormats?.includes(format) !== true) ?? [];
  if (unheard.length > 0) {
    return { kind: "capability", text: `is on ${candidate.engine}, which takes no ${unheard.join(", ")} recordings` };
  }
  if (request.privacy === "local_only" && candidate.trust !== "local") {
    return { kind: "privacy", text: "is not local, and privacy is local_only" };
  }
  if (candidate.contextTokens < least) {
    return {
      kind: "context",
      text: `has a window of ${candidate.contextTokens} tokens, at least ${least} are required`,
    };
  }
  const costly = candidate.budget && overBudget(candidate.budget, worstOf(candidate, request));
  if (costly !== undefined) return { kind: "budget", text: costly };
  if (candidate.coolDown !== undefined) return { kind: "cool_down", text: `is cooling down: ${candidate.coolDown}` };
  if (candidate.fits === "no") return { kind: "memory", text: `does not fit in memory${whilePinned(candidate)}` };
  return undefined;
}

/** ` while a:1b is pinned`, or empty if pinned models are not the cause. */
export function whilePinned({ pinnedInTheWay: names = [] }: Candidate): string {
  return names.length === 0 ? "" : ` while ${names.join(", ")} ${names.length === 1 ? "is" : "are"} pinned`;
}

/** A threshold of the profile or of the model was measured to be missed: in a few words; undefined otherwise. */
export function missedThreshold(
  candidate: Candidate,
  { profile, models = {} }: Pick<ChoiceRequest, "profile" | "models">,
): string | undefined {
  const { firstTokenMs, successRate } = candidate;
  if (firstTokenMs === undefined && successRate === undefined) return undefined;
  const own = overridesOf(models, candidate.model);
  for (const [name, { maxLatencyMs, minSuccessRate }] of [
    [profile.name, profile],
    ["its setting", own],
  ] as const) {
    if (maxLatencyMs !== undefined && firstTokenMs !== undefined && firstTokenMs > maxLatencyMs) {
      return `its first token takes about ${Math.round(firstTokenMs)} ms, ${name} allows ${maxLatencyMs}`;
    }
    if (minSuccessRate !== undefined && successRate !== undefined && successRate < minSuccessRate) {
      return `it answered about ${Math.round(successRate * 100)} % of requests, ${name} requires ${Math.round(minSuccessRate * 100)} %`;
    }
  }
  return undefined;
}

/** The smallest window that may hold the request: the certain part of the prompt and a short answer, in tokens. */
function leastContextTokens(request: ChoiceRequest): number {
  return sureTokens(request.promptTokens) + answerTokens(request, Math.min(request.outputTokens, leastAnswerTokens));
}

/** As much as is reserved when the request is sent. */
function worstOf({ model, contextTokens, outputTokens: most = contextTokens }: Candidate, request: ChoiceRequest) {
  const { promptTokens, images = 0, limitOf = () => request.outputTokens } = request;
  const room = contextTokens - sureTokens(promptTokens);
  return worstTokens({
    promptTokens,
    images,
    maxTokens: answerTokens(request, Math.max(0, Math.min(paidLimit(limitOf(model)), most, room))),
  });
}

/** An embedding has no answer in tokens. */
function answerTokens(request: ChoiceRequest, tokens: number): number {
  return request.task === "embedding" ? 0 : tokens;
}

/**
 * Whether a model suits a profile. A model that the profile lists suits it in any case, if it has what it `needs`. One whose
 * profiles the settings name suits these, and those that build on them, whatever its family and its window, which may be unknown.
 */
export function isOfProfile(
  candidate: Pick<Candidate, "model" | "family" | "profiles" | "hasStatedProfiles" | "capabilities" | "contextTokens">,
  profile: Profile,
): boolean {
  const { needs = [], models = [], match } = profile;
  if (!needs.every((capability) => candidate.capabilities.includes(capability))) return false;
  const base = profile.base ?? (match === undefined ? profile.name : undefined);
  const isStated = candidate.hasStatedProfiles === true;
  if (isStated && candidate.profiles.some((name) => name === profile.name || name === base)) return true;
  if (candidate.contextTokens < profile.contextTokens) return false;
  if (models.some((model) => sameModel(model, candidate.model))) return true;
  if (isStated) return false;
  if (match === "any") return true;
  if (base !== undefined && !candidate.profiles.includes(base)) return false;
  // Without families and models there is nothing to be limited to.
  if (match === undefined || profile.families.length + models.length === 0) return true;
  return candidate.family !== undefined && profile.families.includes(candidate.family);
}
