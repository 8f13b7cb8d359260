/**
 * A view's side of MCP Apps (revision 2026-01-26): JSON-RPC with the host by postMessage. By hand, because the protocol's
 * own package is ten times the view.
 */
import { type ComponentChildren, type ComponentType, h, render } from "preact";
import { useState } from "preact/hooks";
import { visibleText } from "./format.ts";

/** A tool's answer, as the host passes it on; nothing of it is known to be so. */
interface ToolResult {
  readonly content?: readonly { readonly type: string; readonly text?: string }[];
  readonly structuredContent?: unknown;
  readonly isError?: boolean;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

/** What the host has said so far. */
export interface ViewState {
  /** The call's arguments. */
  readonly input?: Readonly<Record<string, unknown>>;
  readonly result?: ToolResult;
  /** The data of `result`: the whole where the server sent it beside what the assistant gets. */
  readonly data?: unknown;
  /** Why there will be no result. */
  readonly ended?: string;
  /** The host passes calls of the view on to the server. */
  readonly canCall: boolean;
}

export interface ViewHost {
  /** Calls a tool of this server. Rejects with an error to show: a failed tool's text, or what the host says. */
  callTool(name: string, input: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** The whole answer of a model in a comparison. Rejects if the host reads no resources. */
  readAnswer(uri: string, model: string): Promise<string>;
  /** Text for the assistant's next turn, if the host takes any. */
  tellAssistant(text: string): void;
}

interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message?: unknown };
}

/** A host that is busy with its user may take long; a call that loads a model, too. */
const answerLimitMs = 180_000;

/** Renders `View` into the page with every change, and keeps the host informed of its size. */
export function showView(name: string, View: ComponentType<{ state: ViewState; host: ViewHost }>): void {
  new Connection(name, (state, host) => render(h(View, { state, host }), document.body)).open();
}

class Connection implements ViewHost {
  readonly #name: string;
  readonly #show: (state: ViewState, host: ViewHost) => void;
  readonly #waiting = new Map<number, (answer: Message) => void>();
  #state: ViewState = { canCall: false };
  #takesContext = false;
  #lastId = 0;
  #size = "";

  constructor(name: string, show: (state: ViewState, host: ViewHost) => void) {
    this.#name = name;
    this.#show = show;
  }

  open(): void {
    this.#change({});
    if (window.parent === window) {
      this.#change({ ended: "This page is shown by assistants that support MCP Apps." });
      return;
    }
    // Only the host's frame is heard: a view may be surrounded by others.
    addEventListener("message", ({ source, data }: MessageEvent<unknown>) => {
      if (source === window.parent && isMessage(data)) this.#hear(data);
    });
    this.#greet().catch((error: unknown) => this.#change({ ended: messageOf(error) }));
  }

  async callTool(name: string, input: Readonly<Record<string, unknown>>): Promise<unknown> {
    const result = (await this.#request("tools/call", { name, arguments: input })) as ToolResult;
    if (result.isError === true) throw new Error(textOf(result) || `${name} failed`);
    return dataOf(result);
  }

  async readAnswer(uri: string, model: string): Promise<string> {
    const { contents } = await this.#request("resources/read", { uri });
    const [first] = contents as readonly { readonly text: string }[];
    const { results } = JSON.parse(first?.text ?? "") as {
      readonly results: readonly { model: string; text: string }[];
    };
    return results.find((each) => each.model === model)?.text ?? "";
  }

  tellAssistant(text: string): void {
    if (!this.#takesContext) return;
    // A host that refuses has lost a remark: the pick itself is done.
    this.#request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => undefined);
  }

  async #greet(): Promise<void> {
    const { hostCapabilities = {}, hostContext } = await this.#request("ui/initialize", {
      appInfo: { name: this.#name, version: "1" },
      appCapabilities: {},
      protocolVersion: "2026-01-26",
    });
    const can = hostCapabilities as Readonly<Record<string, unknown>>;
    this.#takesContext = can["updateModelContext"] !== undefined;
    this.#dress(hostContext);
    this.#change({ canCall: can["serverTools"] !== undefined });
    this.#notify("ui/notifications/initialized", {});
    new ResizeObserver(() => this.#tellSize()).observe(document.body);
  }

  #hear(message: Message): void {
    const { id, method, params = {} } = message;
    if (method === undefined) {
      this.#waiting.get(Number(id))?.(message);
      return;
    }
    if (id === undefined) this.#heed(method, params);
    else if (method === "ping" || method === "ui/resource-teardown") this.#post({ id, result: {} });
    else this.#post({ id, error: { code: -32601, message: "Method not found" } });
  }

  #heed(method: string, params: Readonly<Record<string, unknown>>): void {
    switch (method) {
      case "ui/notifications/tool-input":
      case "ui/notifications/tool-input-partial":
        return this.#change({ input: (params["arguments"] ?? {}) as Readonly<Record<string, unknown>> });
      case "ui/notifications/tool-result":
        return this.#change({ result: params, data: dataOf(params) });
      case "ui/notifications/tool-cancelled":
        return this.#change({ ended: `The call was cancelled${because(params["reason"])}.` });
      case "ui/notifications/host-context-changed":
        return this.#dress(params);
    }
  }

  /** Takes over the host's theme and its style variables. The page's policy lets no style in but by this way. */
  #dress(context: unknown): void {
    const { theme, styles } = (context ?? {}) as {
      readonly theme?: unknown;
      readonly styles?: { readonly variables?: Readonly<Record<string, unknown>> };
    };
    const { style } = document.documentElement;
    if (theme === "light" || theme === "dark") style.colorScheme = theme;
    for (const [name, value] of Object.entries(styles?.variables ?? {})) {
      if (name.startsWith("--") && typeof value === "string") style.setProperty(name, value);
    }
  }

  #tellSize(): void {
    const { width, height } = document.body.getBoundingClientRect();
    const size = { width: Math.ceil(width), height: Math.ceil(height) };
    const said = `${size.width} ${size.height}`;
    if (said === this.#size) return;
    this.#size = said;
    this.#notify("ui/notifications/size-changed", size);
  }

  #change(change: Partial<ViewState>): void {
    this.#state = { ...this.#state, ...change };
    this.#show(this.#state, this);
  }

  #request(method: string, params: object): Promise<Readonly<Record<string, unknown>>> {
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error("The assistant does not respond."));
      }, answerLimitMs);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(limit);
        this.#waiting.delete(id);
        if (result === undefined) reject(new Error(messageOf(error)));
        else resolve(result);
      });
      this.#post({ id, method, params });
    });
  }

  #notify(method: string, params: object): void {
    this.#post({ method, params });
  }

  #post(message: object): void {
    // A host's origin can't be known, and the view has no secret: it says what its user did.
    window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  }
}

function isMessage(data: unknown): data is Message {
  return typeof data === "object" && data !== null && "jsonrpc" in data && data.jsonrpc === "2.0";
}

function because(reason: unknown): string {
  return typeof reason === "string" && reason !== "" ? `: ${reason}` : "";
}

/** The text of an error of the host, of a tool, or of this page. */
function messageOf(error: unknown): string {
  const message = typeof error === "object" && error !== null && "message" in error ? error.message : undefined;
  return typeof message === "string" && message !== "" ? message : "The assistant reported an error.";
}

function dataOf({ _meta, structuredContent }: ToolResult): unknown {
  return _meta?.["ollm/details"] ?? structuredContent;
}

/** The text blocks of a tool's answer. */
function textOf({ content = [] }: ToolResult): string {
  return content.map(({ text }) => text ?? "").join("\n");
}

/**
 * Actions of buttons, one at a time: what makes such a button, whether one runs, and what went wrong with the last one, as an
 * element to show. `label`: for screen readers, in place of the title.
 */
export function useBusy() {
  const [isBusy, setBusy] = useState(false);
  const [text, setText] = useState<string>();
  const attempt = async (action: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setText(undefined);
    try {
      await action();
    } catch (error) {
      setText(messageOf(error));
    } finally {
      setBusy(false);
    }
  };
  const problem = <p role="alert">{text !== undefined && <span class="problem">{visibleText(text)}</span>}</p>;
  const button = (title: string, action: () => Promise<void>, label?: string) => (
    <button type="button" disabled={isBusy} aria-label={label} onClick={() => void attempt(action)}>
      {title}
    </button>
  );
  return { isBusy, problem, button };
}

/** What stands there while, or if, there is no answer that the view can show. */
export function Waiting(props: {
  readonly result: ToolResult | undefined;
  readonly ended: string | undefined;
  readonly children: ComponentChildren;
}) {
  const { result, ended, children } = props;
  if (result !== undefined) {
    const text = visibleText(textOf(result)) || "The assistant passed on nothing of the answer.";
    return <p class={result.isError === true ? "problem" : "plain"}>{text}</p>;
  }
  return <p role="status">{ended === undefined ? children : visibleText(ended)}</p>;
}

export function Notices({ lines }: { readonly lines: readonly string[] }) {
  if (lines.length === 0) return null;
  return (
    <ul class="notices">
      {lines.map((line) => (
        <li key={line}>{visibleText(line)}</li>
      ))}
    </ul>
  );
}
