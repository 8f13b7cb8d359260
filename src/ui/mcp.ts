/** The MCP client of a page: stateless requests of revision 2026-07-28, each with its own answer. */
import { type EventSourceMessage, createParser } from "eventsource-parser";
import { commandSteps } from "../next-steps/commands.ts";
import { type ErrorData, errorDataIn, errorKey, renderSteps } from "../next-steps/render.ts";
import type { ResourceData } from "../resources/index.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../tools/index.ts";
import { type Entry, foreignText } from "./session.ts";
import { defined, messageOf } from "../orchestrator/util/values.ts";

const revision = "2026-07-28";
/** Without elicitation, what has to be asked first is answered with an error: the page asks before the call. */
const identity = {
  "io.modelcontextprotocol/protocolVersion": revision,
  "io.modelcontextprotocol/clientInfo": { name: "ollm-dashboard", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

/**
 * A call that failed. `refused`: the session has ended; `offline`: no answer from the daemon; `aborted`: by the page;
 * `failed`: the daemon's own error, with its next steps.
 */
export class CallError extends Error {
  readonly kind: "refused" | "offline" | "aborted" | "failed";
  readonly next: ErrorData["next"];

  constructor(kind: CallError["kind"], message: string, next: ErrorData["next"] = []) {
    super(message);
    this.name = "CallError";
    this.kind = kind;
    this.next = next;
  }
}

/** An error with what to do about it. */
export function errorText(error: unknown): string {
  const text = messageOf(error);
  const next = error instanceof CallError ? renderSteps(error.next, commandSteps) : "";
  return next === "" ? text : `${text}${/[.!?]$/.test(text) ? "" : "."} ${next}`;
}

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly message: string }) => void;
  /** Called with the answer's text and the model's thinking so far, while they are written. */
  readonly onText?: (text: string, thinking: string) => void;
  /**
   * The user has agreed in the page, or is asked the tool's question by this: that is the answer. Without agreement the call
   * rejects as `aborted`.
   */
  readonly isConfirmed?: boolean | ((question: string) => Promise<boolean>);
}

interface ClientParts {
  readonly fetch: typeof fetch;
  readonly entry: () => Promise<Entry>;
  /** Called when the bearer was refused: it is of another listener, or the session has ended. */
  readonly doubt: () => void;
  /** Called when the session has ended. */
  readonly onRefused: () => void;
}

interface McpRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal?: AbortSignal;
}

type Data = Readonly<Record<string, unknown>>;
type Query = `${string}{?${string}}`;
type Variable<Uri> = Uri extends Query ? string : Uri extends `${string}{${infer Name}}` ? Name : never;
type Variables<Uri> = [Variable<Uri>] extends [never] ? [] : [variables: Readonly<Record<Variable<Uri>, string>>];

export function createMcpClient({ fetch, entry, doubt, onRefused }: ClientParts) {
  let lastId = 0;

  async function request(method: string, name: string, params: object, options: CallOptions): Promise<Data> {
    const { signal } = options;
    lastId += 1;
    const id = lastId;
    const meta = {
      ...identity,
      ...(options.isConfirmed !== undefined && { "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } }),
      [errorKey]: true,
      // A call without progress that takes long is answered with a job.
      progressToken: id,
      // The whole answer; assistants get a leaner one.
      "ollm/details": true,
      ...(options.onText !== undefined && { "ollm/stream": true }),
    };
    try {
      const sent: McpRequest = {
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "mcp-protocol-version": revision,
          "mcp-method": method,
          "mcp-name": name,
        },
        body: JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta: meta } }),
        ...(signal && { signal }),
      };
      let response = await send(sent);
      if (response.status === 401) {
        // Nothing was done. The daemon may have been replaced; or the session has ended, which the handshake shows.
        doubt();
        response = await send(sent);
      }
      return await answerOf(response, id, options);
    } catch (error) {
      if (error instanceof CallError) throw error;
      if (signal?.aborted === true) throw new CallError("aborted", "Cancelled.");
      throw new CallError("offline", "The daemon did not answer. It may be restarting: try again.");
    }
  }

  async function send({ headers, ...rest }: McpRequest): Promise<Response> {
    const entered = await entry();
    if (entered.kind === "bearer") {
      const authorization = `Bearer ${entered.bearer}`;
      return fetch("/mcp", { method: "POST", headers: { ...headers, authorization }, ...rest });
    }
    if (entered.kind === "foreign") throw new CallError("offline", `${foreignText} Run ollm dashboard.`);
    if (entered.kind === "offline") throw new Error("offline");
    onRefused();
    throw new CallError("refused", "The session has ended.");
  }

  return {
    /** The structured answer of a tool. Rejects with `CallError`. An abort closes the request, which cancels the call. */
    async callTool<Name extends ToolName>(
      name: Name,
      input: ToolInputs[Name],
      options: CallOptions = {},
    ): Promise<ToolAnswers[Name]> {
      const call = { name, arguments: input };
      const first = await request("tools/call", name, call, options);
      const { isConfirmed = false } = options;
      const agreed = isConfirmed === false ? undefined : agreement(first);
      if (agreed !== undefined && typeof isConfirmed === "function" && !(await isConfirmed(agreed.question))) {
        throw new CallError("aborted", "not changed: you did not agree");
      }
      const result =
        agreed === undefined ? first : await request("tools/call", name, { ...call, ...agreed.answer }, options);
      if (result["isError"] === true) throw failureOf(result);
      const { structuredContent } = result;
      if (typeof structuredContent !== "object" || structuredContent === null) {
        throw new CallError("failed", `${name} gave no data`);
      }
      return structuredContent as ToolAnswers[Name];
    },

    /**
     * The data of a resource: `ollm://models`, `ollm://models/{name}` with its variable, `ollm://requests{?...}` with those of
     * its query that are given. Rejects with `CallError`.
     */
    async readResource<Uri extends keyof ResourceData>(
      uri: Uri,
      ...[variables]: Variables<Uri>
    ): Promise<ResourceData[Uri]> {
      const values: Readonly<Record<string, string>> = variables ?? {};
      const filled = uri
        .replace(/\{\?[\w,]+\}$/, () => `?${new URLSearchParams(values)}`)
        .replace(/\{(\w+)\}$/, (_all, name: string) => encodeURIComponent(values[name] ?? ""));
      const { contents } = await request("resources/read", filled, { uri: filled }, {});
      const [first] = (contents ?? []) as readonly { readonly text?: string }[];
      return JSON.parse(first?.text ?? "null") as ResourceData[Uri];
    },
  };
}

/** The result in a response, which is JSON or a stream that ends with it. */
async function answerOf(response: Response, id: number, { onProgress, onText }: CallOptions): Promise<Data> {
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (!isStream || response.body === null) return resultIn((await response.json()) as Data);
  let [text, thinking] = ["", ""];
  for await (const { data } of eventsOf(response.body)) {
    const received = JSON.parse(data) as Data;
    if (received["id"] === id) return resultIn(received);
    if (received["method"] !== "notifications/progress") continue;
    const { message, _meta = {} } = received["params"] as { readonly message: string; readonly _meta?: Data };
    onProgress?.({ message });
    if (_meta["ollm/reset"] === true) [text, thinking] = ["", ""];
    text += (_meta["ollm/text"] as string | undefined) ?? "";
    thinking += (_meta["ollm/thinking"] as string | undefined) ?? "";
    onText?.(text, thinking);
  }
  throw new CallError("offline", "The connection broke before the answer. The daemon may be restarting: try again.");
}

/** The questions of a result, and the answers that agree to them; undefined for one without. */
function agreement({ inputRequests, requestState }: Data) {
  if (typeof inputRequests !== "object" || inputRequests === null) return undefined;
  const asked = Object.entries(inputRequests as Record<string, { readonly params?: { readonly message?: string } }>);
  const yes = { action: "accept", content: { confirm: true } };
  return {
    question: asked.map(([, { params }]) => params?.message ?? "").join(" "),
    answer: { inputResponses: Object.fromEntries(asked.map(([key]) => [key, yes])), ...defined({ requestState }) },
  };
}

function resultIn(message: Data): Data {
  const { result, error } = message as {
    readonly result?: Data;
    readonly error?: { readonly message?: string; readonly data?: unknown };
  };
  if (result !== undefined) return result;
  const known = errorDataIn(error?.data);
  throw new CallError("failed", known?.message ?? error?.message ?? "The daemon gave no answer.", known?.next);
}

function failureOf(result: Data): CallError {
  const known = errorDataIn(result["_meta"]);
  if (known !== undefined) return new CallError("failed", known.message, known.next);
  const [first] = (result["content"] ?? []) as readonly { readonly text?: string }[];
  return new CallError("failed", first?.text ?? "The call failed.");
}

/** The events of a body, until it ends. Rejects when its connection breaks. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<EventSourceMessage> {
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => void events.push(event) });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* events.splice(0);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
