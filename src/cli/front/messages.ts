import { type ErrorData, errorKey } from "../../next-steps/render.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { isRecord, jsonIn } from "../../orchestrator/util/values.ts";
import { toolFacts } from "../../tools/facts.ts";

/** A JSON-RPC id. */
export type MessageId = string | number;

/** What the relay reads of a line; the rest is passed on unread. */
export type Message =
  | { readonly kind: "request"; readonly id: MessageId; readonly method: string }
  | { readonly kind: "notification"; readonly method: string }
  | { readonly kind: "answer"; readonly id: MessageId; readonly isError: boolean }
  | { readonly kind: "other" };

type Params = Readonly<Record<string, unknown>>;

/** Longer than what stands before and behind the contents of a message. */
const edgeBytes = 192;
const idPattern = String.raw`(-?(?:0|[1-9]\d{0,14})|"[ !#-\[\]-~]{0,100}")`;
/** Version, id, and the method or what else makes a message, at the start of a line. */
const headPattern = new RegExp(
  String.raw`^\{("jsonrpc":"2\.0",)?(?:"id":${idPattern},)?"(?:method":"([\w/.-]{1,64})"|(result|error)":)`,
);
/** Version and id at the end. What closes the line closes the message, so they are the message's own. */
const tailPattern = new RegExp(
  String.raw`,(?:("jsonrpc":"2\.0")(?:,"id":${idPattern})?|"id":${idPattern}(,"jsonrpc":"2\.0")?)\}\s*$`,
);

/**
 * Reads the edges of a line, where nearly all programs write what the relay needs to know; the whole line where they
 * don't suffice. Never throws. Returns `undefined` for text that isn't JSON as far as it was read, `other` for JSON that
 * isn't a message.
 */
export function readMessage(line: Buffer): Message | undefined {
  const head = headPattern.exec(line.toString("latin1", 0, edgeBytes));
  const tail = head && tailPattern.exec(line.toString("latin1", Math.max(0, line.length - edgeBytes)));
  if (head === null || (head[1] ?? tail?.[1] ?? tail?.[4]) === undefined)
    return messageOf(jsonIn(line.toString("utf8")));
  const id = tail?.[2] ?? tail?.[3] ?? head[2];
  const [, , , method, outcome] = head;
  if (id !== undefined) {
    const value = JSON.parse(id) as MessageId;
    if (method !== undefined) return { kind: "request", id: value, method };
    return { kind: "answer", id: value, isError: outcome === "error" };
  }
  // Others may have an id that neither edge shows.
  return method?.startsWith("notifications/")
    ? { kind: "notification", method }
    : messageOf(jsonIn(line.toString("utf8")));
}

function messageOf(value: unknown): Message | undefined {
  if (value === undefined) return undefined;
  if (!isRecord(value) || value["jsonrpc"] !== "2.0") return { kind: "other" };
  const { id, method } = value;
  if (typeof method === "string") {
    if (isId(id)) return { kind: "request", id, method };
    return "id" in value ? { kind: "other" } : { kind: "notification", method };
  }
  if (isId(id) && ("result" in value || "error" in value)) return { kind: "answer", id, isError: "error" in value };
  return { kind: "other" };
}

/** The parameters of a message; undefined if the line isn't JSON. */
export function readParams(line: Buffer): Params | undefined {
  const value = jsonIn(line.toString("utf8"));
  if (!isRecord(value)) return undefined;
  return isRecord(value["params"]) ? value["params"] : {};
}

/** A request whose line is read when its parameters are needed. */
export interface KeptRequest {
  readonly id: MessageId;
  readonly method: string;
  /** Absent if there was no room to keep it; then its parameters are. */
  readonly line?: Buffer;
  readonly params?: Params | undefined;
}

/** Undefined for a line that isn't JSON between its edges, which a daemon leaves unanswered. */
export function paramsOf({ line, params }: Pick<KeptRequest, "line" | "params">): Params | undefined {
  return line === undefined ? params : readParams(line);
}

/** The same message with another id. */
export function withId(line: Buffer, id: MessageId): string {
  return `${JSON.stringify({ ...(jsonIn(line.toString("utf8")) as object | undefined), id })}\n`;
}

/** A key that differs for `1` and `"1"`. */
export function idKey(id: MessageId): string {
  return JSON.stringify(id);
}

export function isId(value: unknown): value is MessageId {
  return typeof value === "string" || typeof value === "number";
}

/** Why a request was not answered by a daemon. */
export interface Failure extends ErrorData {
  /** Message and next steps as text, in the terms of tools; `delegation` for calls that hand work to a local model. */
  readonly texts: { readonly client: string; readonly delegation: string };
  /** The client accepts errors as data, although not every request can say so. */
  readonly isAlwaysData?: boolean | undefined;
}

/** The error answer to a request that no daemon answered; with the error as data if the request asks for it. */
export function failureLine(request: KeptRequest, failure: Failure): string {
  const { id, method } = request;
  const params = paramsOf(request) ?? {};
  const { message, next, texts, isAlwaysData } = failure;
  const text = texts[method === "tools/call" && factsOf(params)?.delegates === true ? "delegation" : "client"];
  const isDataWanted = isAlwaysData === true || (isRecord(params["_meta"]) && params["_meta"][errorKey] === true);
  const data = { retryable: true, ...(isDataWanted && { [errorKey]: { message, next } satisfies ErrorData }) };
  return errorLine(id, -32000, text, data);
}

export function errorLine(id: MessageId, code: number, message: string, data?: object): string {
  return `${JSON.stringify({ jsonrpc: "2.0", id, error: { code, message, data } })}\n`;
}

export function cancelledLine(requestId: MessageId, reason: unknown): string {
  const params = { requestId, ...(typeof reason === "string" && { reason }) };
  return `${JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params })}\n`;
}

/** Methods that can be repeated without harm. */
export const repeatable: ReadonlySet<string> = new Set(
  (
    "initialize ping server/discover tools/list resources/list resources/templates/list resources/read " +
    "resources/subscribe resources/unsubscribe prompts/list prompts/get completion/complete " +
    "logging/setLevel subscriptions/listen tasks/get"
  ).split(" "),
);

/** The failure of a request whose daemon ended before it answered. */
export function interrupted({ method, ...request }: Omit<KeptRequest, "id">): Failure {
  const params = paramsOf(request) ?? {};
  const message = "the ollm daemon was restarted during this call; its answer is lost";
  const check = method === "tools/call" && typeof params["name"] === "string" ? checkBeforeRetry(params) : undefined;
  // Worded here: the tables of all steps are longer than the rest of the front.
  const said = check === undefined ? "Call again" : `${check.charAt(0).toUpperCase()}${check.slice(1)}`;
  const texts = { client: `${message}. ${said}.`, delegation: `${message}. ${said}, or do the task yourself.` };
  return { message, next: [check === undefined ? { step: "retry" } : advice(check)], texts };
}

/** Actions of tools that only read. */
const safeActions: readonly unknown[] = ["show", "list", "detect"];

/** What to check before the call of a tool is repeated; undefined if it can be repeated at once. */
function checkBeforeRetry(params: Params): string | undefined {
  const input = isRecord(params["arguments"]) ? params["arguments"] : {};
  const file = input["output_path"];
  if (typeof file === "string") return `check whether ${JSON.stringify(file)} was written before trying again`;
  const facts = factsOf(params) ?? { check: "check what was done" };
  if (facts.check === undefined || safeActions.includes(input["action"])) return undefined;
  return `${facts.check} before trying again`;
}

/** What is known of the tool that a call names. */
function factsOf({ name }: Params): ReturnType<typeof toolFacts.get> {
  return typeof name === "string" ? toolFacts.get(name) : undefined;
}
