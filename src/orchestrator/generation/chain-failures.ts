/** Failures on the way along the models of a route: the waits that they ask for, and the error of them all. */
import { setTimeout as delay } from "node:timers/promises";
import { Cancelled, CheckFailed, GenerationFailed, type OrchestratorError, throwIfCancelled } from "../api/errors.ts";
import type { RouteExplanation } from "../api/facade-route.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { formatDuration, shortened } from "../util/format-bytes.ts";
import { keyOfName } from "../util/model-name.ts";

/** How much of an answer an error quotes. */
const maxShownCharacters = 1_000;

/** One error for all failed attempts, with the last answer if there was one that failed its check. */
export function failureOf(allAttempts: RouteExplanation["attempts"], allFailures: readonly OrchestratorError[]): Error {
  // An engine that is not installed was not asked: what happened on the others counts, and what to do about it.
  const hasRun = allFailures.map(({ facts }) => facts.code !== "engine_not_installed");
  const ran = <Entry>(entries: readonly Entry[]) =>
    hasRun.includes(true) ? entries.filter((_, index) => hasRun[index]) : entries;
  const [attempts, failures] = [ran(allAttempts), ran(allFailures)];
  const last = failures.at(-1);
  if (last === undefined) return new Cancelled("no model was tried");
  const unchecked = failures.findLast((failure) => failure instanceof CheckFailed);
  const engines = new Set(attempts.map(({ engine }) => engine)).size;
  const models = new Set(attempts.map(({ model }) => keyOfName(model))).size;
  const isOne = models === 1 && engines === 1;
  if (isOne && unchecked === undefined) return last;
  const outcomes = attempts.map(({ model, engine, outcome }) =>
    models === 1 ? `${engine}: ${outcome}` : `${model} (${engine}): ${outcome}`,
  );
  const failed = models === 1 ? `${attempts[0]?.model ?? ""} failed on ${engines} engines` : `${models} models failed`;
  const message = isOne ? last.message : `${failed}: ${outcomes.join("; ")}`;
  const { next } = last;
  if (unchecked === undefined) {
    const cause = failures.find(({ facts }) => facts.isAboutSize) ?? last;
    return new GenerationFailed(message, { next, cause });
  }
  const { text } = unchecked;
  return new CheckFailed(`${message}; the last answer: ${shortened(text, maxShownCharacters)}`, {
    next,
    cause: unchecked,
    text,
  });
}

/** Waits until its server wants to be asked again: nothing else can answer (`shortWaitMs`). */
export async function obeyed(mustWaitMs: number, model: string, context: OperationContext): Promise<void> {
  context.report({ message: `${model} must not be asked for ${formatDuration(mustWaitMs)}` });
  await delay(mustWaitMs, undefined, { signal: context.signal }).catch(() => undefined);
  throwIfCancelled(context.signal, `waiting for ${model}`);
}
