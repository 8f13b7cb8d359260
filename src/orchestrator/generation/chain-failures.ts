/** Failures on the way along the models of a route: which ones another model may avoid, and the error of them all. */
import {
  BudgetExceeded,
  Cancelled,
  CheckFailed,
  EngineNotInstalled,
  EngineUnreachable,
  GenerationFailed,
  LoadFailed,
  ModelDoesNotFit,
  type OrchestratorError,
  PromptTooLong,
  QueueFull,
  UnknownModel,
  UnsupportedCapability,
} from "../api/errors.ts";
import type { GenerateResult } from "../api/facade.ts";

type Attempt = GenerateResult["route"]["attempts"][number];

/** How much of an answer an error quotes. */
const maxShownCharacters = 1_000;

/** They start a cool-down; a long prompt, a full queue or an unknown name does not. */
const faults = [EngineUnreachable, EngineNotInstalled, LoadFailed, GenerationFailed] as const;
const refusals = [
  BudgetExceeded,
  CheckFailed,
  ModelDoesNotFit,
  QueueFull,
  UnknownModel,
  UnsupportedCapability,
] as const;

/** Whether another model may succeed: the failure is of this model or engine, not of the request. */
export function isWorthAnotherModel(error: OrchestratorError): boolean {
  return [...faults, ...refusals, PromptTooLong].some((kind) => error instanceof kind);
}

/** Whether the model is not asked for a while. */
export function startsCoolDown(error: OrchestratorError): boolean {
  return faults.some((kind) => error instanceof kind);
}

/** One error for all failed attempts, with the last answer if there was one that failed its check. */
export function failureOf(attempts: readonly Attempt[], failures: readonly OrchestratorError[]): Error {
  const last = failures.at(-1);
  if (last === undefined) return new Cancelled("no model was tried");
  const unchecked = failures.findLast((failure) => failure instanceof CheckFailed);
  const isOne = new Set(attempts.map(({ model, engine }) => `${engine} ${model}`)).size === 1;
  if (isOne && unchecked === undefined) return last;
  const outcomes = attempts.map((entry) => `${entry.model} (${entry.engine}): ${entry.outcome}`).join("; ");
  const message = isOne ? last.message : `${failures.length} models failed: ${outcomes}`;
  const { next } = last;
  if (unchecked === undefined) {
    // Less text at a time may be answered.
    const cause = failures.find((each) => each instanceof PromptTooLong || each instanceof ModelDoesNotFit) ?? last;
    return new GenerationFailed(message, { next, cause });
  }
  const { text } = unchecked;
  const shown = text.length > maxShownCharacters ? `${text.slice(0, maxShownCharacters)}…` : text;
  return new CheckFailed(`${message}; the last answer: ${shown}`, { next, cause: unchecked, text });
}
