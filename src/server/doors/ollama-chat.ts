/** Conversations and prompts of Ollama's API: their bodies, and the lines of their answers. */
import * as z from "zod";
import type { ChatMessage, ToolCall } from "../../orchestrator/api/chat.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { GenerateRequest, GenerateResult } from "../../orchestrator/api/facade.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { ThinkLevel } from "../../orchestrator/api/types.ts";
import { defined, isRecord, parseJson } from "../../orchestrator/util/values.ts";
import { parseKeepAlive } from "../../orchestrator/util/ollama-host.ts";
import { type AnswerWriter, type DoorChat, may, chatOf, functionTool, parsed, unread } from "./door.ts";

const flag = may(z.boolean());
const text = may(z.string());
/** Base64; a data: URL is accepted, too. */
const images = may(
  z.array(
    z
      .string()
      .transform((image) => image.replace(/^data:[^,]*;base64,/, ""))
      .refine((image) => /^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(image), "no base64"),
  ),
);

const message = z.object({
  role: z.enum(["system", "user", "assistant", "tool"]),
  content: text,
  images,
  thinking: text,
  tool_calls: may(
    z.array(
      z.object({
        id: text,
        function: z.object({
          name: z.string(),
          arguments: may(z.union([z.record(z.string(), z.unknown()), z.string()])),
        }),
      }),
    ),
  ),
  tool_name: text,
  tool_call_id: text,
});

const tool = z.object({ type: text, function: functionTool });

const number = may(z.number());

/** What is read of `options`; all others are named in the answer's header `ollm-ignored`. */
const knownOptions = z.object({
  temperature: number,
  top_p: number,
  top_k: number,
  seed: number,
  stop: may(z.union([z.array(z.string()), z.string().transform((one) => [one])])),
  num_predict: number,
  num_ctx: number,
  frequency_penalty: number,
  presence_penalty: number,
});

/** What every request that loads a model may say. */
export const loading = { model: z.string().min(1), keep_alive: may(z.union([z.number(), z.string()])) };

const common = {
  ...loading,
  stream: flag,
  format: z.unknown().optional(),
  think: may(z.union([z.boolean(), z.string()])),
  options: may(z.record(z.string(), z.unknown())),
  logprobs: flag,
};

const chatBody = z.object({ ...common, messages: may(z.array(message)), tools: may(z.array(tool)) });

const promptBody = z.object({
  ...common,
  prompt: text,
  system: text,
  template: text,
  suffix: text,
  raw: flag,
  images,
  context: may(z.array(z.unknown())),
});

/** A request without a prompt: the model is loaded, or with a keep-alive of 0 unloaded. */
export type BareRequest = ReturnType<typeof bareOf>;

type ReadRequest = { readonly chat: DoorChat } | { readonly bare: BareRequest };

const emptyMessage = { message: { role: "assistant", content: "" } };

/** `POST /api/chat` */
export function readChat(body: unknown): ReadRequest {
  const read = parsed(chatBody, body);
  const { messages = [], tools = [] } = read;
  if (messages.length === 0) return { bare: bareOf(read, emptyMessage) };
  const writer = writerOf(read.model, (part, delta, calls) => ({
    message: {
      role: "assistant",
      content: part === "text" ? delta : "",
      ...(part === "thinking" && { thinking: delta }),
      ...(calls && { tool_calls: calls }),
    },
  }));
  const chat = {
    messages: withCallIds(messages),
    ...(tools.length > 0 && { tools: tools.map((each) => each.function) }),
  };
  return { chat: conversation(read, chat, writer) };
}

/** `POST /api/generate` */
export function readPrompt(body: unknown): ReadRequest {
  const read = parsed(promptBody, body);
  const { prompt = "", system = "", template = "", suffix = "", raw = false, images: pictures = [] } = read;
  if (raw) throw unsupported("raw", "prompts always pass the model's own template");
  if (template !== "") throw unsupported("template", "the model's own template is used");
  if (suffix !== "") throw unsupported("suffix", "text is not inserted here");
  if (prompt === "") return { bare: bareOf(read, { response: "" }) };
  const writer = writerOf(read.model, (part, delta) => ({
    response: part === "text" ? delta : "",
    ...(part === "thinking" && { thinking: delta }),
  }));
  const messages: ChatMessage[] = [
    ...(system === "" ? [] : [{ role: "system", content: system } as const]),
    { role: "user", content: prompt, ...(pictures.length > 0 && { images: pictures }) },
  ];
  return { chat: conversation(read, { messages }, writer, read.context === undefined ? [] : ["context"]) };
}

function unsupported(field: string, why: string): InvalidRequest {
  return new InvalidRequest(`${field} is not supported: ${why}`, { next: advice(`leave out ${field}`) });
}

type Common = Pick<z.output<typeof chatBody>, keyof typeof common>;

/** `part` is the answer's own: `response`, or `message`. */
function bareOf({ model, keep_alive: keep, ...read }: Common, part: object) {
  const { contextTokens } = optionsOf(read.options);
  return { model, part, ...defined({ contextTokens, keepAliveSeconds: secondsOf(keep) }) };
}

function conversation(
  read: Common,
  chat: Parameters<typeof chatOf>[0],
  writer: AnswerWriter,
  ignored: readonly string[] = [],
) {
  if (read.logprobs === true) throw unsupported("logprobs", "probabilities of tokens are not told");
  const { maxTokens, contextTokens, ...options } = optionsOf(read.options);
  return chatOf(chat, options, {
    model: read.model,
    isStream: read.stream ?? true,
    writer,
    ignored: [...ignored, ...unread(read.options ?? {}, knownOptions).map((name) => `options.${name}`)],
    request: defined({
      maxTokens,
      contextTokens,
      format: formatOf(read.format),
      think: thinkOf(read.think),
      keepAliveSeconds: secondsOf(read.keep_alive),
    }),
  });
}

function optionsOf(given: Record<string, unknown> = {}) {
  const read = parsed(z.object({ options: knownOptions }), { options: given }).options;
  const { num_predict: predict, num_ctx: context, ...rest } = read;
  const positive = (tokens: number | undefined) =>
    tokens === undefined || tokens < 0 ? undefined : Math.max(1, Math.floor(tokens));
  // To Ollama -1 is "until the model ends", and -2 "until the context is full".
  return { ...rest, maxTokens: positive(predict), contextTokens: positive(context) };
}

function formatOf(format: unknown): GenerateRequest["format"] {
  if (format === undefined || format === null || format === "") return undefined;
  if (format === "json") return "json";
  if (isRecord(format)) return format;
  throw new InvalidRequest(`invalid format: ${JSON.stringify(format)?.slice(0, 80)}; expected "json" or a JSON schema`);
}

const thinkLevels: Readonly<Record<string, ThinkLevel>> = {
  low: "low",
  medium: "medium",
  high: "high",
  // Models know three levels.
  max: "high",
  true: true,
  false: false,
};

function thinkOf(think: boolean | string | undefined): ThinkLevel | undefined {
  if (think === undefined || think === "") return undefined;
  const level = thinkLevels[String(think)];
  if (level !== undefined) return level;
  throw new InvalidRequest(
    `invalid think value: ${JSON.stringify(think).slice(0, 80)} (true, false, low, medium or high)`,
  );
}

/** Seconds, or a duration as Go writes it (`1h30m`); -1: for ever. Throws `InvalidRequest`. */
function secondsOf(keep: number | string | undefined): number | undefined {
  if (keep === undefined || keep === "") return undefined;
  // To Ollama a text needs a unit, but for 0.
  const isBare = typeof keep === "string" && /^[+-]?(?!0$)[\d.]+$/.test(keep.trim());
  const seconds = isBare ? undefined : parseKeepAlive(keep);
  if (seconds !== undefined) return seconds;
  throw new InvalidRequest(
    `keep_alive: ${JSON.stringify(keep).slice(0, 42)} is no duration such as "10m", and no number of seconds`,
  );
}

/** Ollama's results of tools name no call: each answers the first open one, of its tool if it names that. */
function withCallIds(messages: readonly z.output<typeof message>[]): readonly ChatMessage[] {
  let made = 0;
  let open: ToolCall[] = [];
  return messages.map(({ role, content = "", images: pictures, thinking, ...read }): ChatMessage => {
    const base = { role, content, ...(pictures?.length && { images: pictures }), ...defined({ thinking }) };
    if (role === "assistant" && read.tool_calls?.length) {
      open = read.tool_calls.map(({ id = `call_${made++}`, function: { name, arguments: given = {} } }) => ({
        id,
        name,
        arguments: typeof given === "string" ? given : JSON.stringify(given),
      }));
      return { ...base, toolCalls: open };
    }
    if (role !== "tool") return base;
    const { tool_call_id: id, tool_name: name } = read;
    const call =
      open.find((each) => each.id === id) ??
      (id === undefined ? (open.find((each) => each.name === name) ?? open[0]) : undefined);
    open = open.filter((each) => each !== call);
    return { ...base, ...defined({ toolCallId: id ?? call?.id, toolName: name ?? call?.name }) };
  });
}

type Line = (part: "text" | "thinking", delta: string, calls?: readonly object[]) => object;

/** Ollama's lines: one for each piece, and a last one with counts and times. */
function writerOf(asked: string, lineOf: Line): AnswerWriter {
  let answering = asked;
  /** A model's own name is told as it was asked for. */
  const answeredBy = (model: string): void => {
    if (model !== "" && asked.startsWith("ollm/")) answering = model;
  };
  const head = (): object => ({ model: answering, created_at: new Date().toISOString() });
  const write = (line: object): string => `${JSON.stringify({ ...head(), ...line })}\n`;
  const piece = (...said: Parameters<Line>): string => write({ ...lineOf(...said), done: false });
  return {
    begin: (model) => {
      answeredBy(model);
      return "";
    },
    delta: (part, delta) => piece(part, delta),
    end: (result) => {
      const calls = callsOf(result);
      return (calls === undefined ? "" : piece("text", "", calls)) + write({ ...lineOf("text", ""), ...endOf(result) });
    },
    failed: ({ message: error }) => `${JSON.stringify({ error })}\n`,
    /** No blank line: Python's client reads each as JSON. */
    get keepAlive() {
      return piece("text", "");
    },
    whole: (result) => {
      answeredBy(result.model);
      const { text: answer, thinking } = result;
      const thought = thinking === undefined ? {} : lineOf("thinking", thinking);
      return { ...head(), ...merged(thought, lineOf("text", answer, callsOf(result))), ...endOf(result) };
    },
  };
}

/** `second` over `first`, and so their messages. */
function merged(first: object, second: object): object {
  const [one, other] = [first, second].map((line) => (line as { readonly message?: object }).message);
  return { ...first, ...second, ...(one && other && { message: { ...one, ...other } }) };
}

function callsOf({ toolCalls = [] }: GenerateResult): readonly object[] | undefined {
  if (toolCalls.length === 0) return undefined;
  return toolCalls.map(({ id, name, arguments: given }, index) => ({
    id,
    function: { index, name, arguments: parseJson(given) },
  }));
}

function endOf({ finishReason, timing, totalMs, tokensPerSecond, ...result }: GenerateResult): object {
  const { promptTokens = 0, completionTokens } = result;
  const loadMs = timing.queueMs + timing.loadMs;
  const decodeMs = tokensPerSecond > 0 ? (completionTokens * 1_000) / tokensPerSecond : 0;
  return {
    done: true,
    done_reason: finishReason === "stop" ? "stop" : "length",
    total_duration: nanoseconds(totalMs),
    load_duration: nanoseconds(loadMs),
    prompt_eval_count: promptTokens,
    prompt_eval_duration: nanoseconds(totalMs - loadMs - decodeMs),
    eval_count: completionTokens,
    eval_duration: nanoseconds(decodeMs),
  };
}

export function nanoseconds(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds * 1e6));
}
