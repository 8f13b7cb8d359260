import type { Exchange } from "./exchange.ts";
import { detailsOf, digestOf, findModel, weightsOf } from "./library.ts";
import type { FakeMachine } from "./machine.ts";
import { scriptedAnswer, scriptedRequest } from "../scripted.ts";
import { logprobsOf, replyOf, tokensOf, untilStop, vectorOf } from "./reply.ts";
import { Refusal, sizeOf, type FakeResidency } from "./residency.ts";
import { vendorErrors, type FakeModel, type FakeOllamaOptions } from "./types.ts";

type Body = Readonly<Record<string, unknown>>;
type Message = {
  readonly role: string;
  readonly content: string;
  readonly images?: readonly string[];
  readonly tool_calls?: unknown;
};

const stringOf = (value: unknown): string => (typeof value === "string" ? value : "");
const nanoseconds = (ms: number): number => Math.round(ms * 1e6);

export interface FakeInference {
  /** `/api/chat` and `/api/generate`, which differ in field names. */
  answer(exchange: Exchange, shape: "chat" | "generate"): Promise<void>;
  embed(exchange: Exchange): Promise<void>;
  ps(exchange: Exchange): Promise<void>;
}

export function createFakeInference(
  options: FakeOllamaOptions,
  models: Map<string, FakeModel>,
  residency: FakeResidency,
  machine?: FakeMachine,
): FakeInference {
  const find = (body: Body): FakeModel => {
    const model = findModel(models, String(body["model"]));
    if (!model) throw new Refusal(404, vendorErrors.notFound(String(body["model"])));
    return model;
  };

  const wishOf = (body: Body) => {
    const runner = (body["options"] ?? {}) as Record<string, unknown>;
    return {
      contextTokens: typeof runner["num_ctx"] === "number" ? runner["num_ctx"] : undefined,
      shift: typeof body["shift"] === "boolean" ? body["shift"] : undefined,
      keepAlive: body["keep_alive"],
    };
  };

  const refuseUnsupported = (model: FakeModel, body: Body, shape: "chat" | "generate"): void => {
    const capabilities = model.capabilities ?? ["completion"];
    const name = String(body["model"]);
    if (body["think"] !== undefined && body["think"] !== false && !capabilities.includes("thinking"))
      throw new Refusal(400, vendorErrors.noThinking(name));
    if (Array.isArray(body["tools"]) && body["tools"].length > 0 && !capabilities.includes("tools"))
      throw new Refusal(400, vendorErrors.noTools(name));
    if (!capabilities.includes("completion")) throw new Refusal(400, `"${name}" does not support ${shape}`);
  };

  /** Requests of each model with a script. */
  const asked = new Map<FakeModel, number>();

  async function* stream(
    exchange: Exchange,
    model: FakeModel,
    body: Body,
    shape: "chat" | "generate",
    loadMs: number,
    promptTokens: number,
  ): AsyncGenerator {
    const startedAt = performance.now();
    const runner = (body["options"] ?? {}) as Record<string, unknown>;
    const prompt = messagesOf(body, shape)
      .map((message) => message.content)
      .join("\n");
    const limit =
      typeof runner["num_predict"] === "number" && runner["num_predict"] >= 0 ? runner["num_predict"] : Infinity;
    const stops = Array.isArray(runner["stop"]) ? runner["stop"].map(String) : [];
    const mayThink = (model.capabilities ?? []).includes("thinking") && body["think"] !== false;
    const earlier = asked.get(model) ?? 0;
    asked.set(model, earlier + 1);
    // A format binds the answer, whatever the tools are.
    const isBound = shape === "generate" || body["format"] !== undefined;
    const scripted = isBound ? undefined : scriptedAnswer(model.script, scriptedRequest(body, earlier));
    const thoughts = mayThink ? tokensOf(scripted?.thinking ?? model.thinking ?? "The user asks about colours.") : [];
    const text = scripted === undefined ? replyOf(model, prompt, body["format"]) : (scripted.text ?? "");
    const spoken = untilStop(tokensOf(text), stops);
    const called = scripted?.calls ?? [];
    // Its tokens are counted, and sent with the last line alone, as a model's with the template of its file.
    const written = tokensOf(called.length === 0 ? "" : JSON.stringify(called));
    const base = () => ({ model: body["model"], created_at: new Date().toISOString() });
    const line = (content: string, thinking?: string) =>
      shape === "chat"
        ? {
            ...base(),
            message: { role: "assistant", content, ...(thinking === undefined ? {} : { thinking }) },
            done: false,
          }
        : { ...base(), response: content, ...(thinking === undefined ? {} : { thinking }), done: false };
    const size = { weights: weightsOf(model), sizeBytes: sizeOf(model) };
    const all = [...thoughts, ...spoken.tokens, ...written];
    const tokens = Math.min(limit, all.length);
    const pace = machine?.answer(size, { promptTokens, tokens }, exchange.signal);
    const isCut = all.length > limit;
    const [cutCall] = isCut ? called : [];
    let count = 0;
    let promptMs = 1;
    for (const [index, token] of all.entries()) {
      if (count >= limit) break;
      if (pace !== undefined) await pace.token();
      else if (options.tokensPerSecond) await exchange.pause(1_000 / options.tokensPerSecond);
      if (pace !== undefined && count === 0) promptMs = performance.now() - startedAt;
      count += 1;
      if (index >= thoughts.length + spoken.tokens.length) continue;
      const most = body["logprobs"] === true ? { logprobs: [logprobsOf(token, model.sure)] } : {};
      yield { ...(index < thoughts.length ? line("", token) : line(token)), ...most };
    }
    const elapsed = performance.now() - startedAt;
    if (cutCall !== undefined) {
      yield { error: vendorErrors.cutCall(cutCall.name) };
      return;
    }
    const { promptTokens: prompted = promptTokens, completionTokens = Math.max(1, count) } = scripted?.usage ?? {};
    const last = line("");
    yield {
      ...last,
      ...(called.length > 0 && { message: { role: "assistant", content: "", tool_calls: called.map(toolCall) } }),
      done: true,
      done_reason: isCut ? "length" : "stop",
      total_duration: nanoseconds(loadMs + elapsed + 1),
      load_duration: nanoseconds(loadMs),
      prompt_eval_count: prompted,
      prompt_eval_duration: nanoseconds(promptMs),
      eval_count: completionTokens,
      eval_duration: nanoseconds(Math.max(elapsed, 0.01)),
      ...options.reported?.(),
    };
  }

  const answer = async (exchange: Exchange, shape: "chat" | "generate"): Promise<void> => {
    const body = exchange.request.body;
    const model = find(body);
    const messages = messagesOf(body, shape);
    const isEmpty = messages.every((message) => message.content === "");
    const done = (reason: string) => ({
      model: body["model"],
      created_at: new Date().toISOString(),
      ...(shape === "chat" ? { message: { role: "assistant", content: "" } } : { response: "" }),
      done: true,
      done_reason: reason,
    });
    if (isEmpty && body["keep_alive"] === 0) {
      residency.expire(model);
      return await exchange.json(200, done("unload"));
    }
    refuseUnsupported(model, body, shape);
    await residency.use(model, wishOf(body), exchange, async (resident, loadMs) => {
      if (isEmpty) return await exchange.json(200, done("load"));
      if (messages.some((message) => message.images?.length) && !(model.capabilities ?? []).includes("vision"))
        throw new Refusal(400, vendorErrors.noImages);
      const sent = [body["tools"] ?? "", ...messages.map(({ tool_calls: calls = "" }) => calls)];
      const promptTokens = messages.reduce(
        (sum, { content, images }) => sum + 5 + tokensOf(content).length + 768 * (images?.length ?? 0),
        sent.reduce<number>((sum, part) => sum + (part === "" ? 0 : tokensOf(JSON.stringify(part)).length), 0),
      );
      const isTooLong = promptTokens > resident.contextTokens;
      if (isTooLong && body["truncate"] === false)
        throw new Refusal(400, vendorErrors.promptTooLong(promptTokens, resident.contextTokens));
      const counted = isTooLong ? Math.floor(resident.contextTokens / 2) : promptTokens;
      const lines = stream(exchange, model, body, shape, loadMs, counted);
      if (body["stream"] !== false) return await exchange.lines(lines);
      await exchange.json(200, await merge(lines, shape));
    });
  };

  return {
    answer,

    async embed(exchange) {
      const body = exchange.request.body;
      const model = findModel(models, String(body["model"]));
      if (!model) throw new Refusal(404, `model "${String(body["model"])}" not found, try pulling it first`);
      const input = Array.isArray(body["input"])
        ? body["input"].map(String)
        : body["input"]
          ? [stringOf(body["input"])]
          : [];
      const { contextTokens, keepAlive } = wishOf(body);
      await residency.use(model, { contextTokens, keepAlive }, exchange, async (resident, loadMs) => {
        if (input.length === 0) return await exchange.json(200, { model: body["model"], embeddings: [] });
        if (!(model.capabilities ?? []).includes("embedding")) throw new Refusal(501, vendorErrors.noEmbeddings);
        const counts = input.map((text) => tokensOf(text).length + 2);
        if (body["truncate"] === false && counts.some((count) => count > resident.contextTokens))
          throw new Refusal(400, "the input length exceeds the context length");
        await exchange.json(200, {
          model: body["model"],
          embeddings: input.map(vectorOf),
          total_duration: nanoseconds(loadMs + 1),
          load_duration: nanoseconds(loadMs),
          prompt_eval_count: counts.reduce((sum, count) => sum + count, 0),
        });
      });
    },

    ps: (exchange) =>
      exchange.json(200, {
        models: residency.list().map(({ resident, sizeBytes }) => {
          const model = models.get(resident.name) ?? { name: resident.name, weights: resident.weights };
          return {
            name: resident.name,
            model: resident.name,
            size: sizeBytes(model),
            digest: digestOf(model),
            details: detailsOf(model),
            expires_at: new Date(resident.expiresAt).toISOString(),
            size_vram: 0,
            context_length: resident.contextTokens,
          };
        }),
      }),
  };
}

function toolCall({ name, arguments: given }: { name: string; arguments: unknown }, index: number): object {
  const id = Math.random().toString(36).slice(2, 10);
  return {
    id: `call_${id}`,
    function: { index, name, arguments: typeof given === "string" ? JSON.parse(given) : given },
  };
}

function messagesOf(body: Body, shape: "chat" | "generate"): readonly Message[] {
  if (shape === "chat") return (body["messages"] ?? []) as readonly Message[];
  const images = body["images"] as readonly string[] | undefined;
  return [{ role: "user", content: stringOf(body["prompt"]), ...(images ? { images } : {}) }];
}

/** One object instead of a stream: `stream: false`. */
async function merge(lines: AsyncIterable<unknown>, shape: "chat" | "generate"): Promise<unknown> {
  let text = "";
  let last: Record<string, unknown> = {};
  for await (const line of lines) {
    last = line as Record<string, unknown>;
    text += shape === "chat" ? (last["message"] as Message).content : String(last["response"]);
  }
  return shape === "chat"
    ? { ...last, message: { ...(last["message"] as Message), content: text } }
    : { ...last, response: text };
}
