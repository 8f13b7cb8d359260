import type { ChatRequest, Message } from "ollama/browser";
import { GenerationFailed, throwIfCancelled } from "../../errors.ts";
import { isCloudName } from "../../store/model-name.ts";
import type { Generation, GenerationRequest, GenerationSink } from "../generation.ts";
import { lasting, type OllamaContext } from "./context.ts";

/** Rules of Ollama that the package's types don't know. */
interface NoSilentCut {
  /** A prompt beyond the context is an error with both numbers instead of being cut to a part of itself. */
  readonly truncate: false;
  /** Also an option of the load: all our requests must agree on it, or each reloads the model. */
  readonly shift: false;
}

/** `truncate` and `shift` of every request that loads or runs a model. */
export const noSilentCut: NoSilentCut = { truncate: false, shift: false };

/** On the wire: a token in its line, with the model's name and the time. */
const maxTokenBytes = 1_000;
/** Beside the tokens. */
const maxFrameBytes = 1_000_000;
/** A request may allow more than any model says. */
const maxTokens = 1_000_000;

/** The body of `/api/chat`. */
function chatBody(request: GenerationRequest): ChatRequest & NoSilentCut & { stream: true } {
  const { sampling } = request;
  return {
    model: request.model,
    messages: request.messages.map(({ role, content, images }) => ({
      role,
      content,
      ...(images ? { images: [...images] } : {}),
    })),
    stream: true,
    ...noSilentCut,
    ...(request.format === undefined ? {} : { format: request.format }),
    ...(request.think === undefined ? {} : { think: request.think }),
    ...(request.keepAliveSeconds === undefined ? {} : { keep_alive: request.keepAliveSeconds }),
    options: {
      num_ctx: request.contextTokens,
      num_predict: request.maxTokens,
      ...(sampling.temperature === undefined ? {} : { temperature: sampling.temperature }),
      ...(sampling.topP === undefined ? {} : { top_p: sampling.topP }),
      ...(sampling.topK === undefined ? {} : { top_k: sampling.topK }),
      ...(sampling.seed === undefined ? {} : { seed: sampling.seed }),
      ...(sampling.stop === undefined ? {} : { stop: [...sampling.stop] }),
    },
  };
}

/**
 * Streams one chat. `/api/chat` tells nothing before the first token, so a load inside the call shows as `prefill`;
 * it also counts waiting in Ollama's queue as load time, a few milliseconds when the model was loaded.
 */
export async function generate(
  context: OllamaContext,
  request: GenerationRequest,
  sink: GenerationSink,
  signal: AbortSignal,
): Promise<Generation> {
  const what = `answering with ${request.model}`;
  // Ollama sends such a prompt to its cloud also when the model is not installed, where nobody asked for its trust.
  if (isCloudName(request.model)) await context.models.describe(request.model, signal);
  const maxReplyBytes = maxFrameBytes + Math.min(request.maxTokens, maxTokens) * maxTokenBytes;
  const exchange = lasting(context.timeouts, what, request.model, GenerationFailed, maxReplyBytes);
  const startedAt = context.now();
  return await context.transport.exchange(exchange, signal, async ({ ollama }) => {
    let text = "";
    let thinking = "";
    let firstTokenAt: number | undefined;
    sink.phase("prefill");
    for await (const chunk of await ollama.chat(chatBody(request))) {
      // A server that only looks like Ollama may leave it out.
      const { content, thinking: thought } = (chunk.message as Message | undefined) ?? {};
      if (firstTokenAt === undefined && (content || thought)) {
        firstTokenAt = context.now();
        sink.phase("decode");
      }
      if (thought) {
        thinking += thought;
        sink.thinking(thought);
      }
      if (content) {
        text += content;
        sink.text(content);
      }
      throwIfCancelled(signal, what);
      if (!chunk.done) continue;
      const endedAt = context.now();
      return {
        text,
        ...(thinking === "" ? {} : { thinking }),
        finishReason: chunk.done_reason === "length" ? "length" : "stop",
        promptTokens: chunk.prompt_eval_count ?? 0,
        completionTokens: chunk.eval_count ?? 0,
        loadMs: milliseconds(chunk.load_duration),
        firstTokenMs: (firstTokenAt ?? endedAt) - startedAt,
        prefillMs: milliseconds(chunk.prompt_eval_duration),
        decodeMs: milliseconds(chunk.eval_duration),
        totalMs: endedAt - startedAt,
      };
    }
    throw new GenerationFailed(`Ollama ended its answer without a last line while ${what}`);
  });
}

/** Ollama counts nanoseconds, and leaves zeros out. */
function milliseconds(nanoseconds: number | undefined): number {
  return (nanoseconds ?? 0) / 1e6;
}
