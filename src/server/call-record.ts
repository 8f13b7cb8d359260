import * as errors from "../orchestrator/errors.ts";
import type { CallRecord } from "./host.ts";

/** How a call ended, for the log of calls: never what was asked or answered. */
export type CallOutcome = Pick<CallRecord, "outcome" | "error" | "model">;

/** The model that an answer names as `model`, or `name` where the tool is about one. */
export function successOf(data: Readonly<Record<string, unknown>>): CallOutcome {
  const model = data["model"] ?? data["name"];
  return typeof model === "string" ? { outcome: "ok", model } : { outcome: "ok" };
}

/** The failure's class as our sources name it: the bundle shortens the names of classes. */
export function failureOf(error: unknown): CallOutcome {
  if (error instanceof errors.Cancelled) return { outcome: "cancelled" };
  const constructor = error instanceof Error ? error.constructor : undefined;
  const [known] = Object.entries(errors).find(([, value]) => value === constructor) ?? [];
  return { outcome: "error", error: known ?? "internal" };
}
