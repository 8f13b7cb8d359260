import type { FailureCode } from "./protocol.ts";

/** An expected failure inside the child process; the engine translates it into an `OrchestratorError`. */
export class ChildFailure extends Error {
  readonly code: FailureCode;
  readonly promptTokens: number | undefined;
  readonly contextTokens: number | undefined;

  constructor(
    code: FailureCode,
    message: string,
    options: { readonly promptTokens?: number; readonly contextTokens?: number; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ChildFailure";
    this.code = code;
    this.promptTokens = options.promptTokens;
    this.contextTokens = options.contextTokens;
  }
}

/** Throws `ChildFailure` when the signal is aborted; called between the steps of a request. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new ChildFailure("cancelled", "cancelled");
}
