import type { ChatMessage } from "../../api/chat.ts";
import { samplingArguments } from "../../api/sampling.ts";
import type { JsonSchema } from "../../api/types.ts";
import type { ChatRequest, ChatResponse } from "ollama/browser";
import { GenerationFailed } from "../../api/errors.ts";
import { isCloudName } from "../../util/model-name.ts";
import {
  type Generation,
  type GenerationRequest,
  type GenerationSink,
  checkedUsage,
  firstTokens,
  likelihoodsOf,
  millisecondsIn,
  readingMs,
} from "../generation.ts";
import { longCall } from "../transport.ts";
import type { OllamaContext } from "./facts.ts";
import { argumentsIn, callForm, createFormedCall, createToolCalls } from "../tool-calls.ts";
import { defined, getOrInsert } from "../../util/values.ts";

/** Options of Ollama that the package's types lack. */
interface NoTruncation {
  /** A prompt beyond the context is an error with both numbers; it is not truncated. */
  readonly truncate: false;
  /** Also an option of the load: requests that differ in it reload the model. */
  readonly shift: false;
}

/** Sent with every request that loads or runs a model. */
export const noTruncation: NoTruncation = { truncate: false, shift: false };

/** One line of the stream: a token with the model's name and the time. */
const maxTokenBytes = 1_000;
/** Added to the bytes of the tokens. */
const maxFrameBytes = 1_000_000;
/** Upper bound for the limit on the reply; a request may allow more. */
const maxTokens = 1_000_000;

/** Older ones say nothing: the server may have been started with another `OLLAMA_NUM_PARALLEL`. */
const maxSpans = 16;

/** The most answers of a model that streamed at the same time; 1, Ollama's default, before any did. */
export function overlapsOf({ streams }: Pick<OllamaContext, "streams">, model: string): number {
  const { spans = [] } = streams.get(model) ?? {};
  return Math.max(1, ...spans.map(([at]) => spans.filter(([from, to]) => from <= at && at < to).length));
}

/** Returns the body of a `/api/chat` request. `form`: that of a required call, for which the API has no parameter. */
function chatBody(
  request: GenerationRequest,
  form: JsonSchema | undefined,
): ChatRequest & NoTruncation & { stream: true } {
  const { sampling, tools = [], toolChoice } = request;
  const format = form ?? request.format;
  return {
    model: request.model,
    messages: request.messages.map(message),
    ...(tools.length > 0 &&
      toolChoice !== "none" && { tools: tools.map((tool) => ({ type: "function", function: tool })) }),
    stream: true,
    ...noTruncation,
    ...defined({ format, think: request.think, keep_alive: request.keepAliveSeconds }),
    ...(request.choices === undefined ? {} : { logprobs: true, top_logprobs: firstTokens }),
    options: defined({
      num_ctx: request.contextTokens,
      num_predict: request.maxTokens,
      ...samplingArguments(sampling),
      top_k: sampling.topK,
      seed: sampling.seed,
      stop: sampling.stop && [...sampling.stop],
      frequency_penalty: sampling.frequencyPenalty,
      presence_penalty: sampling.presencePenalty,
    }),
  };
}

function message({ role, content, images = [], audio = [], thinking, toolCalls, toolCallId, toolName }: ChatMessage) {
  return {
    role,
    content,
    // The server tells recordings from images by their first bytes (`DetectMediaKind`).
    ...(images.length + audio.length > 0 && { images: [...images, ...audio.map(({ data }) => data)] }),
    ...(thinking === undefined ? {} : { thinking }),
    ...(toolCalls && {
      tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
        id,
        function: { name, arguments: argumentsIn(json) },
      })),
    }),
    ...(role === "tool" && defined({ tool_call_id: toolCallId, tool_name: toolName })),
  };
}

/**
 * Streams one chat. `/api/chat` sends nothing before the first token, so a load inside the call is reported as
 * `prefill`. Its load time includes waiting in Ollama's queue, a few milliseconds for a loaded model.
 */
export async function generate(
  context: OllamaContext,
  request: GenerationRequest,
  sink: GenerationSink,
  signal: AbortSignal,
): Promise<Generation> {
  const what = `answering with ${request.model}`;
  // Ollama sends such a prompt to its cloud even when the model is not installed, and then its trust was never checked.
  if (isCloudName(request.model)) await context.models.describe(request.model, signal);
  const maxReplyBytes = maxFrameBytes + Math.min(request.maxTokens, maxTokens) * maxTokenBytes;
  const asked = longCall(what, context.timeouts.stallMs, request.model, GenerationFailed, maxReplyBytes);
  const bound = { ...asked.bound, firstMs: asked.bound.ms + readingMs(request) };
  const exchange = { ...asked, bound, trace: request.trace };
  const startedAt = context.now();
  let text = "";
  let thinking = "";
  let firstTokenAt: number | undefined;
  let pieces = 0;
  const calls = request.tools && createToolCalls(request, sink);
  const form = calls && callForm(request);
  const formed =
    form &&
    createFormedCall(
      (piece) => calls.add({ index: "form", function: piece }),
      (delta) => {
        text += delta;
        sink.text(delta);
      },
    );
  let firstAt: unknown;
  let last: Partial<ChatResponse> = {};
  let first: unknown;
  const take = (line: Partial<ChatResponse>): void => {
    last = line;
    // Since Ollama 0.12.11.
    if (Array.isArray(line.logprobs)) first ??= line.logprobs[0]?.top_logprobs;
    // Servers that imitate Ollama may omit it.
    const { content, thinking: thought, tool_calls: called } = line.message ?? {};
    const whole = calls && Array.isArray(called) && called.length > 0 ? called : undefined;
    if (content || thought || whole) {
      pieces += 1;
      if (firstTokenAt === undefined) {
        firstTokenAt = context.now();
        firstAt = line.created_at;
        sink.phase("decode");
      }
    }
    if (thought) {
      thinking += thought;
      sink.thinking(thought);
    }
    if (content) {
      if (formed) formed.add(content);
      else {
        text += content;
        sink.text(content);
      }
    }
    // Each is whole; older servers number none, or all of them with 0.
    for (const { id, function: call } of (whole ?? []) as readonly { id?: unknown; function?: object }[])
      calls?.add({ id, function: call });
  };
  sink.phase("prefill");
  const ours = getOrInsert(context.streams, request.model, () => ({ underWay: 0, begun: 0, spans: [] }));
  ours.underWay += 1;
  ours.begun += 1;
  const { underWay, begun } = ours;
  try {
    await context.transport.lines(exchange, { path: "/api/chat", body: chatBody(request, form) }, take, signal);
  } finally {
    ours.underWay -= 1;
    if (underWay > 1 || ours.begun > begun) {
      const span = [Date.parse(String(firstAt)), Date.parse(String(last.created_at))] as const;
      // Servers that imitate Ollama may omit the times.
      if (span[0] < span[1]) ours.spans = [...ours.spans, span].slice(-maxSpans);
    }
  }
  formed?.end();
  const toolCalls = calls?.end() ?? [];
  const endedAt = context.now();
  return {
    text,
    ...(thinking === "" ? {} : { thinking }),
    ...(toolCalls.length > 0 && { toolCalls }),
    finishReason: last.done_reason === "length" ? "length" : "stop",
    ...(request.choices && defined({ likelihoods: likelihoodsOf(request.choices, first) })),
    ...checkedUsage(
      request,
      { characters: text.length + thinking.length + (calls?.characters ?? 0), pieces },
      { promptTokens: last.prompt_eval_count, completionTokens: last.eval_count },
    ),
    loadMs: milliseconds(last.load_duration),
    firstTokenMs: (firstTokenAt ?? endedAt) - startedAt,
    prefillMs: milliseconds(last.prompt_eval_duration),
    decodeMs: milliseconds(last.eval_duration),
    totalMs: endedAt - startedAt,
  };
}

/** Ollama reports nanoseconds and omits zeros. */
function milliseconds(nanoseconds: number | undefined): number {
  return millisecondsIn((nanoseconds ?? 0) / 1e6) ?? 0;
}
