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

const maxCharacters = 16_384;

export function createLogRing() {
  let kept = "";
  return {
    add(text: string) {
      kept = (kept + text).slice(-maxCharacters);
    },
    /** Returns the kept lines, oldest first. */
    lines: () => kept.split("\n").filter((line) => line.trim() !== ""),
  };
}

/**
 * Returns why llama.cpp could not load a model. Its exception is only "Failed to load model"; the reason is in the log, as
 * `error loading model: unknown model architecture: 'x'` or `llama_model_load: error loading model: …`.
 */
export function loadErrorIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines.toReversed();
  for (const pattern of [
    /CUDA error: (.+)$/,
    /error loading model(?: \w+)?: (.+)$/,
    // With the size, which the later summary omits.
    /((?:failed|unable) to allocate.*size:? \d+)/i,
    /((?:failed|unable) to allocate.*)$/i,
    /(?:failed|error|assert)[^:]*: (.+)$/i,
  ]) {
    for (const line of newestFirst) {
      const reason = pattern.exec(line)?.[1]?.trim();
      if (reason !== undefined && reason !== "") return reason;
    }
  }
  return undefined;
}
