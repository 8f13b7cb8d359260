import type { Task } from "../facade.ts";
import type { NextSteps } from "../next-step.ts";
import type { Capability, Privacy, Trust } from "../types.ts";

/** A model of one engine, with everything that choosing needs to know about it. */
export interface Candidate {
  readonly model: string;
  readonly engine: string;
  readonly sizeBytes: number;
  readonly trust: Trust;
  readonly isLoaded: boolean;
  readonly family?: string;
  /** A row of the model database names it. */
  readonly isKnown: boolean;
  /** 7.6e9 for "7.6B". */
  readonly parameterCount?: number;
  readonly contextTokens: number;
  readonly capabilities: readonly Capability[];
  /** Names of the profiles that the database or the user gives it. */
  readonly profiles: readonly string[];
  readonly fits: "now" | "after_eviction" | "no";
  /** Loading it would unload a model that is answering now. */
  readonly evictsInUse?: boolean;
  /** Names of pinned models without which it would fit; absent when there are none. */
  readonly pinnedInTheWay?: readonly string[];
  /** Measured load time. */
  readonly reloadSeconds?: number;
  /** What a load is expected to take: measured, else by its size. */
  readonly expectedLoadSeconds: number;
  /** Measured decode speed. */
  readonly tokensPerSecond?: number;
  /** Why it is not to be tried now (`failed twice, tried again in 20 s`). */
  readonly coolDown?: string;
}

export interface PromptFile {
  readonly path: string;
  readonly tokens: number;
}

export interface ChoiceRequest {
  readonly task: Task;
  /** Name of a profile in `catalog/profiles.ts`. */
  readonly profile: string;
  /** Estimated (`catalog/tokens.ts`). */
  readonly promptTokens: number;
  /** Files in the prompt, with their estimated tokens. */
  readonly files?: readonly PromptFile[];
  /** Most tokens of the answer. */
  readonly outputTokens: number;
  /** Beyond what the task itself asks for. */
  readonly needs: readonly Capability[];
  readonly privacy: Privacy;
  readonly complexity?: "low" | "medium" | "high" | undefined;
  /** `model.routing.maxSwitchSeconds` */
  readonly maxSwitchSeconds: number;
  /** Named by the request: nothing else is taken. */
  readonly model?: string | undefined;
  /** From the settings (`model.routing.overrides`, `model.default`), a pick or a conversation: first, if it can serve. */
  readonly preferred?: string | undefined;
  /** In words, for the reason; `preferred` when absent. */
  readonly preferredBecause?: string | undefined;
}

/** What stood in the way; the class of the error follows from it. In the order in which the filters are applied. */
export const failureKinds = [
  "unknown_profile",
  "unknown_model",
  "capability",
  "privacy",
  "context",
  "cool_down",
  "memory",
] as const;

export type FailureKind = (typeof failureKinds)[number];

/** Why one candidate was ruled out. */
export interface Rejection {
  readonly kind: FailureKind;
  /** Behind the model's name: `lacks vision`. */
  readonly text: string;
}

/** Why no model can be chosen, and what to do about it. */
export interface ChoiceFailure {
  readonly kind: FailureKind;
  readonly message: string;
  readonly next: NextSteps;
}
