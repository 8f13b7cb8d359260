/** A thread that validates and judges answers: what may take long must not hold the daemon. One piece of work at a time. */
import { parentPort } from "node:worker_threads";
import { InvalidRequest } from "../api/errors.ts";
import type { NextStep } from "../api/next-step.ts";
import type { JsonSchema } from "../api/types.ts";
import { JsonFormat, type JsonText } from "./json-format.ts";
import { groundedAnswer } from "./grounded.ts";
import type { Quoted } from "../generation/ports.ts";
import { judgeQuotes } from "./quotes.ts";
import { messageOf } from "../util/values.ts";

export type CheckWork =
  /** Whether answers can be validated against it: `TriedFormat`. */
  | { readonly kind: "format"; readonly format: "json" | JsonSchema }
  /** `Validation`, also before the end. */
  | { readonly kind: "validate"; readonly format: "json" | JsonSchema; readonly answer: JsonText }
  /** `GroundedAnswer` */
  | ({ readonly kind: "values" } & Parameters<typeof groundedAnswer>[0])
  /** What `judgeQuotes` returns. */
  | { readonly kind: "quotes"; readonly isJson: boolean; readonly quoted: Quoted; readonly answer: string };

export interface TriedFormat {
  readonly ignoredPatterns: readonly string[];
  readonly refusal?: { readonly message: string; readonly next: readonly NextStep[] };
}

/** What a thread sends: `ready` once, then for each piece of work what is known so far, and the end. */
export interface CheckReport {
  readonly state: "ready" | "going on" | "done" | "failed";
  readonly found?: unknown;
}

const report = (message: CheckReport): void => parentPort?.postMessage(message);

function found(work: CheckWork): unknown {
  switch (work.kind) {
    case "format":
      return tried(work.format);
    case "validate":
      return new JsonFormat(work.format).validate(work.answer, (sofar) => report({ state: "going on", found: sofar }));
    case "values":
      return groundedAnswer(work);
    case "quotes":
      return judgeQuotes(work.answer, work.isJson, work.quoted);
  }
}

function tried(format: "json" | JsonSchema): TriedFormat {
  try {
    return { ignoredPatterns: new JsonFormat(format).tryOut().ignoredPatterns };
  } catch (error) {
    if (!(error instanceof InvalidRequest)) throw error;
    return { ignoredPatterns: [], refusal: { message: error.message, next: error.next } };
  }
}

parentPort?.on("message", (work: CheckWork) => {
  try {
    report({ state: "done", found: found(work) });
  } catch (error) {
    report({ state: "failed", found: messageOf(error) });
  }
});
report({ state: "ready" });
