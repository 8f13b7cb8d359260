/** An id as JSON-RPC has it. */
export type MessageId = string | number;

/** What the relay needs to know of a line; everything else travels unread. */
export type Message =
  | { readonly kind: "request"; readonly id: MessageId; readonly method: string; readonly params: Params }
  | { readonly kind: "notification"; readonly method: string; readonly params: Params }
  | { readonly kind: "answer"; readonly id: MessageId; readonly isError: boolean; readonly body: object }
  | { readonly kind: "other" };

export type Params = Readonly<Record<string, unknown>>;

/** Never throws: `undefined` is no JSON, `other` is JSON that the daemon may judge. */
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

/** Tells `1` from `"1"`. */
export function idKey(id: MessageId): string {
  return JSON.stringify(id);
}

export function isId(value: unknown): value is MessageId {
  return typeof value === "string" || typeof value === "number";
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A line with an error that the caller may simply try again; `message` says what to do. */
export function retryableError(id: MessageId, message: string): string {
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32000, message, data: { retryable: true } } });
}

/** Methods that do no harm when they are asked twice. */
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

/** What a caller is told of a call that died with its daemon. */
export function interruptedText(method: string, params: Params): string {
  const tool = typeof params["name"] === "string" && method === "tools/call" ? params["name"] : undefined;
  return `The ollm daemon was restarted while ${tool ?? method} was under way, and its answer is lost. ${next(tool, params)}`;
}

/**
 * These change nothing more when they are asked twice: a load finds its model loaded, a pull goes on where it was, what
 * is remembered or set has its value already. Nor do generations, unless they write a file.
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
/** Of the other tools: they look only. */
const safeActions: readonly unknown[] = ["show", "list", "detect"];

function next(tool: string | undefined, params: Params): string {
  const input = isObject(params["arguments"]) ? params["arguments"] : {};
  const file = input["output_path"];
  if (tool === "route_and_generate" && typeof file === "string") {
    return `${JSON.stringify(file)} may have been written: look, and call again if it is missing.`;
  }
  if (safeTools.has(tool) || safeActions.includes(input["action"])) return "Calling again is safe.";
  return tool === "manage_model"
    ? "Look with list_models at what was done, then call again if it is missing."
    : "Look at what was done before you call again.";
}
