import {
  CLIENT_CAPABILITIES_META_KEY,
  CLIENT_INFO_META_KEY,
  type ClientCapabilities,
  type Implementation,
  SdkError,
  SdkErrorCode,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { errorKey } from "../../next-steps/render.ts";
import * as errors from "../../orchestrator/api/errors.ts";
import type { CallEnd } from "../../orchestrator/api/types.ts";
import type { CallRecord } from "../daemon/server-parts.ts";
import type { ProgressNote } from "./progress.ts";
import { takesTasks } from "./tasks.ts";
import { streamKey } from "./text-notes.ts";

/** Who makes a request, and how it may end. */
export interface RequestFacts {
  /** As the client introduced itself, or `unknown`. */
  readonly client: string;
  /** Aborts with a `CallEnd` as its reason. */
  readonly signal: AbortSignal;
  /** The request is of revision 2026-07-28 or later. */
  readonly isModern: boolean;
  /** The client accepts a protocol task as the answer; never in the legacy era. */
  readonly takesTasks: boolean;
  /** The caller wants errors as data (`error-data.ts`). */
  readonly wantsErrorData?: boolean;
  /** Requests the URIs of the client's roots; empty when it offers none. */
  clientRoots(): Promise<readonly string[]>;
}

/** What a call carries from its connection: everything that the pipeline needs of the protocol. */
export interface CallFacts extends RequestFacts {
  readonly arguments: unknown;
  /** Absent when the client did not request progress. */
  readonly notifyProgress?: (note: ProgressNote) => void;
  /** The client wants the answer's text in progress notifications while it is generated. */
  readonly wantsText?: boolean;
  /** The client can show its user a form. */
  readonly canAsk: boolean;
  /** Shows the user a form (`formOf`) within the call; rejects when the client can't. Legacy era only. */
  readonly askNow?: (form: Record<string, unknown>) => Promise<unknown>;
  /** Answers in a retried request; untrusted. */
  readonly inputResponses?: Readonly<Record<string, unknown>>;
}

/** A client that does not answer `roots/list` must not delay a call further. */
const rootsTimeoutMs = 2_000;

/** Long enough for a person to read the form; without an answer the call continues. */
const formTimeoutMs = 300_000;

export function requestFacts(server: Server, context: ServerContext): RequestFacts {
  const claims = claimsOf(context);
  return {
    client: claims?.clientInfo?.name ?? server.getClientVersion()?.name ?? "unknown",
    signal: callSignal(context.mcpReq.signal),
    isModern: claims !== undefined,
    takesTasks: takesTasks(claims?.capabilities),
    wantsErrorData: context.mcpReq._meta?.[errorKey] === true,
    async clientRoots() {
      // The modern era deprecates roots and requests them differently: there only the working directory counts.
      if (claims !== undefined || server.getClientCapabilities()?.roots === undefined) return [];
      // Not with the call's own signal: other calls may be waiting for the same answer.
      const { roots } = await server.listRoots(undefined, { timeout: rootsTimeoutMs });
      return roots.map(({ uri }) => uri);
    },
  };
}

export function callFacts(server: Server, context: ServerContext, given: unknown): CallFacts {
  const { inputResponses, _meta } = context.mcpReq;
  const claims = claimsOf(context);
  const capabilities = claims === undefined ? server.getClientCapabilities() : claims.capabilities;
  const token = _meta?.progressToken;
  return {
    ...requestFacts(server, context),
    arguments: given,
    wantsText: _meta?.[streamKey] === true,
    canAsk: canShowForms(capabilities),
    ...(claims === undefined && {
      askNow: (form) =>
        context.mcpReq.send(
          { method: "elicitation/create", params: form },
          { signal: context.mcpReq.signal, timeout: formTimeoutMs },
        ),
    }),
    ...(inputResponses !== undefined && { inputResponses }),
    ...(token !== undefined && {
      notifyProgress(note) {
        const params = { ...note, progressToken: token };
        // When the connection is gone its close ends the call, and progress is dropped.
        context.mcpReq.notify({ method: "notifications/progress", params }).catch(() => undefined);
      },
    }),
  };
}

/** A signal whose abort reason is the `CallEnd`. */
function callSignal(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const end = (): void => {
    const isDisconnect = signal.reason instanceof SdkError && signal.reason.code === SdkErrorCode.ConnectionClosed;
    const reason: CallEnd = isDisconnect ? "disconnected" : "cancelled";
    controller.abort(reason);
  };
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  return controller.signal;
}

/** The client's name and capabilities in a modern request; undefined in the legacy era, where `initialize` has them. */
function claimsOf(
  context: ServerContext,
):
  | { readonly clientInfo?: Implementation | undefined; readonly capabilities?: ClientCapabilities | undefined }
  | undefined {
  // The SDK's type omits the keys that it has validated.
  const envelope:
    | { [CLIENT_INFO_META_KEY]?: Implementation; [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities }
    | undefined = context.mcpReq.envelope;
  return (
    envelope && { clientInfo: envelope[CLIENT_INFO_META_KEY], capabilities: envelope[CLIENT_CAPABILITIES_META_KEY] }
  );
}

/** An empty elicitation capability means forms: it predates the distinction between forms and URLs. */
function canShowForms(capabilities: ClientCapabilities | undefined): boolean {
  const elicitation = capabilities?.elicitation;
  return elicitation !== undefined && (elicitation.form !== undefined || elicitation.url === undefined);
}

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
