import {
  Cancelled,
  CardFailed,
  ConnectionLost,
  EngineNotInstalled,
  GenerationFailed,
  InvalidRequest,
  LoadFailed,
  OrchestratorError,
  OutOfMemory,
  PromptTooLong,
  UnknownModel,
} from "../../api/errors.ts";
import { crashReasonIn, allocationBytesIn, outOfMemorySteps, mentionsOutOfMemory } from "../failures.ts";
import type { Log } from "../../api/log.ts";
import { sameModel } from "../../util/model-name.ts";
import { type Backend, backendNames } from "./install/platform.ts";
import { didYouMean } from "../../util/nearest.ts";
import { advice, type NextStep } from "../../api/next-step.ts";
import { ChildFailure, loadErrorIn } from "./child/failure.ts";
import { type ChildEnd, ChildGone } from "./child-session.ts";

/** Translates a failure of a load. */
export function toLoadError(model: string, error: unknown): Error {
  if (error instanceof OrchestratorError) return error;
  const reason = loadReason(error);
  if (reason === undefined) return error instanceof Error ? error : new Error(String(error));
  if (isOutOfMemory(error, reason))
    return new OutOfMemory(`${model} could not be loaded: ${reason}`, {
      next: outOfMemorySteps,
      allocationBytes: allocationBytesIn(reason),
      wasKilled: wasKilled(error),
      cause: error,
    });
  return new LoadFailed(`${model} could not be loaded: ${reason}`, {
    next: stepsAfterLoad(model, reason),
    cause: error,
  });
}

function loadReason(error: unknown): string | undefined {
  if (error instanceof ChildFailure) return error.message;
  if (!(error instanceof ChildGone)) return undefined;
  return `the engine process ended ${causeOf(error.end, loadErrorIn(error.end.log))}`;
}

/**
 * Describes the end of a process: `(SIGABRT): GGML_ASSERT(…) failed`. `reason` defaults to the crash reason in its log;
 * a killed process has none, and its last line is unrelated.
 */
export function causeOf(
  { cause, log }: ChildEnd,
  reason = cause === "SIGKILL" ? undefined : crashReasonIn(log),
): string {
  return `(${cause})${reason === undefined ? "" : `: ${reason}`}`;
}

/**
 * When the weights were read and the context could not be created, memory for the context was missing, although llama.cpp
 * does not always report it.
 */
function isOutOfMemory(error: unknown, reason: string): boolean {
  return wasKilled(error) || mentionsOutOfMemory(reason) || /^failed to create context$/i.test(reason);
}

/** A SIGKILL that this process did not send is most likely the OOM killer's. */
function wasKilled(error: unknown): boolean {
  return error instanceof ChildGone && error.end.cause === "SIGKILL" && !error.end.wasStopped;
}

function stepsAfterLoad(model: string, reason: string): readonly NextStep[] {
  if (/unknown (?:model )?architecture/i.test(reason)) return otherEngineSteps(model);
  if (/memory|alloc|did not load within|did not start within/i.test(reason)) return outOfMemorySteps;
  // The likeliest reason left is a damaged file.
  return [{ step: "pullModelAfresh", model }];
}

/** For a model that the embedded engine does not support. */
function otherEngineSteps(model: string): readonly NextStep[] {
  return [advice(`use ${model} through Ollama`), { step: "pullModelThat", that: "that llama.cpp supports" }];
}

/** Translates a failure of a generation or embedding. */
export function toComputeError(model: string, error: unknown): Error {
  if (error instanceof OrchestratorError) return error;
  if (error instanceof ChildGone) {
    if (error.end.wasStopped) {
      return new GenerationFailed(`${model} was unloaded before it finished its answer`, {
        next: { step: "retry" },
        cause: error,
      });
    }
    return new ConnectionLost(
      `the engine process of ${model} ended ${causeOf(error.end)} before it finished its answer`,
      { next: [{ step: "retry" }, { step: "unloadModel" }], cause: error },
    );
  }
  if (!(error instanceof ChildFailure)) return error instanceof Error ? error : new Error(String(error));
  switch (error.code) {
    case "cancelled":
      return new Cancelled(`the request to ${model} was cancelled`, { cause: error });
    case "prompt_too_long":
      return promptTooLong(model, error);
    case "bad_format":
      return unsupportedSchema(error.message, error);
    case "load_failed":
    case "no_sequence":
    case "stalled":
    case "failed":
      return new GenerationFailed(`${model} failed: ${error.message}`, {
        next: [{ step: "retry" }, { step: "chooseModel" }],
        cause: error,
      });
  }
}

function promptTooLong(model: string, error: ChildFailure): PromptTooLong {
  const { promptTokens = 0, contextTokens = 0 } = error;
  return new PromptTooLong(
    `the prompt has ${promptTokens} tokens, and ${model} is loaded with a context of ${contextTokens}`,
    { promptTokens, contextTokens },
    { next: [{ step: "shortenPrompt" }, { step: "chooseModel", that: "with a longer context window" }], cause: error },
  );
}

function unsupportedSchema(reason: string, cause: unknown): InvalidRequest {
  return new InvalidRequest(`the JSON schema is not supported: ${reason}`, {
    next: [
      advice("use type, properties, items, enum, const, anyOf and $defs"),
      { step: "setArgument", argument: "format", to: "json" },
    ],
    cause,
  });
}

/** `known`: names of installed models, for suggestions. */
export function unknownModel(model: string, known: readonly string[]): UnknownModel {
  return new UnknownModel(`the embedded engine has no model ${model}`, {
    next: [...didYouMean(model, known, 3, { step: "pullModel", model }), { step: "listModels" }],
  });
}

/** `reason` begins with "it" or "its", which stands for the model. */
export function unsupported(
  model: string,
  reason: string,
  next: readonly NextStep[] = otherEngineSteps(model),
): LoadFailed {
  return new LoadFailed(`the embedded engine can't load ${model}: ${reason}`, { next });
}

export const notInstalledMessage = "the embedded engine is not installed yet";

export function notInstalled(downloadBytes: number): EngineNotInstalled {
  return new EngineNotInstalled(notInstalledMessage, { next: { step: "installEngine", downloadBytes } });
}

/** How long a model that a card had no room for stays in RAM. */
const retryMs = 10 * 60_000;
const forGood = Number.POSITIVE_INFINITY;

/** Kernels that are not in the binaries for this card are compiled by its driver, unless that is older than they are. */
const isDriverTooOld = /unsupported toolchain/;
const driverTooOld = "its driver is too old for this card's kernels: update it, or run `ollm setup --engine vulkan`";

/**
 * What failed on the graphics cards. A driver that hung or is too old isn't tried again by this engine: each try may take
 * a minute. One that didn't start (the card may be full) and a model that failed are, after ten minutes.
 */
export function createCards(parts: { readonly backend: Backend; readonly now: () => number; readonly log: Log }) {
  const { backend, now, log } = parts;
  /** By model; "": what keeps all off the cards. */
  const failures = new Map<string, { readonly reason: string; readonly untilMs: number }>();

  const failed = (model: string, said: string, forMs: number): CardFailed => {
    const reason = `${backendNames[backend]} failed${model === "" ? "" : ` with ${model}`}: ${said}`;
    failures.set(model, { reason, untilMs: now() + forMs });
    log.warn(`engine: ${reason}; the processor computes instead`);
    return new CardFailed(reason, { next: { step: "retry" } });
  };
  /** Why that model isn't put on a card; without a name, why none is. */
  const failureOf = (model = ""): string | undefined =>
    [...failures].find(([of, { untilMs }]) => untilMs > now() && (of === "" || sameModel(of, model)))?.[1].reason;
  return {
    backend,
    isUsable: () => backend !== "cpu" && failureOf() === undefined,
    failureOf,
    driverFailed: (reason: string, isForGood: boolean) => failed("", reason, isForGood ? forGood : retryMs),
    modelFailed: (model: string, reason: string) =>
      isDriverTooOld.test(reason) ? failed("", driverTooOld, forGood) : failed(model, reason, retryMs),
  };
}
