import { GenerationFailed, UnknownModel } from "../../api/errors.ts";
import type { JsonSchema } from "../../api/types.ts";
import type { Engine } from "../engine.ts";
import { oneLine } from "../../util/control-characters.ts";
import { defined, parseJson } from "../../util/values.ts";
import {
  type Generation,
  type GenerationRequest,
  type GenerationSink,
  checkedUsage,
  likelihoodsOf,
  millisecondsIn,
  readingMs,
  type Fields,
  countIn,
  fieldsOf,
  textIn,
} from "../generation.ts";
import { callForm, createFormedCall, createToolCalls } from "../tool-calls.ts";
import { CutOff } from "../failures.ts";
import { type Exchange, type LineTaker, longCall } from "../transport.ts";
import { type Refused, chatBody, dispensable, thoughtField } from "./chat-body.ts";
import type { ListedModel } from "./dialects.ts";
import type { OpenAiModels, OpenAiOptions, OpenAiServer } from "./server.ts";
import { RefusedParameter } from "./errors.ts";

/** One event of the stream: a token with the model's name, the time and its logprobs. */
const maxTokenBytes = 2_000;
const maxFrameBytes = 1_000_000;
/** Upper bound for the limit on the reply; a request may allow more. */
const maxTokens = 1_000_000;

/** Answers chats with one server, and remembers which parameters each model refuses. */
export function createChat(server: OpenAiServer, models: OpenAiModels, options: OpenAiOptions): Engine["generate"] {
  const { serverKind, log, id, limits, now } = options;
  const refusals = new Map<string, Refused>();

  async function answerOf(asked: Asked, signal: AbortSignal): Promise<Generation> {
    const { request, body, sink } = asked;
    const { model } = request;
    const maxReplyBytes = maxFrameBytes + Math.min(request.maxTokens, maxTokens) * maxTokenBytes;
    const call = longCall(`answering with ${model}`, limits.totalMs, model, GenerationFailed, maxReplyBytes);
    const exchange: Exchange = {
      ...call,
      trace: request.trace,
      get isPartial() {
        return answer.hasText;
      },
    };
    const answer = new Answer({ ...asked, server, exchange, now });
    const timers: NodeJS.Timeout[] = [];
    sink.phase("prefill");
    try {
      await server.lines(exchange, "/chat/completions", body, answer, signal, (fail) => {
        const after = (ms: number) => setTimeout(() => fail(server.errors.ofTimeout(ms, exchange)), ms);
        const first = after(limits.firstTokenMs + readingMs(request));
        timers.push(after(limits.totalMs), first);
        answer.onToken = () => {
          if (timers.length === 2) {
            clearTimeout(first);
            timers.push(after(limits.betweenTokensMs));
          } else timers[2]?.refresh();
        };
      });
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
    return answer.generation();
  }

  return async (request, sink, signal) => {
    const row = await models.row(request.model, signal);
    const isLlama = row.ownNames !== undefined || row.status !== undefined;
    // The others call a tool where one is required.
    const form = isLlama ? callForm(request) : undefined;
    for (;;) {
      const refused = refusals.get(request.model) ?? new Set<string>();
      const body = chatBody({ ...request, model: row.id }, { serverKind, isLlama, refused, form });
      try {
        return await answerOf({ row, request, body, sink, form }, signal);
      } catch (error) {
        if (error instanceof UnknownModel) models.forget();
        const parameter = error instanceof RefusedParameter ? refusedPart(error.parameter) : "";
        if (!dispensable.has(parameter) || refused.has(parameter)) throw error;
        if (!(parameter in body) && parameter !== thoughtField) throw error;
        log.info(`${id}: ${request.model} refuses ${parameter}: it is left out`);
        refusals.set(request.model, new Set([...refused, parameter]));
      }
    }
  };
}

interface Asked {
  readonly row: ListedModel;
  readonly request: GenerationRequest;
  readonly body: object;
  readonly sink: GenerationSink;
  /** The answer has the form of a call. */
  readonly form: JsonSchema | undefined;
}

interface AnswerParts extends Asked {
  readonly server: OpenAiServer;
  readonly exchange: Exchange;
  readonly now: () => number;
}

/** Reads the events of one answer. */
class Answer implements LineTaker {
  readonly #parts: AnswerParts;
  readonly #startedAt: number;
  readonly #tags: ReturnType<typeof createThinkTags>;
  readonly #calls: ReturnType<typeof createToolCalls>;
  readonly #formed: ReturnType<typeof createFormedCall> | undefined;
  #texts = { text: "", thinking: "" };
  #firstTokenAt: number | undefined;
  #pieces = 0;
  #finish: string | undefined;
  /** As vLLM, SGLang or llama-server says, which also name other ends. */
  #stopText: string | undefined;
  /** As the server says. */
  #model: string | undefined;
  #usage: Fields = {};
  #timings: Fields = {};
  /** The likeliest first tokens. */
  #first: unknown;
  #isDone = false;
  /** Called for each piece of the answer. */
  onToken: () => void = () => undefined;

  constructor(parts: AnswerParts) {
    this.#parts = parts;
    this.#startedAt = parts.now();
    this.#calls = createToolCalls(parts.request, parts.sink);
    this.#formed =
      parts.form &&
      createFormedCall(
        (piece) => this.#calls.add({ index: "form", function: piece }),
        (delta) => this.#pass("text", delta),
      );
    this.#tags = createThinkTags((part, delta) => {
      if (part === "thinking" || !this.#formed) return this.#pass(part, delta);
      this.#begin();
      this.#formed.add(delta);
    });
  }

  /** Whether a part of it was passed on. */
  get hasText(): boolean {
    return this.#firstTokenAt !== undefined;
  }

  line(text: string): void {
    if (this.#isDone || /^(?::|event:|id:|retry:)/.test(text)) return;
    const [, field, value = ""] = /^(data|error): ?(.*)$/s.exec(text.trimEnd()) ?? [];
    if (field === undefined) throw new SyntaxError("a line of the stream is no event");
    if (value === "[DONE]") {
      this.#isDone = true;
      return;
    }
    const event = fieldsOf(parseJson(value));
    if (field === "error" || event["object"] === "error" || (event["error"] ?? undefined) !== undefined)
      throw this.#parts.server.errors.ofReply({ status: 200, text: value, headers: {} }, this.#parts.exchange);
    this.#take(event);
  }

  end(rest: string): void {
    if (rest.trimEnd() === "data: [DONE]") this.#isDone = true;
    else if (rest.trim() !== "" && !this.#isDone) throw new CutOff("the stream ended within a line");
    if (!this.#isDone && this.#finish === undefined) throw new CutOff("the stream ended before the answer");
    this.#tags.end();
    this.#formed?.end();
    if (this.#finish === "content_filter" && !this.hasText)
      throw new GenerationFailed(`the server's content filter refused to answer with ${this.#parts.row.id}`, {
        next: { step: "chooseModel" },
      });
  }

  generation(): Generation {
    const { request } = this.#parts;
    const toolCalls = this.#calls.end();
    const endedAt = this.#parts.now();
    const totalMs = endedAt - this.#startedAt;
    const firstTokenMs = (this.#firstTokenAt ?? endedAt) - this.#startedAt;
    const { text, thinking } = this.#texts;
    const answeredBy = this.#answeredBy();
    return {
      text,
      ...(answeredBy && { answeredBy }),
      ...(thinking === "" ? {} : { thinking }),
      ...(toolCalls.length > 0 && { toolCalls }),
      finishReason: this.#finish === "length" ? "length" : "stop",
      ...defined({ stopText: this.#stopText }),
      ...(request.choices && defined({ likelihoods: likelihoodsOf(request.choices, this.#first) })),
      ...checkedUsage(
        request,
        { characters: text.length + thinking.length + this.#calls.characters, pieces: this.#pieces },
        {
          promptTokens: this.#usage["prompt_tokens"],
          cachedPromptTokens: cachedTokens(this.#usage, this.#timings),
          completionTokens: this.#usage["completion_tokens"],
        },
      ),
      loadMs: 0,
      firstTokenMs,
      prefillMs: millisecondsIn(this.#timings["prompt_ms"]) ?? firstTokenMs,
      decodeMs: millisecondsIn(this.#timings["predicted_ms"]) ?? totalMs - firstTokenMs,
      totalMs,
    };
  }

  /** The model that the server names, if it isn't the one that was asked. */
  #answeredBy(): string | undefined {
    const { row, server } = this.#parts;
    if (this.#model === undefined || isSameService(row.id, this.#model)) return undefined;
    return oneLine(server.errors.redacted(this.#model)).slice(0, maxNameCharacters);
  }

  #take(event: Fields): void {
    const { row, exchange, request } = this.#parts;
    const model = textIn(event["model"]);
    this.#model ??= model;
    // llama-server answers with its own model, whatever is asked for.
    if (row.ownNames !== undefined && model !== undefined && !row.ownNames.includes(model))
      throw new UnknownModel(`the server has ${model} in place of ${exchange.model ?? row.id}`, {
        next: { step: "listModels" },
      });
    if ("usage" in event) this.#usage = { ...this.#usage, ...fieldsOf(event["usage"]) };
    if ("timings" in event) this.#timings = { ...this.#timings, ...fieldsOf(event["timings"]) };
    const choice = fieldsOf(Array.isArray(event["choices"]) ? event["choices"][0] : undefined);
    const { content: tokens } = fieldsOf(choice["logprobs"]);
    if (Array.isArray(tokens)) this.#first ??= fieldsOf(tokens[0])["top_logprobs"];
    const delta = fieldsOf(choice["delta"]);
    const thought = textIn(delta["reasoning_content"]) ?? textIn(delta["reasoning"]);
    const content = textIn(delta["content"]) ?? textIn(delta["refusal"]);
    const called = request.tools !== undefined && Array.isArray(delta["tool_calls"]) ? delta["tool_calls"] : [];
    if (thought !== undefined || content !== undefined || called.length > 0) {
      this.#pieces += 1;
      this.onToken();
    }
    if (thought !== undefined) this.#pass("thinking", thought);
    if (content !== undefined) this.#tags.add(content);
    if (called.length > 0) this.#begin();
    for (const piece of called as readonly unknown[]) this.#calls.add(piece);
    this.#finish = textIn(choice["finish_reason"]) ?? this.#finish;
    const said = [choice["stop_reason"], choice["matched_stop"], fieldsOf(event["__verbose"])["stopping_word"]];
    this.#stopText = request.sampling.stop?.find((each) => said.includes(each)) ?? this.#stopText;
  }

  #begin(): void {
    if (this.#firstTokenAt !== undefined) return;
    this.#firstTokenAt = this.#parts.now();
    this.#parts.sink.phase("decode");
  }

  #pass(part: "text" | "thinking", delta: string): void {
    this.#begin();
    this.#texts[part] += delta;
    this.#parts.sink[part](delta);
  }
}

/** `messages[2].reasoning_content` for a field of messages. */
function refusedPart(parameter: string): string {
  return parameter.endsWith(`.${thoughtField}`) ? thoughtField : parameter;
}

const maxNameCharacters = 100;
/** What services add to the name of a model: `-2026-08-06`, `-0905-preview`, `:latest`. */
const version = /^(?:[-:@_.](?:v?\d{2,}|latest|preview))*$/;

/** Whether the names differ in the folder or the version only. */
function isSameService(asked: string, answered: string): boolean {
  const [a = "", b = ""] = [asked, answered].map((name) => name.toLowerCase().split("/").at(-1));
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  const base = short.replace(/[-:]latest$/, "");
  return long.startsWith(base) && version.test(long.slice(base.length));
}

/** OpenAI and llama-server, Kimi, DeepSeek; else llama-server's timings. */
function cachedTokens(usage: Fields, timings: Fields): number | undefined {
  const { cached_tokens: detailed } = fieldsOf(usage["prompt_tokens_details"]);
  const names = ["cached_tokens", "prompt_cache_hit_tokens"];
  return [detailed, ...names.map((name) => usage[name]), timings["cache_n"]].map(countIn).find(Number.isFinite);
}

const open = "<think>";
const close = "</think>";

/**
 * Separates thinking that a server leaves in the text (LM Studio, vLLM without a reasoning parser): `<think>` at the
 * beginning of an answer, up to `</think>`. A tag may arrive in several pieces.
 */
function createThinkTags(pass: (part: "text" | "thinking", delta: string) => void) {
  /** `start`: nothing was passed on yet; `thinking`: inside the tag; `gap`: blanks after it; `text`: the rest. */
  let state: "start" | "thinking" | "gap" | "text" = "start";
  let held = "";

  function begin(): void {
    const text = held.trimStart();
    if (text.startsWith(open)) {
      state = "thinking";
      held = text.slice(open.length);
    } else if (!open.startsWith(text)) toText();
  }

  function think(): void {
    const at = held.indexOf(close);
    const known = at === -1 ? held.length - endThatBegins(held, close) : at;
    const thought = held.slice(0, known);
    if (thought !== "") pass("thinking", thought);
    held = held.slice(at === -1 ? known : at + close.length);
    if (at !== -1) state = "gap";
  }

  function skip(): void {
    held = held.trimStart();
    if (held !== "") toText();
  }

  function toText(): void {
    state = "text";
    pass("text", held);
    held = "";
  }

  return {
    add(delta: string): void {
      if (state === "text") return pass("text", delta);
      held += delta;
      if (state === "start") begin();
      if (state === "thinking") think();
      if (state === "gap") skip();
    },
    /** The answer has ended: what looked like the beginning of a tag was none. */
    end(): void {
      const rest = held;
      held = "";
      if (rest !== "") pass(state === "thinking" ? "thinking" : "text", rest);
    },
  };
}

/** How many characters at the end of `text` may begin `tag`. */
function endThatBegins(text: string, tag: string): number {
  for (let length = Math.min(text.length, tag.length - 1); length > 0; length -= 1)
    if (text.endsWith(tag.slice(0, length))) return length;
  return 0;
}
