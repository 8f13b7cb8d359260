import * as z from "zod";
import type { ChatMessage, ToolChoice, ToolDefinition, ToolUse } from "../../orchestrator/api/chat.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { GenerateResult } from "../../orchestrator/api/facade.ts";
import type { ThinkLevel } from "../../orchestrator/api/types.ts";
import { defined } from "../../orchestrator/util/values.ts";
import {
  type AnswerWriter,
  type DoorChat,
  type DoorFailure,
  base64,
  chatOf,
  functionTool,
  may,
  newId,
  parsed,
  schemaObject,
  typeOf,
  unread,
} from "./door.ts";

/** A field that can't be had; what means "no" is accepted. */
export const refused = (why: string, isNo: (given: unknown) => boolean = (given) => given === false) =>
  may(z.unknown().refine(isNo, { error: why }));

const isEmpty = (given: unknown) => typeof given === "object" && given !== null && Object.keys(given).length === 0;
const image = z
  .string("send the image as a data: URL, in base64: files of a service are not known here")
  .refine((url) => !/^https?:/i.test(url), "nothing is fetched here: send the image as a data: URL, in base64")
  .transform((url, { addIssue }) => {
    const [, data] = /^data:(?:image\/[\w.+-]+)?;base64,([\w+/-]+={0,2})$/i.exec(url.trim()) ?? [];
    if (data === undefined) addIssue("must be a data: URL of an image, in base64: data:image/png;base64,...");
    return data ?? "";
  });

const text = ["text", "input_text", "output_text", "summary_text", "reasoning_text"] as const;
const part = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.enum(text), text: z.string() }),
    z.object({ type: z.literal("refusal"), refusal: z.string() }),
    z.object({ type: z.literal("image_url"), image_url: z.object({ url: image }) }),
    z.object({ type: z.literal("input_image"), image_url: image }),
    z.object({
      type: z.literal("input_audio"),
      input_audio: z.object({ data: base64, format: z.enum(["wav", "mp3"]) }),
    }),
  ],
  { error: ({ input }) => `a part of type ${typeOf(input)} can't be read here: send text, images or recordings` },
);

/** Text, or parts of text, images and recordings. */
export const content = z
  .preprocess(
    (given) => (typeof given === "string" ? [{ type: "text", text: given }] : (given ?? [])),
    z.array(part, "must be a text, or a list of parts"),
  )
  .transform((parts): Pick<ChatMessage, "content" | "images" | "audio"> => {
    const texts = parts.flatMap((each) => ("text" in each ? each.text : "refusal" in each ? each.refusal : []));
    const images = parts.flatMap((each) =>
      each.type === "image_url" ? each.image_url.url : each.type === "input_image" ? each.image_url : [],
    );
    const audio = parts.flatMap((each) => (each.type === "input_audio" ? each.input_audio : []));
    return {
      content: texts.join("\n"),
      ...(images.length > 0 && { images }),
      ...(audio.length > 0 && { audio }),
    };
  });

const called = z.object({ name: z.string().min(1), arguments: z.string().transform((json) => json || "{}") });
const toolCall = z.object({
  id: z.string().min(1),
  type: z.literal("function", "only calls of functions are known here").nullish(),
  function: called,
});
const noFunctions = "functions and their calls are known as tools here: send tools, tool_choice and tool_calls";

const message = z.discriminatedUnion(
  "role",
  [
    z.object({ role: z.enum(["system", "developer", "user"]), content }),
    z.object({
      role: z.literal("assistant"),
      content,
      refusal: may(z.string()),
      reasoning_content: may(z.string()),
      tool_calls: may(z.array(toolCall)),
      function_call: refused(noFunctions),
    }),
    z.object({ role: z.literal("tool"), tool_call_id: z.string().min(1), content }),
  ],
  { error: ({ input }) => roleError((input as { readonly role?: unknown } | null)?.role) },
);

function roleError(role: unknown): string {
  if (role === "function") return noFunctions;
  return `role must be system, developer, user, assistant or tool, not ${JSON.stringify(role ?? null)}`;
}

const tool = z.object({
  type: z.literal("function", "only functions can be called here"),
  function: functionTool,
});

const named = z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) });
const choice = z.union(
  [
    z.enum(["none", "auto", "required"]),
    named,
    z.object({
      type: z.literal("allowed_tools"),
      allowed_tools: z.object({ mode: z.enum(["auto", "required"]), tools: z.array(named) }),
    }),
  ],
  { error: "must be none, auto, required, a function or allowed_tools with functions" },
);

const efforts: Readonly<Record<string, ThinkLevel>> = {
  none: false,
  minimal: "low",
  low: "low",
  medium: "medium",
  high: "high",
  xhigh: "high",
};
export const effort = may(z.enum(Object.keys(efforts))).transform((given) =>
  given === undefined ? undefined : efforts[given],
);

export const limit = may(z.int().min(1));
const penalty = may(z.number().min(-2).max(2));
const noLogprobs = "the likelihoods of tokens can't be had here: leave it out";

/** What both APIs have under the same name. */
export const common = {
  model: z.string().min(1),
  stream: may(z.boolean()),
  temperature: may(z.number().min(0).max(2)),
  top_p: may(z.number().min(0).max(1)),
  parallel_tool_calls: may(z.boolean()),
  top_logprobs: refused(noLogprobs, (given) => given === 0),
};

const body = z.object({
  ...common,
  messages: z.array(message).min(1),
  stream_options: may(z.object({ include_usage: may(z.boolean()) })),
  max_tokens: limit,
  max_completion_tokens: limit,
  top_k: may(z.int().min(0)),
  seed: may(z.int()),
  frequency_penalty: penalty,
  presence_penalty: penalty,
  stop: may(z.preprocess((given) => (typeof given === "string" ? [given] : given), z.array(z.string().min(1)))),
  response_format: may(
    z.discriminatedUnion("type", [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("json_object") }),
      z.object({ type: z.literal("json_schema"), json_schema: z.object({ schema: may(schemaObject) }) }),
    ]),
  ),
  tools: may(z.array(tool)),
  tool_choice: may(choice),
  reasoning_effort: effort,
  cache_prompt: may(z.boolean()),
  n: refused("one answer is given to a request: send n: 1, or several requests", (given) => given === 1),
  logprobs: refused(noLogprobs),
  logit_bias: refused("the likelihoods of tokens can't be changed here: leave it out", isEmpty),
  functions: refused(noFunctions, isEmpty),
  function_call: refused(noFunctions),
  modalities: refused("only text is answered: leave it out", (given) => JSON.stringify(given) === '["text"]'),
  audio: refused("only text is answered: leave it out"),
  web_search_options: refused("nothing is searched for here: leave it out, or send a tool that your program runs"),
});
type Body = z.output<typeof body>;

export function readChat(given: unknown): DoorChat {
  const read = parsed(body, given);
  const { model, stream, tools: defs = [], response_format: form } = read;
  const names = new Map<string, string>();
  const messages = read.messages.map((each) => messageOf(each, names));
  const tools = defs.map((each) => each.function);
  const format = form?.type === "json_schema" ? (form.json_schema.schema ?? "json") : form?.type;
  const use = toolUse(tools, choiceOf(read.tool_choice), read.parallel_tool_calls);
  return chatOf({ messages, ...use }, read, {
    model,
    isStream: stream === true,
    ignored: unread(given as object, body),
    writer: chatWriter(model, read.stream_options?.include_usage === true),
    request: defined({
      format: format === "text" ? undefined : format === "json_object" ? "json" : format,
      maxTokens: read.max_completion_tokens ?? read.max_tokens,
      think: read.reasoning_effort,
      cachePrompt: read.cache_prompt,
    }),
  });
}

/** A choice as both APIs may state it: a word, a name, or some of the tools. */
type Choice = ToolChoice | { readonly mode: "auto" | "required"; readonly allowed: readonly string[] } | undefined;

/** Throws `InvalidRequest` for a choice of a tool that the request doesn't have. */
export function toolUse(all: readonly ToolDefinition[], given: Choice, isParallel: boolean | undefined): ToolUse {
  const asked = typeof given !== "object" ? [] : "name" in given ? [given.name] : given.allowed;
  const unknown = asked.find((name) => all.every((each) => each.name !== name));
  if (unknown !== undefined) throw new InvalidRequest(`tool_choice: tools has no function ${JSON.stringify(unknown)}`);
  const isSome = typeof given === "object" && "allowed" in given;
  const tools = isSome ? all.filter(({ name }) => given.allowed.includes(name)) : all;
  if (tools.length === 0 && given === "required") throw new InvalidRequest("tool_choice: required, but tools is empty");
  if (tools.length === 0) return {};
  const toolChoice = isSome ? given.mode : given;
  return { tools, ...defined({ toolChoice }), ...(isParallel === false && { singleCall: true }) };
}

function choiceOf(given: Body["tool_choice"]): Choice {
  if (typeof given !== "object") return given;
  if (given.type === "function") return { name: given.function.name };
  const { mode, tools } = given.allowed_tools;
  return { mode, allowed: tools.map(({ function: { name } }) => name) };
}

/** `names` are those of the tools by the ids of their calls. */
function messageOf(given: Body["messages"][number], names: Map<string, string>): ChatMessage {
  if (given.role === "tool") {
    const { tool_call_id: toolCallId, content: said } = given;
    return { role: "tool", ...said, toolCallId, ...defined({ toolName: names.get(toolCallId) }) };
  }
  if (given.role !== "assistant") return { role: given.role === "developer" ? "system" : given.role, ...given.content };
  const { content: said, refusal, reasoning_content: thinking, tool_calls: calls = [] } = given;
  for (const call of calls) names.set(call.id, call.function.name);
  return {
    role: "assistant",
    ...said,
    ...(said.content === "" && refusal !== undefined && { content: refusal }),
    ...defined({ thinking }),
    ...(calls.length > 0 && { toolCalls: calls.map(({ id, function: call }) => ({ id, ...call })) }),
  };
}

function chatWriter(asked: string, hasUsage: boolean): AnswerWriter {
  const head = { id: newId("chatcmpl-"), created: Math.floor(Date.now() / 1_000) };
  /** The beginning of each chunk. */
  let start = "";
  const name = (model: string): void => {
    start = JSON.stringify({ ...head, object: "chat.completion.chunk", model }).slice(0, -1);
  };
  const chunk = (rest: object): string => `data: ${start},${JSON.stringify(rest).slice(1)}\n\n`;
  const piece = (delta: object, finish: string | null = null): string => {
    const choices = [{ index: 0, delta, logprobs: null, finish_reason: finish }];
    return chunk({ choices, ...(hasUsage && { usage: null }) });
  };
  return {
    keepAlive: ": still working\n\n",
    begin: (model) => {
      name(model === "" ? asked : model);
      return piece({ role: "assistant", content: "" });
    },
    delta: (kind, delta) => piece(kind === "text" ? { content: delta } : { reasoning_content: delta }),
    end: (result) => {
      name(result.model);
      const tool_calls = callsOf(result)?.map((call, index) => ({ index, ...call }));
      return [
        tool_calls === undefined ? "" : piece({ tool_calls }),
        piece({}, finishOf(result)),
        hasUsage ? chunk({ choices: [], usage: usageOf(result) }) : "",
        "data: [DONE]\n\n",
      ].join("");
    },
    failed: (failure) => `data: ${JSON.stringify(errorBody(failure))}\n\n`,
    whole: (result) => {
      const { text: said, thinking, model } = result;
      const calls = callsOf(result);
      const answer = {
        role: "assistant",
        content: said === "" && calls !== undefined ? null : said,
        refusal: null,
        ...defined({ reasoning_content: thinking, tool_calls: calls }),
      };
      const choices = [{ index: 0, message: answer, logprobs: null, finish_reason: finishOf(result) }];
      return { ...head, object: "chat.completion", model, choices, usage: usageOf(result) };
    },
  };
}

function callsOf({ toolCalls }: GenerateResult) {
  if (toolCalls === undefined || toolCalls.length === 0) return undefined;
  return toolCalls.map(({ id, name, arguments: json }) => ({
    id,
    type: "function",
    function: { name, arguments: json },
  }));
}

function finishOf({ toolCalls = [], finishReason }: GenerateResult): string {
  if (toolCalls.length > 0) return "tool_calls";
  return finishReason === "stop" ? "stop" : "length";
}

function usageOf(result: GenerateResult) {
  const { promptTokens: prompt_tokens = 0, completionTokens: completion_tokens, cachedPromptTokens } = result;
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    ...(cachedPromptTokens !== undefined && { prompt_tokens_details: { cached_tokens: cachedPromptTokens } }),
    completion_tokens_details: { reasoning_tokens: thoughtTokens(result) },
  };
}

/** Engines count both together: thoughts have the share that their characters have. */
export function thoughtTokens({ thinking = "", text: said, toolCalls = [], completionTokens }: GenerateResult): number {
  const calls = toolCalls.reduce((sum, call) => sum + call.name.length + call.arguments.length, 0);
  const share = thinking.length / Math.max(1, thinking.length + said.length + calls);
  return Math.round(completionTokens * share);
}

const errorKinds: Readonly<Record<string, { readonly type: string; readonly code: string; readonly param?: string }>> =
  {
    unauthorized: { type: "invalid_request_error", code: "invalid_api_key" },
    unknown_model: { type: "invalid_request_error", code: "model_not_found", param: "model" },
    prompt_too_long: { type: "invalid_request_error", code: "context_length_exceeded", param: "messages" },
    queue_full: { type: "rate_limit_error", code: "rate_limit_exceeded" },
    budget_exceeded: { type: "insufficient_quota", code: "insufficient_quota" },
    privacy_locked: { type: "permission_error", code: "privacy_locked" },
    forbidden: { type: "permission_error", code: "forbidden" },
  };

/** An error as the official clients read it. */
export function errorBody({ status, message: because, code, tokens }: DoorFailure) {
  const kind = errorKinds[code] ?? { type: status < 500 ? "invalid_request_error" : "server_error", code };
  const start =
    tokens &&
    `This model's maximum context length is ${tokens.window} tokens. However, your messages resulted in ${tokens.prompt} tokens: `;
  return { error: { message: `${start ?? ""}${because}`, param: null, ...kind } };
}
