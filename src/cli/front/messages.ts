/** An id as JSON-RPC has it. */
export type MessageId = string | number;

/** What the relay needs to know of a line; everything else travels unread. */
export type Message =
  | { readonly kind: "request"; readonly id: MessageId; readonly method: string; readonly params: Params }
  | { readonly kind: "notification"; readonly method: string; readonly params: Params }
  | { readonly kind: "answer"; readonly id: MessageId; readonly isError: boolean; readonly body: object }
  | { readonly kind: "other" };

export type Params = Readonly<Record<string, unknown>>;

/** Never throws: `undefined` is no JSON, `other` is JSON that the owner may judge. */
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

/** What a caller is told of a call that died with its owner. */
export function interruptedText(method: string, params: Params): string {
  const tool = typeof params["name"] === "string" && method === "tools/call" ? params["name"] : undefined;
  const next =
    tool === "manage_model"
      ? "Look with list_models at what was done, then call again if it is missing."
      : "Calling again is safe.";
  return `The ollm owner was restarted while ${tool ?? method} was under way, and its answer is lost. ${next}`;
}
