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
import type { CallEnd, CallerContext } from "../../orchestrator/api/types.ts";
import type { CallRecord } from "./caller.ts";
import { type ProgressNote, detailsKey, streamKey } from "./progress.ts";

/** The protocol's tasks (SEP-2663), an extension of revision 2026-07-28. */
export const tasksExtension = "io.modelcontextprotocol/tasks";

/** MCP Apps: a client declares which types of views it shows. */
const viewsExtension = "io.modelcontextprotocol/ui";

/** The type of a view's content. */
export const viewMimeType = "text/html;profile=mcp-app";

/** A client that does not answer `roots/list` must not delay a call further. */
const rootsTimeoutMs = 2_000;

/** Long enough for a person to read the form; without an answer the call continues. */
const formTimeoutMs = 300_000;

/** Who makes a request, and how it may end. Looked up when asked for: most calls need little of it. */
export function protocolCall(server: Server, context: ServerContext) {
  const claims = claimsOf(context);
  const { mcpReq } = context;
  const capabilities = () => (claims === undefined ? server.getClientCapabilities() : claims.capabilities);
  let signal: AbortSignal | undefined;
  return {
    /** As the client introduced itself, or `unknown`. */
    get client(): string {
      return claims?.clientInfo?.name ?? server.getClientVersion()?.name ?? "unknown";
    },
    clientVersion: (claims?.clientInfo ?? server.getClientVersion())?.version,
    /** Aborts with a `CallEnd` as its reason. */
    get signal(): AbortSignal {
      if (signal !== undefined) return signal;
      const controller = new AbortController();
      const end = (): void => controller.abort(callEnd(mcpReq.signal));
      if (mcpReq.signal.aborted) end();
      else mcpReq.signal.addEventListener("abort", end, { once: true });
      return (signal = controller.signal);
    },
    /** The protocol's own signal: `callEnd` tells why it was aborted. */
    requestSignal: mcpReq.signal,
    /** The request is of revision 2026-07-28 or later. */
    isModern: claims !== undefined,
    trace: mcpReq._meta?.["traceparent"] === undefined ? undefined : traceOf(mcpReq._meta),
    /** The client accepts a protocol task as the answer; never in the legacy era. */
    takesTasks: claims?.capabilities?.extensions?.[tasksExtension] !== undefined,
    /** The caller wants errors as data (`next-steps/render.ts`). */
    wantsErrorData: mcpReq._meta?.[errorKey] === true,
    /** The caller wants the whole structured answer (`detailsKey`). */
    wantsDetails: mcpReq._meta?.[detailsKey] === true,
    /** The client wants the answer's text in progress notifications while it is generated. */
    wantsText: mcpReq._meta?.[streamKey] !== undefined,
    /** The call is a question of a chat at a terminal. */
    isChat: mcpReq._meta?.[streamKey] === "chat",
    /** The client shows views (MCP Apps) of our kind. */
    get showsViews(): boolean {
      const mimeTypes = capabilities()?.extensions?.[viewsExtension]?.["mimeTypes"];
      return Array.isArray(mimeTypes) && mimeTypes.includes(viewMimeType);
    },
    /** Requests the URIs of the client's roots; empty when it offers none. */
    clientRoots: async (): Promise<readonly string[]> => {
      // The modern era deprecates roots and requests them differently: there only the working directory counts.
      if (claims !== undefined || capabilities()?.roots === undefined) return [];
      // Not with the call's own signal: other calls may be waiting for the same answer.
      const { roots } = await server.listRoots(undefined, { timeout: rootsTimeoutMs });
      return roots.map(({ uri }) => uri);
    },
    /** The client can show its user a form. */
    get canAsk(): boolean {
      return canShowForms(capabilities());
    },
    /** Answers in a retried request; untrusted. */
    inputResponses: mcpReq.inputResponses,
    /** Notifies the client of progress; undefined when it did not request it. */
    get notifyProgress(): ((note: ProgressNote) => void) | undefined {
      const progressToken = mcpReq._meta?.progressToken;
      if (progressToken === undefined) return undefined;
      return (note) => {
        // When the connection is gone its close ends the call, and progress is dropped.
        mcpReq.notify({ method: "notifications/progress", params: { ...note, progressToken } }).catch(() => undefined);
      };
    },
    /** Shows the user a form (`formOf`) within the call; rejects when the client can't. Undefined in the modern era. */
    askNow:
      claims === undefined
        ? (form: Record<string, unknown>): Promise<unknown> =>
            mcpReq.send(
              { method: "elicitation/create", params: form },
              { signal: mcpReq.signal, timeout: formTimeoutMs },
            )
        : undefined,
  };
}

/** One request, with everything that the pipeline needs of the protocol. */
export type Call = Readonly<ReturnType<typeof protocolCall>>;

const traceparent = /^(?!ff|00.{54})[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-([\da-f]{2})(?:-.*)?$/;
const tracestate = /^[\t\x20-\x7e]{1,512}$/;

/**
 * The trace that `_meta` or the headers of a request name, by W3C Trace Context; undefined without a valid one. Of the flags,
 * those of version 00 are kept.
 */
export function traceOf(given: Readonly<Record<string, unknown>>): CallerContext["trace"] {
  const { traceparent: parent, tracestate: state } = given;
  const [, id, flags = ""] = (typeof parent === "string" && traceparent.exec(parent)) || [];
  if (id === undefined) return undefined;
  const kept = `0${Number.parseInt(flags, 16) & 3}`;
  return { id, flags: kept, ...(typeof state === "string" && tracestate.test(state) && { state }) };
}

/** Why a request's signal was aborted. */
export function callEnd({ reason }: AbortSignal): CallEnd {
  const isDisconnect =
    reason === "disconnected" || (reason instanceof SdkError && reason.code === SdkErrorCode.ConnectionClosed);
  return isDisconnect ? "disconnected" : "cancelled";
}

/** The client's name and capabilities in a modern request; undefined in the legacy era, where `initialize` has them. */
function claimsOf(context: ServerContext) {
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

/** A failed outcome with the error's class name as in the sources, since the bundle shortens class names. */
export function failureOf(error: unknown): CallOutcome {
  if (error instanceof errors.Cancelled) return { outcome: "cancelled" };
  const constructor = error instanceof Error ? error.constructor : undefined;
  const [known] = Object.entries(errors).find(([, value]) => value === constructor) ?? [];
  return { outcome: "error", error: known ?? "internal" };
}
