import type { NextStep } from "../orchestrator/next-step.ts";

/**
 * In a request's `_meta`: its caller takes errors as data. In the `_meta` of a failed tool call, and in the `data` of a
 * protocol error: the error. Our own shell asks for it, and words the next steps itself; others never see it.
 */
export const errorKey = "ollm/error";

export interface ErrorData {
  readonly message: string;
  readonly next: readonly NextStep[];
}

/** The error in a result's `_meta` or an error's `data`; undefined where there is none. */
export function errorDataIn(carrier: unknown): ErrorData | undefined {
  if (typeof carrier !== "object" || carrier === null) return undefined;
  const data = (carrier as Readonly<Record<string, unknown>>)[errorKey];
  // Written by our own server, which the shell has started.
  return typeof data === "object" && data !== null ? (data as ErrorData) : undefined;
}
