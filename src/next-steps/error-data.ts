import type { NextStep } from "../orchestrator/api/next-step.ts";

/**
 * Key in `_meta` of a request whose caller accepts errors as data. The error is under the same key in `_meta` of a failed
 * tool call and in `data` of a protocol error. Only our own shell uses it, to render the next steps itself.
 */
export const errorKey = "ollm/error";

export interface ErrorData {
  readonly message: string;
  readonly next: readonly NextStep[];
}

/** The error in a result's `_meta` or an error's `data`; undefined if there is none. */
export function errorDataIn(carrier: unknown): ErrorData | undefined {
  if (typeof carrier !== "object" || carrier === null) return undefined;
  const data = (carrier as Readonly<Record<string, unknown>>)[errorKey];
  // Not validated: the data is from our own server.
  return typeof data === "object" && data !== null ? (data as ErrorData) : undefined;
}
