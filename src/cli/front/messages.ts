import { isDelegation } from "../../next-steps/delegation.ts";
import { errorKey, type ErrorData } from "../../next-steps/error-data.ts";
import { advice } from "../../orchestrator/api/next-step.ts";

/** A JSON-RPC id. */
export type MessageId = string | number;

/** What the relay reads of a line; the rest is passed on unread. */
export type Message =
  | Request
  | { readonly kind: "notification"; readonly method: string; readonly params: Params }
  | { readonly kind: "answer"; readonly id: MessageId; readonly isError: boolean; readonly body: object }
  | { readonly kind: "other" };

export interface Request {
  readonly kind: "request";
  readonly id: MessageId;
  readonly method: string;
  readonly params: Params;
}

export type Params = Readonly<Record<string, unknown>>;

/** Never throws. Returns `undefined` for text that isn't JSON, `other` for JSON that isn't a message. */
export function readMessage(text: string): Message | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value["jsonrpc"] !== "2.0") return { kind: "other" };
  const { id, method } = value;
  const params = isObject(value["params"]) ? value["params"] : {};
  if (typeof method === "string") {
    if (isId(id)) return { kind: "request", id, method, params };
    return "id" in value ? { kind: "other" } : { kind: "notification", method, params };
  }
  if (isId(id) && ("result" in value || "error" in value)) {
    return { kind: "answer", id, isError: "error" in value, body: value };
  }
  return { kind: "other" };
}

/** A key that differs for `1` and `"1"`. */
export function idKey(id: MessageId): string {
  return JSON.stringify(id);
}

export function isId(value: unknown): value is MessageId {
  return typeof value === "string" || typeof value === "number";
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Why a request was not answered by a daemon. */
export interface Failure extends ErrorData {
  /** Message and next steps as text, in the terms of tools; `delegation` for calls that hand work to a local model. */
  readonly texts: { readonly client: string; readonly delegation: string };
  /** The client accepts errors as data, although not every request can say so. */
  readonly isAlwaysData?: boolean | undefined;
}

/** The error answer to a request that no daemon answered; with the error as data if the request asks for it. */
export function failureLine(
  { id, method, params }: Pick<Request, "id" | "method" | "params">,
  failure: Failure,
): string {
  const { message, next, texts, isAlwaysData } = failure;
  const text = texts[method === "tools/call" && isDelegation(params["name"]) ? "delegation" : "client"];
  const isDataWanted = isAlwaysData === true || (isObject(params["_meta"]) && params["_meta"][errorKey] === true);
  const data = { retryable: true, ...(isDataWanted && { [errorKey]: { message, next } satisfies ErrorData }) };
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32000, message: text, data } });
}

/** Methods that can be repeated without harm. */
export const repeatable: ReadonlySet<string> = new Set([
  "initialize",
  "ping",
  "server/discover",
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "prompts/list",
  "prompts/get",
  "completion/complete",
  "logging/setLevel",
  "subscriptions/listen",
  "tasks/get",
]);

/** The failure of a request whose daemon ended before it answered. */
export function interrupted({ method, params }: Pick<Request, "method" | "params">): Failure {
  const tool = typeof params["name"] === "string" && method === "tools/call" ? params["name"] : undefined;
  const message = "the ollm daemon was restarted during this call; its answer is lost";
  const check = checkBeforeRetry(tool, params);
  // Worded here: the tables of all steps are longer than the rest of the front.
  const said = check === undefined ? "Call again" : `${check.charAt(0).toUpperCase()}${check.slice(1)}`;
  const texts = { client: `${message}. ${said}.`, delegation: `${message}. ${said}, or do the task yourself.` };
  return { message, next: [check === undefined ? { step: "retry" } : advice(check)], texts };
}

/**
 * Tools whose second call changes nothing: the model is loaded already, the pull continues, the value is the same. The
 * same holds for generations that write no file.
 */
const safeTools: ReadonlySet<string | undefined> = new Set([
  undefined,
  "compare",
  "forget",
  "job",
  "list_models",
  "list_templates",
  "pull_model",
  "recall",
  "remember",
  "render_template",
  "route_and_generate",
  "smart_load",
  "system_status",
  "transfer_memories",
  "update_config",
]);
/** Actions of the other tools that only read. */
const safeActions: readonly unknown[] = ["show", "list", "detect"];

/** What to check before the call is repeated; undefined if it can be repeated at once. */
function checkBeforeRetry(tool: string | undefined, params: Params): string | undefined {
  const input = isObject(params["arguments"]) ? params["arguments"] : {};
  const file = input["output_path"];
  if (tool === "route_and_generate" && typeof file === "string") {
    return `check whether ${JSON.stringify(file)} was written before trying again`;
  }
  if (safeTools.has(tool) || safeActions.includes(input["action"])) return undefined;
  return tool === "manage_model"
    ? "check the list of models before trying again"
    : "check what was done before trying again";
}
