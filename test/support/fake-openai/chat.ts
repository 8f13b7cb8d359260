import { createHash } from "node:crypto";
import { scriptedAnswer, scriptedRequest } from "../scripted.ts";
import { logprobsOf, replyOf, tokensOf, untilStop, vectorOf } from "../fake-ollama/reply.ts";
import { contextOf, refusals, type Load } from "./dialects.ts";
import { ConnectionGone, type Exchange, type StreamEvent } from "./exchange.ts";
import type { FakeOpenAiOptions, FakeServedModel } from "./types.ts";

type Body = Readonly<Record<string, unknown>>;

interface Part {
  readonly type?: string;
  readonly text?: string;
}

const schemaTypes = ["object", "array", "string", "number", "integer", "boolean", "null"];

/** Answers chats and embeddings, `parallel` at a time. */
export class FakeInference {
  readonly #options: FakeOpenAiOptions;
  readonly #dialect: NonNullable<FakeOpenAiOptions["dialect"]>;
  readonly #errors: ReturnType<typeof refusals>;
  /** Prompts that were answered: the same one again comes from the cache. */
  readonly #seen = new Set<string>();
  /** Requests of each model. */
  readonly #counts = new Map<FakeServedModel, number>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #promptTokens = 0;
  #tokens = 0;

  constructor(options: FakeOpenAiOptions) {
    this.#options = options;
    this.#dialect = options.dialect ?? "llama-server";
    this.#errors = refusals(this.#dialect);
  }

  get #isVllm(): boolean {
    return this.#dialect === "vllm" || this.#dialect === "vllm-router";
  }

  load(): Load {
    return {
      running: this.#running,
      waiting: this.#waiting.length,
      promptTokens: this.#promptTokens,
      tokens: this.#tokens,
    };
  }

  async chat(exchange: Exchange, model: FakeServedModel): Promise<void> {
    const body = exchange.request.body;
    if (!Array.isArray(body["messages"])) throw this.#errors.noMessages;
    if (model.isEmbedding === true && this.#dialect !== "llama-server") throw this.#errors.noChat(model.id);
    const refused = model.refuses?.find((name) => body[name] !== undefined);
    if (refused !== undefined) throw this.#errors.unsupported(refused);
    const messages = readMessages(body["messages"]);
    if (messages.images > 0 && !(model.input ?? []).includes("image")) throw this.#errors.noImages(model.id);
    const format = this.#formatOf(body["response_format"]);
    const tools = body["tools"] === undefined ? "" : JSON.stringify(body["tools"]);
    const promptTokens = messages.tokens + tokensOf(tools).length;
    const contextTokens = contextOf(model);
    if (promptTokens > contextTokens) throw this.#errors.tooLong(promptTokens, contextTokens);
    const limit = limitOf(body);
    if (this.#isVllm && limit > contextTokens && limit !== Infinity)
      throw this.#errors.tooManyTokens(limit, contextTokens);
    await this.#inTurn(exchange, async () => {
      const cached = this.#cachedOf(model.id, messages.prompt, promptTokens);
      this.#promptTokens += promptTokens - cached;
      const run = this.#generate(exchange, model, messages.prompt, format, promptTokens, cached);
      if (body["stream"] === true) return await exchange.events(run);
      await exchange.json(200, await mergeEvents(run));
    });
  }

  async embed(exchange: Exchange, model: FakeServedModel): Promise<void> {
    const body = exchange.request.body;
    if (model.isEmbedding !== true) throw this.#errors.noEmbeddings(model.id);
    const input = (Array.isArray(body["input"]) ? body["input"] : [body["input"]]).map(String);
    const counts = input.map((text) => tokensOf(text).length + 2);
    const longest = Math.max(0, ...counts);
    if (longest > contextOf(model)) throw this.#errors.tooLong(longest, contextOf(model));
    const tokens = counts.reduce((sum, count) => sum + count, 0);
    const isBase64 = body["encoding_format"] === "base64";
    await this.#inTurn(exchange, () =>
      exchange.json(200, {
        object: "list",
        model: body["model"],
        usage: { prompt_tokens: tokens, total_tokens: tokens },
        data: input.map((text, index) => ({
          object: "embedding",
          index,
          embedding: isBase64
            ? Buffer.from(new Float32Array(vectorOf(text)).buffer).toString("base64")
            : vectorOf(text),
        })),
      }),
    );
  }

  async #inTurn(exchange: Exchange, work: () => Promise<void>): Promise<void> {
    if (this.#running >= (this.#options.parallel ?? 4)) {
      let leave = (): void => {};
      await new Promise<void>((resolve, reject) => {
        leave = () => {
          const at = this.#waiting.indexOf(resolve);
          if (at >= 0) this.#waiting.splice(at, 1);
          reject(new ConnectionGone());
        };
        if (exchange.signal.aborted) return reject(new ConnectionGone());
        this.#waiting.push(resolve);
        exchange.signal.addEventListener("abort", leave);
      });
      exchange.signal.removeEventListener("abort", leave);
    } else this.#running += 1;
    try {
      await work();
    } finally {
      // The place passes on to the next in line, or is given up.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }

  #formatOf(value: unknown): unknown {
    const format = (value ?? {}) as { type?: string; json_schema?: { schema?: unknown } };
    if (format.type === "json_object") return "json";
    if (format.type !== "json_schema") return undefined;
    const schema = (format.json_schema?.schema ?? {}) as { type?: unknown };
    if (typeof schema.type === "string" && !schemaTypes.includes(schema.type))
      throw this.#errors.badSchema(schema.type);
    return schema;
  }

  /** As in llama-server, one token of a known prompt is computed again. */
  #cachedOf(model: string, prompt: string, promptTokens: number): number {
    const key = createHash("sha256").update(`${model}\n${prompt}`).digest("hex");
    if (this.#seen.has(key)) return promptTokens - 1;
    this.#seen.add(key);
    return 0;
  }

  async *#generate(
    exchange: Exchange,
    model: FakeServedModel,
    prompt: string,
    format: unknown,
    promptTokens: number,
    cached: number,
  ): AsyncGenerator<StreamEvent> {
    const body = exchange.request.body;
    const startedAt = performance.now();
    const limit = Math.min(limitOf(body), contextOf(model) - promptTokens);
    const stops = (Array.isArray(body["stop"]) ? body["stop"] : body["stop"] === undefined ? [] : [body["stop"]]).map(
      String,
    );
    const earlier = this.#counts.get(model) ?? 0;
    this.#counts.set(model, earlier + 1);
    // A format binds the answer, whatever the tools are.
    const scripted = format === undefined ? scriptedAnswer(model.script, scriptedRequest(body, earlier)) : undefined;
    const thoughts = isThinking(model, body) ? tokensOf(scripted?.thinking ?? model.thinking ?? "") : [];
    const text = scripted ? (scripted.text ?? "") : replyOf({ name: model.id, ...replyIn(model) }, prompt, format);
    const { tokens: spoken, stop = null } = untilStop(tokensOf(text), stops);
    const field = this.#isVllm ? "reasoning" : "reasoning_content";
    const calls = body["parallel_tool_calls"] === false ? scripted?.calls?.slice(0, 1) : scripted?.calls;
    const all: readonly object[] = [
      ...thoughts.map((token) => ({ [field]: token })),
      ...spoken.map((token) => ({ content: token })),
      ...(calls ?? []).flatMap(callDeltas),
    ];
    const isLlama = this.#dialect === "llama-server" || this.#dialect === "llama-router";
    const base = {
      id: `chatcmpl-${createHash("sha256").update(prompt).digest("hex").slice(0, 12)}`,
      object: "chat.completion.chunk",
      created: Math.floor(Date.now() / 1_000),
      model: this.#dialect === "llama-server" ? model.id : body["model"],
      ...(isLlama ? { system_fingerprint: "b11434-fake" } : {}),
    };
    const chunk = (delta: object, finish: string | null = null, more: object = {}) => ({
      ...base,
      choices: [{ index: 0, delta, finish_reason: finish }],
      ...more,
    });
    yield { data: chunk({ role: "assistant", content: isLlama ? null : "" }) };
    const finish = (count: number): string =>
      count < all.length ? "length" : calls === undefined || calls.length === 0 ? "stop" : "tool_calls";
    let count = 0;
    for (let index = 0; exchange.isEndless || index < Math.min(limit, all.length); index += 1) {
      if (this.#options.tokensPerSecond) await exchange.pause(1_000 / this.#options.tokensPerSecond);
      else if (exchange.isEndless) await exchange.pause(1);
      count += 1;
      this.#tokens += 1;
      const delta = all[index] ?? { content: ` more${index}` };
      // vLLM says with the last token that it is the last.
      const isLast = this.#isVllm && !exchange.isEndless && count === Math.min(limit, all.length);
      const data = chunk(delta, isLast ? finish(count) : null);
      const [choice] = data.choices;
      if (isLast && finish(count) === "stop") Object.assign(choice ?? {}, { stop_reason: stop });
      if (body["logprobs"] === true)
        Object.assign(choice ?? {}, { logprobs: { content: [logprobsOf(String(Object.values(delta)[0]))] } });
      yield { data, isToken: true };
    }
    const elapsed = Math.max(0.01, performance.now() - startedAt);
    const timings = isLlama ? { timings: timingsOf(promptTokens, cached, count, elapsed) } : {};
    const hasUsage = (body["stream_options"] as { include_usage?: unknown } | undefined)?.include_usage === true;
    const isWhole = body["stream"] !== true;
    // The rest of what llama-server would say has its name in `response_fields`.
    const verbose = isLlama && body["verbose"] === true && { __verbose: { stopping_word: stop ?? "" } };
    if (!this.#isVllm || count === 0)
      yield { data: chunk({}, finish(count), { ...(hasUsage ? {} : timings), ...verbose }) };
    if (hasUsage || isWhole) {
      const { promptTokens: prompted = promptTokens, completionTokens = count } = scripted?.usage ?? {};
      const usage = this.#usageOf(prompted, cached, completionTokens, Math.min(count, thoughts.length));
      yield { data: { ...base, choices: [], usage, ...timings } };
    }
  }

  #usageOf(promptTokens: number, cached: number, completionTokens: number, thoughtTokens: number): object {
    const usage = {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
    };
    if (this.#dialect === "kimi") return { ...usage, cached_tokens: cached };
    if (this.#isVllm) return usage;
    const details = { prompt_tokens_details: { cached_tokens: cached } };
    if (this.#dialect !== "cloud") return { ...usage, ...details };
    return { ...usage, ...details, completion_tokens_details: { reasoning_tokens: thoughtTokens } };
  }
}

function replyIn(model: FakeServedModel): Pick<FakeServedModel, "reply"> {
  return model.reply === undefined ? {} : { reply: model.reply };
}

/** As llama-server sends a call: its id and name first, then its arguments in pieces. */
function callDeltas({ name, arguments: given }: { name: string; arguments: unknown }, index: number): object[] {
  const json = typeof given === "string" ? given : JSON.stringify(given);
  const id = Array.from({ length: 4 }, () => Math.random().toString(36).slice(2, 10)).join("");
  const [first = "", ...rest] = tokensOf(json);
  const call = (piece: object) => ({ tool_calls: [{ index, ...piece }] });
  return [
    call({ id, type: "function", function: { name, arguments: first } }),
    ...rest.map((piece) => call({ function: { arguments: piece } })),
  ];
}

function limitOf(body: Body): number {
  return Number(body["max_completion_tokens"] ?? body["max_tokens"] ?? Infinity);
}

function isThinking(model: FakeServedModel, body: Body): boolean {
  const template = body["chat_template_kwargs"] as { enable_thinking?: unknown } | undefined;
  return model.thinking !== undefined && template?.enable_thinking !== false && body["reasoning_effort"] !== "none";
}

/** Counts words, five tokens for each message and 768 for each image. */
function readMessages(value: readonly unknown[]): { prompt: string; tokens: number; images: number } {
  let [tokens, images] = [0, 0];
  const texts = (value as { content?: string | readonly Part[] | null; tool_calls?: unknown }[]).map((message) => {
    const { content, tool_calls: calls } = message;
    if (calls !== undefined) tokens += tokensOf(JSON.stringify(calls)).length;
    const parts: readonly Part[] = typeof content === "string" ? [{ type: "text", text: content }] : (content ?? []);
    const text = parts.map((part) => part.text ?? "").join("\n");
    const pictures = parts.filter((part) => part.type === "image_url").length;
    images += pictures;
    tokens += 5 + tokensOf(text).length + 768 * pictures;
    return text;
  });
  return { prompt: texts.join("\n"), tokens, images };
}

function timingsOf(promptTokens: number, cached: number, count: number, elapsed: number): object {
  return {
    cache_n: cached,
    prompt_n: promptTokens - cached,
    prompt_ms: 1,
    prompt_per_token_ms: 1 / (promptTokens - cached),
    prompt_per_second: (promptTokens - cached) * 1_000,
    predicted_n: count,
    predicted_ms: elapsed,
    predicted_per_token_ms: elapsed / Math.max(1, count),
    predicted_per_second: (count * 1_000) / elapsed,
  };
}

/** One object in place of a stream. */
async function mergeEvents(run: AsyncIterable<StreamEvent>): Promise<unknown> {
  const message: Record<string, unknown> = { role: "assistant", content: "" };
  let whole: Record<string, unknown> = {};
  let finish: string | null = null;
  for await (const { data } of run) {
    whole = data as Record<string, unknown>;
    const choice = (whole["choices"] as { delta: Record<string, string | null>; finish_reason: string | null }[])[0];
    finish = choice?.finish_reason ?? finish;
    for (const [name, text] of Object.entries(choice?.delta ?? {}))
      if (name === "tool_calls") addPieces(message, text as never);
      else if (name !== "role") message[name] = `${(message[name] as string | undefined) ?? ""}${text ?? ""}`;
  }
  return { ...whole, object: "chat.completion", choices: [{ index: 0, message, finish_reason: finish }] };
}

interface CallPiece {
  readonly index: number;
  readonly function: { readonly arguments: string };
}

function addPieces(message: Record<string, unknown>, pieces: readonly CallPiece[]): void {
  const calls = (message["tool_calls"] ??= []) as { function: { arguments: string } }[];
  for (const { index, ...piece } of pieces) {
    const call = calls[index];
    if (call === undefined) calls[index] = structuredClone(piece);
    else call.function.arguments += piece.function.arguments;
  }
}
