import * as errors from "../../orchestrator/api/errors.ts";
import type { CallRecord } from "../daemon/server-parts.ts";

/** How a call ended, for the log of calls. */
export type CallOutcome = Pick<CallRecord, "outcome" | "error" | "model" | "answer">;

/** A successful outcome with the model that the answer names (`model`, or `name` for tools about models) and its text. */
export function successOf(data: Readonly<Record<string, unknown>>): CallOutcome {
  const model = data["model"] ?? data["name"];
  const { text: answer } = data;
  return {
    outcome: "ok",
    ...(typeof model === "string" && { model }),
    ...(typeof answer === "string" && { answer }),
  };
}

/** The outcome without the model's text, for logs without `log.prompts`. */
export function withoutText({ answer: _answer, ...outcome }: CallOutcome): CallOutcome {
  return outcome;
}

/** The caller's prompt, for logs with `log.prompts`. */
export function promptOf(input: Readonly<Record<string, unknown>>): Pick<CallRecord, "prompt"> {
  const { prompt } = input;
  return typeof prompt === "string" ? { prompt } : {};
}

/** A failed outcome with the error's class name as in the sources, since the bundle shortens class names. */
export function failureOf(error: unknown): CallOutcome {
  if (error instanceof errors.Cancelled) return { outcome: "cancelled" };
  const constructor = error instanceof Error ? error.constructor : undefined;
  const [known] = Object.entries(errors).find(([, value]) => value === constructor) ?? [];
  return { outcome: "error", error: known ?? "internal" };
}
