import type { ChatMessage, ToolUse } from "../../api/chat.ts";
import { samplingArguments, samplingInput } from "../../api/sampling.ts";
import type { JsonSchema } from "../../api/types.ts";
import { type GenerationRequest, firstTokens } from "../generation.ts";
import { argumentsIn } from "../tool-calls.ts";
import type { OpenAiOptions } from "./server.ts";

/** Names of parameters that a model refuses. */
export type Refused = ReadonlySet<string>;

/** What an assistant thought: DeepSeek's and Kimi's thinking models refuse calls that come back without it. */
export const thoughtField = "reasoning_content";

/** Without these an answer is still one to the same request; without the others, such as the limit, it is not. */
export const dispensable: ReadonlySet<string> = new Set([
  "max_tokens",
  ...Object.keys(samplingInput(true)),
  "top_k",
  "seed",
  "frequency_penalty",
  "presence_penalty",
  "stream_options",
  "reasoning_effort",
  "logprobs",
  "top_logprobs",
  "chat_template_kwargs",
  "parallel_tool_calls",
  thoughtField,
]);

interface ChatOptions {
  readonly serverKind: OpenAiOptions["serverKind"];
  readonly refused: Refused;
  readonly isLlama?: boolean;
  /** Schema of a required call, which the answer is to be. */
  readonly form?: JsonSchema | undefined;
}

/**
 * The body of a chat request, without the parameters that the model refuses. `max_tokens` becomes
 * `max_completion_tokens` where it is refused: OpenAI's newer models take that alone. `top_k` and template arguments are
 * sent to own servers (llama-server, vLLM, LM Studio) only: clouds refuse them.
 */
export function chatBody(request: GenerationRequest, { serverKind, isLlama, refused, form }: ChatOptions): object {
  const { sampling, maxTokens } = request;
  const format = form ?? request.format;
  const limit = refused.has("max_tokens") ? "max_completion_tokens" : "max_tokens";
  const isCloud = serverKind === "cloud";
  const asksForJson = format !== "json" || request.messages.some(({ content }) => /json/i.test(content));
  const body: Readonly<Record<string, unknown>> = {
    model: request.model,
    // Clouds refuse a request for JSON in which the word doesn't occur.
    messages: [
      ...(asksForJson ? [] : [{ role: "system", content: "Answer in JSON." }]),
      ...request.messages.map((each) => message(each, isCloud, refused)),
    ],
    stream: true,
    stream_options: { include_usage: true },
    [limit]: request.isUnlimited ? undefined : maxTokens,
    ...samplingArguments(sampling),
    top_k: isCloud ? undefined : sampling.topK,
    seed: sampling.seed,
    stop: sampling.stop,
    // With its last event it then says which of them it was.
    ...(isLlama === true && sampling.stop !== undefined && { verbose: true, response_fields: ["stopping_word"] }),
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    ...(request.choices && { logprobs: true, top_logprobs: firstTokens }),
    response_format: responseFormat(format),
    ...toolUse(request, isCloud, form !== undefined),
    ...thinking(request.think, isCloud),
  };
  return Object.fromEntries(Object.entries(body).filter(([name, value]) => value !== undefined && !refused.has(name)));
}

/**
 * Some own servers take no tool's name as the choice: that tool alone is given, and required. In a form all are given, so
 * that the beginning of the prompt stays the same.
 */
function toolUse({ tools = [], toolChoice, singleCall }: ToolUse, isCloud: boolean, hasForm: boolean) {
  if (tools.length === 0) return {};
  const name = typeof toolChoice === "object" ? toolChoice.name : undefined;
  const onlyIt = name !== undefined && !isCloud && !hasForm;
  return {
    tools: (onlyIt ? tools.filter((tool) => tool.name === name) : tools).map((tool) => ({
      type: "function",
      function: tool,
    })),
    tool_choice: name === undefined ? toolChoice : isCloud ? { type: "function", function: { name } } : "required",
    // Some own servers allow one call alone unless they are told.
    parallel_tool_calls: isCloud && singleCall !== true ? undefined : singleCall !== true,
  };
}

/**
 * Clouds take `reasoning_effort`; of own servers the chat template decides, whose usual switches are `enable_thinking`
 * (Qwen, GLM, DeepSeek) and `reasoning_effort` (gpt-oss).
 */
function thinking(think: GenerationRequest["think"], isCloud: boolean): Readonly<Record<string, unknown>> {
  if (think === undefined) return {};
  const level = typeof think === "string" ? think : undefined;
  if (isCloud) return think === true ? {} : { reasoning_effort: level ?? "none" };
  const effort = level === undefined ? {} : { reasoning_effort: level };
  return { chat_template_kwargs: { enable_thinking: think !== false, ...effort } };
}

function responseFormat(format: GenerationRequest["format"]): object | undefined {
  if (format === undefined) return undefined;
  if (format === "json") return { type: "json_object" };
  return { type: "json_schema", json_schema: { name: "answer", schema: format, strict: isStrict(format) } };
}

/** Whether OpenAI would take it as strict: every object is closed, and all of its properties are required. */
function isStrict(schema: unknown): boolean {
  if (typeof schema !== "object" || schema === null) return true;
  if (Array.isArray(schema)) return schema.every(isStrict);
  const { properties, required, additionalProperties } = schema as JsonSchema;
  if (typeof properties === "object" && properties !== null) {
    const names = Object.keys(properties);
    const isClosed = additionalProperties === false && Array.isArray(required);
    if (!isClosed || !names.every((name) => required.includes(name))) return false;
  }
  return Object.values(schema).every(isStrict);
}

function message(
  { role, content, images = [], audio = [], thinking: thought, toolCalls = [], toolCallId, toolName }: ChatMessage,
  isCloud: boolean,
  refused: Refused,
): object {
  const parts = [
    ...images.map((image) => ({
      type: "image_url",
      image_url: { url: `data:${mediaType(image)};base64,${image}` },
    })),
    ...audio.map((recording) => ({ type: "input_audio", input_audio: recording })),
  ];
  const isTold = thought !== undefined && (!isCloud || toolCalls.length > 0) && !refused.has(thoughtField);
  return {
    role,
    content: parts.length === 0 ? content : [{ type: "text", text: content }, ...parts],
    ...(isTold && { [thoughtField]: thought }),
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
        id,
        type: "function",
        function: { name, arguments: isCloud ? json : JSON.stringify(argumentsIn(json)) },
      })),
    }),
    ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
    // For templates of own servers.
    ...(toolName !== undefined && !isCloud && { name: toolName }),
  };
}

/** From the first bytes, in base64. */
function mediaType(image: string): string {
  if (image.startsWith("iVBOR")) return "image/png";
  if (image.startsWith("R0lG")) return "image/gif";
  return image.startsWith("UklG") ? "image/webp" : "image/jpeg";
}
