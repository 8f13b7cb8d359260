import { stepsOf, type NextStep, type NextSteps } from "./next-step.ts";

/**
 * Errors that a caller can act on.
 *
 * `message` states the fact with its values; `next` is what to do about it, as data that each surface renders.
 * Adapters translate foreign errors at their edge (with `cause`); the server's pipeline is the only place that
 * formats them. Anything that is not an `OrchestratorError` is a defect and is shown as "internal error".
 */
export interface OrchestratorErrorOptions {
  readonly next?: NextSteps | undefined;
  /** Being replaced by `next`. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class OrchestratorError extends Error {
  readonly next: readonly NextStep[];
  /** Being replaced by `next`. */
  readonly hint: string | undefined;

  constructor(message: string, options: OrchestratorErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    // For stacks and tests only: the bundle shortens the names of classes.
    this.name = new.target.name;
    this.next = stepsOf(options.next);
    this.hint = options.hint;
  }
}

/** No engine holds a model of that name; the hint suggests the nearest names or what to pull. */
export class UnknownModel extends OrchestratorError {}
/** The engine's process or server does not answer, or its connection was cut. Another engine may still serve. */
export class EngineUnreachable extends OrchestratorError {}
/** The embedded engine is not installed yet; the hint names the call that installs it. */
export class EngineNotInstalled extends OrchestratorError {}
/** A model cannot be made to fit; the message gives both numbers, the hint what would fit. */
export class ModelDoesNotFit extends OrchestratorError {}
/** Too many requests wait; the message says how many and the expected wait. */
export class QueueFull extends OrchestratorError {}
/** The engine could not load the model (corrupt file, unknown architecture, out of memory, crash). */
export class LoadFailed extends OrchestratorError {}
/** The memory did not suffice for a load, whatever was planned: with less in memory the same load may work. */
export class OutOfMemory extends LoadFailed {
  /** Size of the allocation that failed, where the engine says it. */
  readonly allocationBytes: number | undefined;
  /** The engine's process was killed, and memory is only the likeliest reason: nobody said so. */
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
/** A model was told to leave and was not seen to: its memory counts as taken. */
export class UnloadUnconfirmed extends OrchestratorError {}
/** The engine answered with an error while generating or embedding, or its reply made no sense. */
export class GenerationFailed extends OrchestratorError {}
/** The model lacks what the request asks for (vision, thinking, embeddings, tools). */
export class UnsupportedCapability extends OrchestratorError {}
/** The prompt needs more tokens than the model's window; nothing was cut. */
export class PromptTooLong extends OrchestratorError {
  readonly promptTokens: number;
  readonly contextTokens: number;
  /** Counted; else estimated, and the message says so. */
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
/** A setting or an input has a value that is not allowed; the message names where it came from and what is allowed. */
export class InvalidConfig extends OrchestratorError {}
/** No job of that id: it never was, or its result is no longer kept. */
export class UnknownJob extends OrchestratorError {}
/** Nothing is remembered under that key; the hint names the nearest. */
export class UnknownMemory extends OrchestratorError {}
/** No template of that name; the hint names the nearest. */
export class UnknownTemplate extends OrchestratorError {}
/** No comparison of that id; they are kept for a while only. */
export class UnknownComparison extends OrchestratorError {}
/** A store can't be written (full disk, no permission) or was set aside; nothing is lost, and nothing was acknowledged. */
export class StoreFailed extends OrchestratorError {}
/** Another process holds the home, or the one that does can't be reached. */
export class DaemonUnavailable extends OrchestratorError {}
/** A file or an argument of a request cannot be used (missing, too large, outside the roots, wrong type). */
export class InvalidRequest extends OrchestratorError {}
/** The privacy lock forbids sending this anywhere that is not local. */
export class PrivacyLocked extends OrchestratorError {}
/** A download failed (cut, wrong checksum, stalled, no space); what arrived is kept unless the message says otherwise. */
export class PullFailed extends OrchestratorError {}
/** The caller, or somebody on its behalf, cancelled. */
export class Cancelled extends OrchestratorError {}

/** Throws `Cancelled` when the signal is aborted; the one way to check between steps. */
export function throwIfCancelled(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw new Cancelled(`${what} was cancelled`, { cause: signal.reason });
}
