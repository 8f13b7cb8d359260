import {
  Cancelled,
  EngineNotInstalled,
  EngineUnreachable,
  GenerationFailed,
  InvalidRequest,
  LoadFailed,
  OrchestratorError,
  OutOfMemory,
  PromptTooLong,
  UnknownModel,
} from "../../errors.ts";
import { crashReasonIn } from "../../text/crash-reason.ts";
import { nearestNames } from "../../text/nearest.ts";
import { allocationBytesIn, saysOutOfMemory } from "../out-of-memory.ts";
import { ChildFailure } from "./child/failure.ts";
import { loadErrorIn } from "./child/log-ring.ts";
import { type ChildEnd, ChildGone } from "./child-session.ts";

/** What went wrong while a model was loading, as an error for people. */
export function toLoadError(model: string, error: unknown): Error {
  if (error instanceof OrchestratorError) return error;
  const reason = loadReason(error);
  if (reason === undefined) return error instanceof Error ? error : new Error(String(error));
  if (isOutOfMemory(error, reason))
    return new OutOfMemory(`${model} could not be loaded: ${reason}`, {
      hint: memoryHint,
      allocationBytes: allocationBytesIn(reason),
      wasKilled: wasKilled(error),
      cause: error,
    });
  return new LoadFailed(`${model} could not be loaded: ${reason}`, { hint: loadHint(model, reason), cause: error });
}

function loadReason(error: unknown): string | undefined {
  if (error instanceof ChildFailure) return error.message;
  if (!(error instanceof ChildGone)) return undefined;
  return `the engine process ended ${causeOf(error.end, loadErrorIn(error.end.log))}`;
}

/**
 * `(SIGABRT): GGML_ASSERT(…) failed`; `reason` where something better is known than its last words. What is killed has
 * none: the line that it happened to end with would be taken for the reason.
 */
export function causeOf(
  { cause, log }: ChildEnd,
  reason = cause === "SIGKILL" ? undefined : crashReasonIn(log),
): string {
  return `(${cause})${reason === undefined ? "" : `: ${reason}`}`;
}

/**
 * Where the weights were read and the context could not be made, what was missing is its memory, though llama.cpp does
 * not always say so.
 */
function isOutOfMemory(error: unknown, reason: string): boolean {
  return wasKilled(error) || saysOutOfMemory(reason) || /^failed to create context$/i.test(reason);
}

/** SIGKILL that was not ours is most likely the system's, whose memory ran out. */
function wasKilled(error: unknown): boolean {
  return error instanceof ChildGone && error.end.cause === "SIGKILL" && !error.end.wasStopped;
}

const memoryHint = "Free memory with manage_model unload_all, or call smart_load with smaller context_tokens.";

function loadHint(model: string, reason: string): string {
  if (/unknown (?:model )?architecture/i.test(reason))
    return `The embedded engine doesn't know this architecture: use ${model} through Ollama, or call pull_model with another model.`;
  if (/memory|alloc|did not load within|did not start within/i.test(reason)) return memoryHint;
  return `The file may be damaged: delete it with manage_model and call pull_model {"model": "${model}"} again.`;
}

/** What went wrong while a loaded model answered or embedded. */
export function toComputeError(model: string, error: unknown): Error {
  if (error instanceof OrchestratorError) return error;
  if (error instanceof ChildGone) {
    if (error.end.wasStopped) {
      return new GenerationFailed(`${model} was unloaded before it had answered`, {
        hint: "Call route_and_generate again: it is loaded anew.",
        cause: error,
      });
    }
    return new EngineUnreachable(`the engine process of ${model} ended ${causeOf(error.end)}, before it had answered`, {
      hint: "Call route_and_generate again: the model is loaded anew. If it happens again, free memory with manage_model unload_all.",
      cause: error,
    });
  }
  if (!(error instanceof ChildFailure)) return error instanceof Error ? error : new Error(String(error));
  switch (error.code) {
    case "cancelled":
      return new Cancelled(`the request to ${model} was cancelled`, { cause: error });
    case "prompt_too_long":
      return promptTooLong(model, error);
    case "bad_format":
      return new InvalidRequest(`the JSON schema in format can't be used: ${error.message}`, {
        hint: 'Use type, properties, items, enum, const, anyOf and $defs, or format "json".',
        cause: error,
      });
    case "load_failed":
    case "failed":
      return new GenerationFailed(`${model} failed: ${error.message}`, {
        hint: "Call route_and_generate again, or with another model.",
        cause: error,
      });
  }
}

function promptTooLong(model: string, error: ChildFailure): PromptTooLong {
  const { promptTokens = 0, contextTokens = 0 } = error;
  return new PromptTooLong(
    `the prompt takes ${promptTokens} tokens, and ${model} is loaded with a context of ${contextTokens}`,
    { promptTokens, contextTokens },
    { hint: "Send less text, or choose a model with a longer window (list_models, verbose).", cause: error },
  );
}

/** `known`: names the engine holds, for the suggestion. */
export function unknownModel(model: string, known: readonly string[]): UnknownModel {
  const nearest = nearestNames(model, known, 3);
  return new UnknownModel(`the embedded engine has no model ${model}`, {
    hint:
      nearest.length > 0
        ? `Did you mean ${nearest.join(" or ")}? list_models shows all.`
        : `pull_model {"model": "${model}"} downloads it if it exists; list_models shows what is installed.`,
  });
}

/** `reason` begins with "it", which stands for the model. */
export function unsupported(model: string, reason: string): LoadFailed {
  return new LoadFailed(`the embedded engine can't load ${model}: ${reason}`, {
    hint: `Use ${model} through Ollama, or call pull_model with another model.`,
  });
}

export function notInstalled(): EngineNotInstalled {
  return new EngineNotInstalled("the embedded engine is not installed yet", {
    hint: "Call smart_load or pull_model: either installs it (a 48 MB download).",
  });
}
