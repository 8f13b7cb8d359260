import {
  CLIENT_CAPABILITIES_META_KEY,
  CLIENT_INFO_META_KEY,
  SdkError,
  SdkErrorCode,
  type ClientCapabilities,
  type Implementation,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { CallEnd } from "../orchestrator/types.ts";
import { errorKey } from "../next-steps/error-data.ts";
import type { ProgressNote } from "./progress.ts";
import { takesTasks } from "./tasks.ts";
import { streamKey } from "./text-notes.ts";

/** Who makes a request, and how it may end. */
export interface RequestFacts {
  /** As the client introduced itself, or `unknown`. */
  readonly client: string;
  /** Aborted with a `CallEnd` as its reason. */
  readonly signal: AbortSignal;
  /** Of revision 2026-07-28 or later. */
  readonly isModern: boolean;
  /** The client takes a task of the protocol for an answer; never in the legacy era. */
  readonly takesTasks: boolean;
  /** The caller takes errors as data (`error-data.ts`). */
  readonly wantsErrorData?: boolean;
  /** URIs of the client's roots, asked for now; none when it offers none. */
  clientRoots(): Promise<readonly string[]>;
}

/** What a call brings along from its connection; all that the pipeline knows of the protocol. */
export interface CallFacts extends RequestFacts {
  readonly arguments: unknown;
  /** Absent when the client did not ask for progress. */
  readonly notifyProgress?: (note: ProgressNote) => void;
  /** The client takes the answer's text as it grows, in progress notifications. */
  readonly wantsText?: boolean;
  /** The client can put a form before its user. */
  readonly canAsk: boolean;
  /** Puts a form (`formOf`) before the user within the call; rejects when the client fails to. Legacy era only. */
  readonly askNow?: (form: Record<string, unknown>) => Promise<unknown>;
  /** Answers of a retried request, untrusted. */
  readonly inputResponses?: Readonly<Record<string, unknown>>;
}

/** A client that does not answer `roots/list` must not hold up a call. */
const rootsTimeoutMs = 2_000;

/** Reading what is asked takes a person a while; where there is none the call goes on. */
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
      // The modern era asks for roots by another way, and deprecates them: there the working directory must do.
      if (claims !== undefined || server.getClientCapabilities()?.roots === undefined) return [];
      // Without the call's own signal: other calls may wait for the same answer.
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
        // A connection that is gone ends the call by its close; progress has nobody to reach.
        context.mcpReq.notify({ method: "notifications/progress", params }).catch(() => undefined);
      },
    }),
  };
}

/** A signal that says how the call ended, in the facade's words. */
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

/** What a request of the modern era says of its client; undefined in the legacy era, which said it once. */
function claimsOf(
  context: ServerContext,
):
  | { readonly clientInfo?: Implementation | undefined; readonly capabilities?: ClientCapabilities | undefined }
  | undefined {
  // The SDK's type leaves out the keys that it has checked.
  const envelope:
    | { [CLIENT_INFO_META_KEY]?: Implementation; [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities }
    | undefined = context.mcpReq.envelope;
  return (
    envelope && { clientInfo: envelope[CLIENT_INFO_META_KEY], capabilities: envelope[CLIENT_CAPABILITIES_META_KEY] }
  );
}

/** An empty elicitation capability means forms: it is older than the distinction. */
function canShowForms(capabilities: ClientCapabilities | undefined): boolean {
  const elicitation = capabilities?.elicitation;
  return elicitation !== undefined && (elicitation.form !== undefined || elicitation.url === undefined);
}
