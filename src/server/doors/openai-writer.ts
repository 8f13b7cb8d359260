import type { ToolCall } from "../../orchestrator/api/chat.ts";
import type { GenerateResult } from "../../orchestrator/api/facade.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { type AnswerWriter, eventOf, newId } from "./door.ts";
import { errorBody, thoughtTokens } from "./openai-chat.ts";

/** A tool under the name that the model calls it by, as the program knows it. */
export interface KnownTool {
  readonly kind: "function" | "custom";
  readonly name: string;
  readonly namespace?: string;
}

type Kind = "text" | "thinking";
/** An item of the output that the model is at. */
interface Item {
  readonly kind: Kind;
  readonly id: string;
  text: string;
}

/** What a response repeats of its request, and what it says where that has nothing. */
const repeated = {
  instructions: null,
  max_output_tokens: null,
  metadata: {},
  parallel_tool_calls: true,
  reasoning: { effort: null, summary: null },
  temperature: null,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_p: null,
};

/** The events of the Responses API; a whole answer is what they add up to. A response repeats what was `asked`. */
export function responseWriter(
  asked: Readonly<Record<string, unknown>>,
  named: string,
  tools: ReadonlyMap<string, KnownTool>,
): AnswerWriter {
  const head = {
    id: newId("resp_"),
    object: "response",
    created_at: Math.floor(Date.now() / 1_000),
    ...Object.fromEntries(Object.entries(repeated).map(([key, value]) => [key, asked[key] ?? value])),
    background: false,
    previous_response_id: null,
    store: false,
    truncation: "disabled",
  };
  let model = named;
  let sequence = 0;
  const output: object[] = [];
  let open: Item | undefined;
  const event = (type: string, what: object): string => eventOf(type, { sequence_number: sequence++, ...what });
  const response = (status: string, more: object = {}): object => {
    const unknown = { error: null, incomplete_details: null, usage: null };
    return { ...head, status, model, output: [...output], ...unknown, ...more };
  };
  const ofOutput = (end: "added" | "done", item: object): string =>
    event(`response.output_item.${end}`, { output_index: output.length, item });
  const done = (item: object): string => {
    const told = ofOutput("done", item);
    output.push(item);
    return told;
  };
  const ofItem = (name: "text" | "part", end: string, { kind, id }: Item, what: object): string =>
    event(`response.${names[kind][name]}.${end}`, {
      item_id: id,
      output_index: output.length,
      [kind === "text" ? "content_index" : "summary_index"]: 0,
      ...what,
      ...(name === "text" && kind === "text" && noLogprobs),
    });
  const begin = (kind: Kind): string => {
    open = { kind, id: newId(kind === "text" ? "msg_" : "rs_"), text: "" };
    return ofOutput("added", itemOf(open, "in_progress")) + ofItem("part", "added", open, { part: partOf(open) });
  };
  const close = (): string => {
    const closed = open;
    if (closed === undefined) return "";
    open = undefined;
    const { text } = closed;
    return (
      ofItem("text", "done", closed, { text }) +
      ofItem("part", "done", closed, { part: partOf(closed) }) +
      done(itemOf(closed, "completed"))
    );
  };
  const called = (call: ToolCall): string => {
    const { item, field, value, type } = itemOfCall(call, tools);
    const place = { item_id: item.id, output_index: output.length };
    return (
      ofOutput("added", { ...item, status: "in_progress", [field]: "" }) +
      event(`${type}.delta`, { ...place, delta: value }) +
      event(`${type}.done`, { ...place, name: item.name, [field]: value }) +
      done({ ...item, status: "completed", [field]: value })
    );
  };
  const delta = (kind: Kind, text: string): string => {
    const begun = open?.kind === kind ? "" : close() + begin(kind);
    if (open === undefined) return begun;
    open.text += text;
    return begun + ofItem("text", "delta", open, { delta: text });
  };
  const end = (result: GenerateResult): string => {
    ({ model } = result);
    const { toolCalls = [], finishReason } = result;
    const isEmpty = output.length === 0 && open === undefined && toolCalls.length === 0;
    const said = (isEmpty ? begin("text") : "") + close() + toolCalls.map((call) => called(call)).join("");
    const isWhole = finishReason === "stop" || toolCalls.length > 0;
    const status = isWhole ? "completed" : "incomplete";
    const why = isWhole ? {} : { incomplete_details: { reason: "max_output_tokens" } };
    return said + event(`response.${status}`, { response: response(status, { usage: usageOf(result), ...why }) });
  };
  return {
    keepAlive: ": still working\n\n",
    begin: (answering) => {
      if (answering !== "") model = answering;
      const begun = { response: response("in_progress") };
      return event("response.created", begun) + event("response.in_progress", begun);
    },
    delta,
    end,
    /** Some clients read the one, some the other. */
    failed: (failure) => {
      const { error } = errorBody(failure);
      const { code, message, param } = error;
      const failed = response("failed", { error: { code, message } });
      return event("response.failed", { response: failed }) + event("error", { code, message, param, error });
    },
    whole: (result) => {
      if (result.thinking !== undefined && result.thinking !== "") delta("thinking", result.thinking);
      if (result.text !== "") delta("text", result.text);
      const [last = ""] = end(result).split("\n").slice(-3);
      return (JSON.parse(last.slice("data: ".length)) as { readonly response: object }).response;
    },
  };
}

const names: Readonly<Record<Kind, Readonly<Record<"text" | "part", string>>>> = {
  text: { text: "output_text", part: "content_part" },
  thinking: { text: "reasoning_summary_text", part: "reasoning_summary_part" },
};
const noLogprobs = { logprobs: [] };

const partOf = ({ kind, text }: Readonly<Item>) =>
  kind === "text" ? { type: "output_text", text, annotations: [], ...noLogprobs } : { type: "summary_text", text };

function itemOf(open: Readonly<Item>, status: string): object {
  const parts = status === "completed" ? [partOf(open)] : [];
  if (open.kind === "thinking") return { type: "reasoning", id: open.id, summary: parts };
  return { type: "message", id: open.id, status, role: "assistant", content: parts };
}

function itemOfCall({ id: call_id, name: flat, arguments: json }: ToolCall, tools: ReadonlyMap<string, KnownTool>) {
  const { kind, name, namespace } = tools.get(flat) ?? { kind: "function", name: flat };
  const more = { call_id, name, ...defined({ namespace }) };
  return kind === "custom"
    ? {
        item: { type: "custom_tool_call", id: newId("ctc_"), ...more },
        type: "response.custom_tool_call_input",
        field: "input",
        value: inputIn(json),
      }
    : {
        item: { type: "function_call", id: newId("fc_"), ...more },
        type: "response.function_call_arguments",
        field: "arguments",
        value: json,
      };
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
