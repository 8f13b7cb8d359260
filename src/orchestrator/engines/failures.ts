import { ConnectionLost, EngineUnreachable, OrchestratorError, type OrchestratorErrorOptions } from "../api/errors.ts";
import type { NextStep, NextSteps } from "../api/next-step.ts";
import { codeOf } from "../util/values.ts";

/** Next steps when a model does not fit into memory. */
export const outOfMemorySteps: readonly NextStep[] = [
  { step: "unloadModel" },
  { step: "lowerArgument", argument: "context" },
  { step: "chooseModel", that: "that needs less memory" },
];

/** Recognizes llama.cpp's messages about exhausted memory, which Ollama passes on. */
export function mentionsOutOfMemory(text: string): boolean {
  return /out.of.memory|(?:failed|unable) to allocate|cannot allocate memory|(?:not enough|insufficient) memory|too large for the available|bad_alloc|cudaMalloc/i.test(
    text,
  );
}

/** Returns the size of the failed allocation ("failed to allocate buffer of size 5368709120"), if `text` has it. */
export function allocationBytesIn(text: string): number | undefined {
  const digits = /allocate[^\n]*?\bsize:? (\d+)/i.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

const complaint =
  /^(?:Uncaught )?(?:[\w.]*(?:Error|Exception)\b[^:]*: .|FATAL ERROR: )|CUDA error: .|what\(\): |GGML_ASSERT|GGML_ABORT/;
const decoration = /^(?:at |Node\.js v\d|[\^{}]+$)/;

/**
 * The line of a process's output with the reason for its end: the last uncaught error or abort, else the last line that
 * is not part of a stack trace or Node's version line. Undefined if there is no output.
 */
export function crashReasonIn(lines: readonly string[]): string | undefined {
  const newestFirst = lines
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toReversed();
  return newestFirst.find((line) => complaint.test(line)) ?? newestFirst.find((line) => !decoration.test(line));
}

/** What was attempted, for error messages, and the default class of an error. */
export interface Attempt {
  /** A phrase for messages: `answering with smollm2:135m`. */
  readonly what: string;
  readonly model?: string;
  /** The next steps when `otherwise` is thrown. */
  readonly next?: NextSteps;
  /** Class of an error that no rule matches. */
  readonly otherwise: new (message: string, options?: OrchestratorErrorOptions) => OrchestratorError;
  /** Whether a part of the answer has been passed on. Read when an error is made. */
  readonly isPartial?: boolean;
}

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** A response that is not the expected one. */
export interface ErrorReply {
  readonly status: number;
  /** At most its first 64,000 bytes. */
  readonly text: string;
  readonly headers: Headers;
}

/** The connection was closed before the reply was complete. */
export class CutOff extends Error {}

const untrusted = /^(CERT_.*|DEPTH_.*|SELF_SIGNED.*|UNABLE_TO_.*|ERR_TLS.*|ERR_SSL.*|EPROTO)$/;

/** How an exchange failed, and the code of its error, which may be empty; undefined for a defect. */
export function failureOf(
  failure: unknown,
): { readonly kind: "invalid" | "closed" | "untrusted" | "unreachable"; readonly code: string } | undefined {
  const code = codeOf(failure) ?? "";
  if (failure instanceof SyntaxError) return { kind: "invalid", code };
  if (failure instanceof CutOff || /^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/.test(code)) return { kind: "closed", code };
  if (untrusted.test(code)) return { kind: "untrusted", code };
  // Others of Node that begin with ERR_ are defects.
  return /^(E(?!RR_)[A-Z_]+|UND_ERR_.*|HPE_.*)$/.test(code) ? { kind: "unreachable", code } : undefined;
}

/** A daemon keeps the environment that it was started with. */
export const trustCertificate: NextStep = {
  step: "restartDaemon",
  after: "set NODE_EXTRA_CA_CERTS to the file of its certificate authority",
};

/** Creates the adapter's errors. */
export abstract class TransportErrors {
  readonly #server: ConstructorParameters<typeof TransportErrors>[0];

  constructor(server: {
    /** `Ollama`, `Ollama at 127.0.0.1:11434`; `kimi`, `api.moonshot.ai (kimi)`. */
    readonly id: string;
    readonly host: string;
    readonly place: string;
    /** Before "closed the connection", and what follows it. */
    readonly name: string;
    readonly whenClosed?: string;
    /** Whether a request that got no answer is sent again. */
    readonly repeats: boolean;
    readonly next: Readonly<Record<NonNullable<ReturnType<typeof failureOf>>["kind"] | "long" | "silent", NextSteps>>;
  }) {
    this.#server = server;
  }

  abstract ofReply(reply: ErrorReply, attempt: Attempt): OrchestratorError;

  /** What may be kept of an exception. */
  protected causeOf(failure: unknown): unknown {
    return failure;
  }

  /**
   * Translates an exception of an exchange: an `OrchestratorError` passes, a broken connection becomes
   * `EngineUnreachable`, a reply that isn't JSON becomes `attempt.otherwise`. Anything else is a bug and passes unchanged.
   */
  ofFailure(failure: unknown, attempt: Attempt): unknown {
    const { kind, code = "" } = failureOf(failure) ?? {};
    if (failure instanceof OrchestratorError || kind === undefined) return failure;
    const { id, host, place, name, whenClosed = "", repeats, next } = this.#server;
    const options = { next: next[kind], cause: this.causeOf(failure) };
    const again = { ...options, isTransient: repeats && attempt.isPartial !== true };
    switch (kind) {
      case "invalid":
        return new attempt.otherwise(`${name} sent an invalid reply while ${attempt.what}`, options);
      case "closed":
        return new ConnectionLost(`${name} closed the connection while ${attempt.what}${whenClosed}`, again);
      case "untrusted":
        return new EngineUnreachable(`the certificate of ${place} is not trusted (${code})`, options);
      case "unreachable":
        return new EngineUnreachable(`${id} does not answer at ${host} (${code})`, again);
    }
  }

  /** The reply is longer than `limit` (`4.0 MB`). */
  ofLength(limit: string, { what, otherwise }: Attempt): OrchestratorError {
    const { name, next } = this.#server;
    return new otherwise(`${name} sent more than ${limit} while ${what}`, { next: next.long });
  }

  /** The exchange's own timeout expired. */
  ofTimeout(ms: number, { what }: Attempt): OrchestratorError {
    const { name, next } = this.#server;
    return new EngineUnreachable(`${name} sent nothing for ${ms / 1_000} s while ${what}`, { next: next.silent });
  }
}
