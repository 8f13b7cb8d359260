import type { ToolCall } from "../../orchestrator/api/chat.ts";
import type { GenerateResult } from "../../orchestrator/api/facade.ts";
import { type AnswerWriter, type DoorFailure, eventOf, newId } from "./door.ts";
import { errorBody, thoughtTokens } from "./openai-chat.ts";

/** A tool under the name that the model calls it by, as the program knows it. */
export interface KnownTool {
  readonly kind: "function" | "custom";
  readonly name: string;
  readonly namespace?: string;
}

type Kind = "text" | "thinking";

/** The events of the Responses API; a whole answer is what they add up to. */
export class ResponseWriter implements AnswerWriter {
  readonly keepAlive = ": still working\n\n";
  readonly #asked: Readonly<Record<string, unknown>>;
  readonly #tools: ReadonlyMap<string, KnownTool>;
  readonly #id = newId("resp_");
  readonly #createdAt = Math.floor(Date.now() / 1_000);
  #model: string;
  #sequence = 0;
  readonly #output: object[] = [];
  #open: { readonly kind: Kind; readonly id: string; text: string } | undefined;

  /** `asked` is the request as it was sent: a response repeats it. */
  constructor(asked: object, model: string, tools: ReadonlyMap<string, KnownTool>) {
    this.#asked = asked as Readonly<Record<string, unknown>>;
    this.#model = model;
    this.#tools = tools;
  }

  begin(model: string): string {
    if (model !== "") this.#model = model;
    const response = this.#response("in_progress");
    return this.#event("response.created", { response }) + this.#event("response.in_progress", { response });
  }

  delta(kind: Kind, delta: string): string {
    const begun = this.#open?.kind === kind ? "" : this.#close() + this.#begin(kind);
    const open = this.#open;
    if (open === undefined) return begun;
    open.text += delta;
    return (
      begun + this.#event(`${names[kind]}.delta`, { ...this.#place(open), delta, ...(kind === "text" && noLogprobs) })
    );
  }

  end(result: GenerateResult): string {
    this.#model = result.model;
    const { toolCalls = [], finishReason } = result;
    const isEmpty = this.#output.length === 0 && this.#open === undefined && toolCalls.length === 0;
    const said = (isEmpty ? this.#begin("text") : "") + this.#close();
    const calls = toolCalls.map((call) => this.#call(call)).join("");
    const isWhole = finishReason === "stop" || toolCalls.length > 0;
    const response = this.#response(isWhole ? "completed" : "incomplete", {
      usage: usageOf(result),
      ...(!isWhole && { incomplete_details: { reason: "max_output_tokens" } }),
    });
    return said + calls + this.#event(isWhole ? "response.completed" : "response.incomplete", { response });
  }

  /** Some clients read the one, some the other. */
  failed(failure: DoorFailure): string {
    const { error } = errorBody(failure);
    const { code, message, param } = error;
    const response = this.#response("failed", { error: { code, message } });
    return this.#event("response.failed", { response }) + this.#event("error", { code, message, param, error });
  }

  whole(result: GenerateResult): object {
    if (result.thinking !== undefined && result.thinking !== "") this.delta("thinking", result.thinking);
    if (result.text !== "") this.delta("text", result.text);
    const [last = ""] = this.end(result).split("\n").slice(-3);
    return (JSON.parse(last.slice("data: ".length)) as { readonly response: object }).response;
  }

  #begin(kind: Kind): string {
    const open = { kind, id: newId(kind === "text" ? "msg_" : "rs_"), text: "" };
    this.#open = open;
    const item = this.#event("response.output_item.added", {
      output_index: this.#output.length,
      item: itemOf(open, "in_progress"),
    });
    const part = kind === "text" ? "response.content_part.added" : "response.reasoning_summary_part.added";
    return item + this.#event(part, { ...this.#place(open), part: partOf(open) });
  }

  #close(): string {
    const open = this.#open;
    if (open === undefined) return "";
    this.#open = undefined;
    const { kind, text } = open;
    const place = this.#place(open);
    const item = itemOf(open, "completed");
    const part = kind === "text" ? "response.content_part.done" : "response.reasoning_summary_part.done";
    const done =
      this.#event(`${names[kind]}.done`, { ...place, text, ...(kind === "text" && noLogprobs) }) +
      this.#event(part, { ...place, part: partOf(open) });
    return done + this.#done(item);
  }

  #done(item: object): string {
    const event = this.#event("response.output_item.done", { output_index: this.#output.length, item });
    this.#output.push(item);
    return event;
  }

  #place({ kind, id }: { readonly kind: Kind; readonly id: string }): object {
    const at = kind === "text" ? { content_index: 0 } : { summary_index: 0 };
    return { item_id: id, output_index: this.#output.length, ...at };
  }

  #call({ id: call_id, name: flat, arguments: json }: ToolCall): string {
    const { kind, name, namespace } = this.#tools.get(flat) ?? { kind: "function", name: flat };
    const isCustom = kind === "custom";
    const field = isCustom ? "input" : "arguments";
    const value = isCustom ? inputIn(json) : json;
    const item = {
      type: isCustom ? "custom_tool_call" : "function_call",
      id: newId(isCustom ? "ctc_" : "fc_"),
      call_id,
      name,
      ...(namespace !== undefined && { namespace }),
    };
    const output_index = this.#output.length;
    const place = { item_id: item.id, output_index };
    const event = isCustom ? "response.custom_tool_call_input" : "response.function_call_arguments";
    const added = { ...item, status: "in_progress", [field]: "" };
    return (
      this.#event("response.output_item.added", { output_index, item: added }) +
      this.#event(`${event}.delta`, { ...place, delta: value }) +
      this.#event(`${event}.done`, { ...place, name, [field]: value }) +
      this.#done({ ...item, status: "completed", [field]: value })
    );
  }

  #response(status: string, more: object = {}): object {
    const { instructions, max_output_tokens, metadata, reasoning, temperature, text, tool_choice, tools, top_p } =
      this.#asked;
    return {
      id: this.#id,
      object: "response",
      created_at: this.#createdAt,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      instructions: instructions ?? null,
      max_output_tokens: max_output_tokens ?? null,
      metadata: metadata ?? {},
      model: this.#model,
      output: [...this.#output],
      parallel_tool_calls: this.#asked["parallel_tool_calls"] ?? true,
      previous_response_id: null,
      reasoning: reasoning ?? { effort: null, summary: null },
      store: false,
      temperature: temperature ?? null,
      text: text ?? { format: { type: "text" } },
      tool_choice: tool_choice ?? "auto",
      tools: tools ?? [],
      top_p: top_p ?? null,
      truncation: "disabled",
      usage: null,
      ...more,
    };
  }

  #event(type: string, fields: object): string {
    return eventOf(type, { sequence_number: this.#sequence++, ...fields });
  }
}

const names: Readonly<Record<Kind, string>> = {
  text: "response.output_text",
  thinking: "response.reasoning_summary_text",
};
const noLogprobs = { logprobs: [] };

const partOf = ({ kind, text }: { readonly kind: Kind; readonly text: string }) =>
  kind === "text" ? { type: "output_text", text, annotations: [], ...noLogprobs } : { type: "summary_text", text };

function itemOf(open: { readonly kind: Kind; readonly id: string; readonly text: string }, status: string): object {
  const parts = status === "completed" ? [partOf(open)] : [];
  if (open.kind === "thinking") return { type: "reasoning", id: open.id, summary: parts };
  return { type: "message", id: open.id, status, role: "assistant", content: parts };
}

/** The only argument of a tool that takes any text. */
function inputIn(json: string): string {
  const { input } = JSON.parse(json) as { readonly input?: unknown };
  return typeof input === "string" ? input : json;
}

function usageOf(result: GenerateResult): object {
  const { promptTokens: input_tokens = 0, completionTokens: output_tokens, cachedPromptTokens } = result;
  return {
    input_tokens,
    // Unknown, unless the engine tells; clients read a number within.
    input_tokens_details: cachedPromptTokens === undefined ? null : { cached_tokens: cachedPromptTokens },
    output_tokens,
    output_tokens_details: { reasoning_tokens: thoughtTokens(result) },
    total_tokens: input_tokens + output_tokens,
  };
}
