import * as errors from "../orchestrator/errors.ts";
import type { CallRecord } from "./server-parts.ts";

/** How a call ended, for the log of calls. */
export type CallOutcome = Pick<CallRecord, "outcome" | "error" | "model" | "answer">;

/** The model that an answer names as `model`, or `name` where the tool is about one; and the model's own text. */
export function successOf(data: Readonly<Record<string, unknown>>): CallOutcome {
  const model = data["model"] ?? data["name"];
  const { text: answer } = data;
  return {
    outcome: "ok",
    ...(typeof model === "string" && { model }),
    ...(typeof answer === "string" && { answer }),
  };
}

/** An outcome that may be noted by whoever has not asked for text of callers and models. */
export function withoutText({ answer: _answer, ...outcome }: CallOutcome): CallOutcome {
  return outcome;
}

/** What was asked of a model: text of the caller's, for those who asked to see it. */
export function promptOf(input: Readonly<Record<string, unknown>>): Pick<CallRecord, "prompt"> {
  const { prompt } = input;
  return typeof prompt === "string" ? { prompt } : {};
}

/** The failure's class as our sources name it: the bundle shortens the names of classes. */
export function failureOf(error: unknown): CallOutcome {
  if (error instanceof errors.Cancelled) return { outcome: "cancelled" };
  const constructor = error instanceof Error ? error.constructor : undefined;
  const [known] = Object.entries(errors).find(([, value]) => value === constructor) ?? [];
  return { outcome: "error", error: known ?? "internal" };
}
