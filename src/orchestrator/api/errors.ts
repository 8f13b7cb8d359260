import { type NextStep, type NextSteps, stepsOf } from "./next-step.ts";
import type { CallerContext, CallerProject } from "./types.ts";

/**
 * Errors that a caller can act on.
 *
 * `message` states the fact with its values; `next` is what to do about it, as data that each surface renders.
 * Adapters translate foreign errors at their edge (with `cause`); the server's pipeline is the only place that
 * formats them. Anything that is not an `OrchestratorError` is a defect and is shown as "internal error".
 */
export interface OrchestratorErrorOptions {
  readonly next?: NextSteps | undefined;
  readonly cause?: unknown;
  /** For how long the server asked not to be asked again (`Retry-After`). */
  readonly retryAfterMs?: number | undefined;
  readonly isTransient?: boolean | undefined;
}

/** What is true of every error of a class. A subclass has the facts of its base, but for those that it states itself. */
interface ErrorFacts {
  /** Metrics count by it, on disk too: it never changes. The bundle shortens the names of classes. */
  readonly code: string;
  /** Where the cause lies. An error of the request says nothing about the model or engine that was asked. */
  readonly blames: "request" | "model" | "engine" | "machine";
  /** Another model, or the same one on another engine, may answer the same request. */
  readonly mayOtherAnswer?: boolean;
  /** The model is not asked on this engine for a while. */
  readonly startsCoolDown?: boolean;
  /** What it shows about a model's answers, without anyone judging them. */
  readonly evidence?: "invalid" | "failed";
  /** Less text at a time may be answered. */
  readonly isAboutSize?: boolean;
  /** The engine does not respond: none of its models can answer. */
  readonly isDown?: boolean;
  /** What the request names does not exist. */
  readonly isAbsence?: boolean;
  /** The call is wrong as it is: a command of the shell ends with 2. */
  readonly isMisuse?: boolean;
  /** The caller can correct its call, or cancelled it: another way to do the work is not offered. */
  readonly isCorrectable?: boolean;
}

export class OrchestratorError extends Error {
  static readonly facts: ErrorFacts = { code: "other", blames: "machine" };

  readonly next: readonly NextStep[];
  /** An engine refuses further requests for this long, as its server says. */
  readonly retryAfterMs: number | undefined;
  /** Nothing of an answer arrived, and the same request may succeed a moment later: refused, reset, a status of 5xx. */
  readonly isTransient: boolean;

  constructor(message: string, options: OrchestratorErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    // For stacks and tests only: the bundle shortens the names of classes.
    this.name = new.target.name;
    this.next = stepsOf(options.next);
    this.retryAfterMs = options.retryAfterMs;
    this.isTransient = options.isTransient ?? false;
  }

  get facts(): ErrorFacts {
    return (this.constructor as typeof OrchestratorError).facts;
  }
}

/** What is counted of an error: nothing of its text, which may quote a prompt. `internal` is a defect. */
export function faultOf(error: unknown): ErrorFacts {
  return error instanceof OrchestratorError ? error.facts : { code: "internal", blames: "machine" };
}

const codesOfRequests = new Set<string>();

/** Whether errors of this code say nothing about the model or engine that was asked. */
export function blamesRequest(code: string): boolean {
  return codesOfRequests.has(code);
}

/** The base of a class of errors with these facts, beside those of the class that it extends. */
function withFacts(
  code: string,
  blames: ErrorFacts["blames"],
  others: Partial<ErrorFacts> = {},
  base: typeof OrchestratorError = OrchestratorError,
) {
  if (blames === "request") codesOfRequests.add(code);
  return class extends base {
    static override readonly facts: ErrorFacts = { ...base.facts, ...others, code, blames };
  };
}

/** No engine has a model of that name; `next` has the nearest names or the model to pull. */
export class UnknownModel extends withFacts("unknown_model", "request", { mayOtherAnswer: true, isAbsence: true }) {}
/** The engine's process or server does not respond. Another engine may still serve. */
export class EngineUnreachable extends withFacts("engine_unreachable", "engine", {
  mayOtherAnswer: true,
  startsCoolDown: true,
  isDown: true,
}) {}
/** The engine's process, or the connection to its server, ended before the reply was complete. */
export class ConnectionLost extends withFacts("connection_lost", "engine", {}, EngineUnreachable) {}
/** The embedded engine is not installed; `next` has the step that installs it. */
export class EngineNotInstalled extends withFacts("engine_not_installed", "engine", {
  mayOtherAnswer: true,
  startsCoolDown: true,
}) {}
/** A model does not fit in memory; the message has both numbers, `next` what would fit. */
export class ModelDoesNotFit extends withFacts("model_does_not_fit", "machine", {
  mayOtherAnswer: true,
  isAboutSize: true,
}) {}
/** The queue is full; the message has its length and the expected wait. */
export class QueueFull extends withFacts("queue_full", "machine", { mayOtherAnswer: true }) {}
/** The engine could not load the model (corrupt file, unknown architecture, out of memory, crash). */
export class LoadFailed extends withFacts("load_failed", "model", { mayOtherAnswer: true, startsCoolDown: true }) {}
/** A load ran out of memory despite the plan; with more free memory it may succeed. */
export class OutOfMemory extends withFacts("out_of_memory", "machine", {}, LoadFailed) {
  /** Size of the failed allocation, if the engine reports it. */
  readonly allocationBytes: number | undefined;
  /** The engine's process was killed, so a lack of memory is only the most likely reason. */
  readonly wasKilled: boolean;

  constructor(
    message: string,
    options: OrchestratorErrorOptions & {
      readonly allocationBytes?: number | undefined;
      readonly wasKilled?: boolean;
    } = {},
  ) {
    super(message, options);
    this.allocationBytes = options.allocationBytes;
    this.wasKilled = options.wasKilled ?? false;
  }
}
/** A load on graphics cards failed; the next one is planned in RAM. */
export class CardFailed extends withFacts("card_failed", "machine", {}, LoadFailed) {}
/** The unload of a model was not confirmed: its memory counts as used. */
export class UnloadUnconfirmed extends withFacts("unload_unconfirmed", "engine") {}
/** The engine failed while generating or embedding, or its reply was invalid. */
export class GenerationFailed extends withFacts("generation_failed", "model", {
  mayOtherAnswer: true,
  startsCoolDown: true,
  evidence: "failed",
}) {}
/** An answer did not pass its check; the message says what failed. Another model may do better. */
export class CheckFailed extends withFacts("check_failed", "model", { mayOtherAnswer: true, evidence: "invalid" }) {
  /** The answer. */
  readonly text: string;

  constructor(message: string, options: OrchestratorErrorOptions & { readonly text: string }) {
    super(message, options);
    this.text = options.text;
  }
}
/** The model lacks a capability that the request needs (vision, thinking, embeddings, tools). */
export class UnsupportedCapability extends withFacts("unsupported_capability", "request", { mayOtherAnswer: true }) {}
/** The prompt exceeds the model's window; nothing was cut. */
export class PromptTooLong extends withFacts("prompt_too_long", "request", {
  mayOtherAnswer: true,
  isAboutSize: true,
}) {
  readonly promptTokens: number;
  readonly contextTokens: number;
  /** The tokens were counted, not estimated. */
  readonly isExact: boolean;

  /** `promptTokens` and `contextTokens` in tokens, as counted by the engine unless `isExact` is false. */
  constructor(
    message: string,
    counts: { readonly promptTokens: number; readonly contextTokens: number; readonly isExact?: boolean },
    options: OrchestratorErrorOptions = {},
  ) {
    super(message, options);
    this.promptTokens = counts.promptTokens;
    this.contextTokens = counts.contextTokens;
    this.isExact = counts.isExact ?? true;
  }
}
/** A setting or input has an invalid value; the message has its source and the allowed values. */
export class InvalidConfig extends withFacts("invalid_config", "request") {
  /** A variable or flag of this process is wrong: correcting a file doesn't help. */
  readonly isOfProcess: boolean;

  constructor(
    message: string,
    { isOfProcess = false, ...options }: OrchestratorErrorOptions & { readonly isOfProcess?: boolean } = {},
  ) {
    super(message, options);
    this.isOfProcess = isOfProcess;
  }
}
/** There is no job with that id, or it was removed after its retention time. */
export class UnknownJob extends withFacts("unknown_job", "request", { isAbsence: true, isCorrectable: true }) {}
/** There is no memory with that key; `next` has the nearest keys. */
export class UnknownMemory extends withFacts("unknown_memory", "request", { isAbsence: true }) {}
/** There is no template of that name; `next` has the nearest names. */
export class UnknownTemplate extends withFacts("unknown_template", "request", {
  isAbsence: true,
  isCorrectable: true,
}) {}
/** There is no comparison with that id, or it was removed in favour of newer ones. */
export class UnknownComparison extends withFacts("unknown_comparison", "request", { isAbsence: true }) {}
/** A store can't be written (full disk, no permission) or was set aside. The change was not stored; stored data is intact. */
export class StoreFailed extends withFacts("store_failed", "machine") {}
/** Another process has the home, or the daemon can't be reached. */
export class DaemonUnavailable extends withFacts("daemon_unavailable", "machine") {}
/** A file or an argument of a request is invalid (missing, too large, outside the roots, wrong type). */
export class InvalidRequest extends withFacts("invalid_request", "request", { isMisuse: true, isCorrectable: true }) {}
/** There is no conversation with that id, or it was removed: they are kept in the daemon's memory for a time. */
export class UnknownConversation extends withFacts("unknown_conversation", "request", {}, InvalidRequest) {}
/** The conversation is being answered; nothing is lost, and it continues afterwards. */
export class ConversationBusy extends withFacts("conversation_busy", "request", {}, InvalidRequest) {}
/** The privacy setting forbids sending the request to a remote engine. */
export class PrivacyLocked extends withFacts("privacy_locked", "request") {}
/** The month's budget of a paid engine does not allow the request, or its cost can't be recorded. Nothing was sent. */
export class BudgetExceeded extends withFacts("budget_exceeded", "request", { mayOtherAnswer: true }) {}
/** A download failed (connection, checksum, stall, disk space); received data is kept unless the message says otherwise. */
export class PullFailed extends withFacts("pull_failed", "machine") {}
/** The call was cancelled by its caller or on its behalf. */
export class Cancelled extends withFacts("cancelled", "request", { isCorrectable: true }) {}

/** Throws `Cancelled` if the signal is aborted. */
export function throwIfCancelled(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw new Cancelled(`${what} was cancelled`, { cause: signal.reason });
}

/** The project of a caller, for what has the scope of a project. Throws `InvalidRequest` when it has none. */
export function projectOf({ project }: CallerContext): CallerProject {
  if (project !== undefined) return project;
  throw new InvalidRequest("scope project needs a project, and this connection has none", {
    next: [{ step: "omitArgument", argument: "scope" }, { step: "openProject" }],
  });
}

/** For `catch`: an error of that class means that there is no value; any other is thrown on. */
export function undefinedIf(expected: new (...given: never[]) => OrchestratorError) {
  return (error: unknown): undefined => {
    if (error instanceof expected) return undefined;
    throw error;
  };
}

/** A question to the user for missing inputs: flat, one primitive value per input. */
export interface NeedsInput {
  readonly message: string;
  /** By name of the input. */
  readonly fields: Readonly<Record<string, NeededField>>;
  /**
   * Only the user may answer: the answers reach the tool separately from its input (`ToolContext.answers`), so that an
   * assistant can't give them. The steps are for the user if the client can't ask.
   */
  readonly userOnly?: NextSteps;
}

export interface NeededField {
  readonly type: "string" | "number" | "boolean";
  /** Label in the form; default: the name of the input. */
  readonly title?: string;
  readonly description: string;
  readonly isRequired: boolean;
  readonly default?: string | number | boolean;
  readonly enum?: readonly string[];
  /** The input that this is a member of: with `variables`, the answer to `topic` goes into `variables.topic`. */
  readonly into?: string;
  /** Can also be filled with the contents of the input `files`. */
  readonly isFromFiles?: boolean;
}
