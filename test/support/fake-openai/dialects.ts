import { createHash } from "node:crypto";
import type { FakeDialect, FakeServedModel } from "./types.ts";

const created = 1_795_386_725;
const numberOf = (text: string): number => createHash("sha256").update(text).digest().readUInt32BE(0);

export const contextOf = (model: FakeServedModel): number => model.contextTokens ?? 4_096;
const inputOf = (model: FakeServedModel): readonly string[] => model.input ?? ["text"];
const sizeOf = (model: FakeServedModel): number => model.sizeBytes ?? 96_576_768;

const metaOf = (model: FakeServedModel) => ({
  vocab_type: 2,
  n_vocab: 49_152,
  n_ctx: contextOf(model),
  n_ctx_train: 8_192,
  n_embd: 576,
  n_params: 134_515_008,
  size: sizeOf(model),
  ftype: "Q4_1",
});

export type ModelStatus = "unloaded" | "loading" | "loaded" | "failed";

/** An entry of `/v1/models`, as each server writes it; `status` only in llama-server's router mode. */
export function entryOf(dialect: FakeDialect, model: FakeServedModel, status?: ModelStatus): Record<string, unknown> {
  const base = { id: model.id, object: "model", created };
  const llama = {
    ...base,
    aliases: status === undefined ? [model.id] : [],
    tags: [],
    owned_by: "llamacpp",
    architecture: { input_modalities: inputOf(model), output_modalities: ["text"] },
  };
  switch (dialect) {
    case "llama-server":
      return { ...llama, meta: metaOf(model) };
    case "llama-router": {
      const args = ["llama-server", "--port", "0", "--alias", model.id, "--model", `/models/${model.id}.gguf`];
      const value = status === "failed" ? { value: "unloaded", exit_code: 1, failed: true } : { value: status };
      return {
        ...llama,
        status: { ...value, args, preset: `[${model.id}]\nctx-size = ${contextOf(model)}\n\n` },
        source: "models_dir",
        can_remove: false,
        ...(status === "loaded" ? { meta: metaOf(model) } : {}),
      };
    }
    case "vllm":
    case "vllm-router":
      return {
        ...base,
        owned_by: "vllm",
        root: model.id,
        parent: null,
        max_model_len: contextOf(model),
        permission: [
          { id: `modelperm-${numberOf(model.id)}`, object: "model_permission", created, is_blocking: false },
        ],
      };
    case "cloud":
      return { ...base, owned_by: "system" };
    case "kimi":
      return {
        ...base,
        owned_by: "moonshot",
        permission: [],
        root: "",
        parent: "",
        context_length: contextOf(model),
        supports_image_in: inputOf(model).includes("image"),
        supports_reasoning: model.thinking !== undefined,
      };
    case "lm-studio":
      return { id: model.id, object: "model", owned_by: "organization_owner" };
  }
}

/** An entry of LM Studio's own list, `/api/v0/models`. */
export function nativeEntryOf(model: FakeServedModel): Record<string, unknown> {
  return {
    id: model.id,
    object: "model",
    type: model.isEmbedding === true ? "embeddings" : inputOf(model).includes("image") ? "vlm" : "llm",
    publisher: "lmstudio-community",
    arch: "llama",
    compatibility_type: "gguf",
    quantization: "Q4_1",
    state: "loaded",
    max_context_length: contextOf(model),
    loaded_context_length: contextOf(model),
  };
}

export interface Load {
  readonly running: number;
  readonly waiting: number;
  readonly promptTokens: number;
  readonly tokens: number;
}

/** The page of `/metrics`: the few lines that are read, with the comments of a real one. */
export function metricsOf(dialect: FakeDialect, model: string, load: Load): string {
  const page = (lines: readonly (readonly [string, string, number])[], labels: string): string =>
    lines
      .map(([name, type, value]) => `# HELP ${name} ${name}\n# TYPE ${name} ${type}\n${name}${labels} ${value}\n`)
      .join("");
  if (dialect === "llama-server" || dialect === "llama-router")
    return page(
      [
        ["llamacpp:prompt_tokens_total", "counter", load.promptTokens],
        ["llamacpp:tokens_predicted_total", "counter", load.tokens],
        ["llamacpp:requests_processing", "gauge", load.running],
        ["llamacpp:requests_deferred", "gauge", load.waiting],
      ],
      "",
    );
  return page(
    [
      ["vllm:num_requests_running", "gauge", load.running],
      ["vllm:num_requests_waiting", "gauge", load.waiting],
      ["vllm:num_requests_waiting_by_reason", "gauge", load.waiting],
      ["vllm:kv_cache_usage_perc", "gauge", Math.min(1, load.running / 16)],
      ["vllm:prompt_tokens_total", "counter", load.promptTokens],
      ["vllm:generation_tokens_total", "counter", load.tokens],
    ],
    `{engine="0",model_name="${model}"}`,
  );
}

/** `/props` of llama-server, and of its router mode without a model. */
export function propsOf(model: FakeServedModel | undefined, parallel: number, limits: object): Record<string, unknown> {
  if (!model)
    return {
      role: "router",
      ...limits,
      model_alias: "llama-server",
      model_path: "none",
      default_generation_settings: { params: null, n_ctx: 0 },
      build_info: "b11434-fake",
    };
  return {
    default_generation_settings: { params: {}, n_ctx: contextOf(model) },
    total_slots: parallel,
    ...(model.hasTools === true && { chat_template: "{% if tools %}{{ tools }}{% endif %}{{ messages }}" }),
    model_alias: model.id,
    model_ftype: "Q4_1",
    model_path: `/models/${model.id}.gguf`,
    modalities: { vision: inputOf(model).includes("image"), video: false, audio: inputOf(model).includes("audio") },
    endpoint_metrics: true,
    build_info: "b11434-fake",
    is_sleeping: false,
  };
}

/** An answer with an error status, thrown anywhere and sent by the server. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: unknown;

  constructor(status: number, body: unknown) {
    super(`status ${status}`);
    this.status = status;
    this.body = body;
  }
}

/** Error bodies of real servers, by dialect. */
export function refusals(dialect: FakeDialect) {
  const llama = (status: number, message: string, type: string, more: object = {}) =>
    new Refusal(status, { error: { code: status, message, type, ...more } });
  const openai = (status: number, message: string, type: string, code: string | null, param: string | null = null) =>
    new Refusal(status, { error: { message, type, param, code } });
  const vllm = (status: number, message: string, type: string, param: string | null = null) =>
    new Refusal(status, { error: { message, type, param, code: status } });
  const isLlama = dialect === "llama-server" || dialect === "llama-router";
  const isVllm = dialect === "vllm" || dialect === "vllm-router";
  return {
    badKey: (key: string): Refusal => {
      if (isLlama) return llama(401, "Invalid API Key", "authentication_error");
      if (isVllm) return new Refusal(401, { error: "Unauthorized" });
      if (dialect === "kimi") return openai(401, "Invalid Authentication", "invalid_authentication_error", null);
      if (key === "") return openai(401, "You didn't provide an API key.", "invalid_request_error", null);
      // OpenAI repeats most of the key; the fake repeats all of it.
      return openai(401, `Incorrect API key provided: ${key}.`, "invalid_request_error", "invalid_api_key");
    },
    unknownModel: (model: string): Refusal => {
      if (isLlama) return llama(400, `model '${model}' not found`, "invalid_request_error");
      if (isVllm) return vllm(404, `The model \`${model}\` does not exist. Valid aliases: .`, "NotFoundError", "model");
      if (dialect === "kimi")
        return openai(404, `Not found the model ${model} or Permission denied`, "resource_not_found_error", null);
      const message = `The model \`${model}\` does not exist or you do not have access to it.`;
      return openai(404, message, "invalid_request_error", "model_not_found");
    },
    loadFailed: (model: string): Refusal => llama(500, `model name=${model} failed to load`, "server_error"),
    notLoaded: llama(400, "model is not loaded", "invalid_request_error"),
    notFound: isLlama
      ? llama(404, "File Not Found", "not_found_error")
      : isVllm
        ? new Refusal(404, { detail: "Not Found" })
        : openai(404, "Invalid URL", "invalid_request_error", null),
    tooLong: (promptTokens: number, contextTokens: number): Refusal => {
      if (isLlama)
        return llama(
          400,
          `request (${promptTokens} tokens) exceeds the available context size (${contextTokens} tokens), try increasing it`,
          "exceed_context_size_error",
          { n_prompt_tokens: promptTokens, n_ctx: contextTokens },
        );
      if (isVllm)
        return vllm(
          400,
          // It stops counting one token past the limit.
          `This model's maximum context length is ${contextTokens} tokens. However, your prompt contains at least ${contextTokens + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=${contextTokens + 1})`,
          "BadRequestError",
          "input_tokens",
        );
      if (dialect === "kimi")
        return openai(
          400,
          `Invalid request: Your request exceeded model token limit: ${contextTokens} (requested: ${promptTokens})`,
          "invalid_request_error",
          null,
        );
      const message = `This model's maximum context length is ${contextTokens} tokens. However, your messages resulted in ${promptTokens} tokens. Please reduce the length of the messages.`;
      return openai(400, message, "invalid_request_error", "context_length_exceeded", "messages");
    },
    noImages: (model: string): Refusal => {
      if (isLlama)
        return llama(
          500,
          "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
          "server_error",
        );
      if (isVllm) return vllm(400, `${model} is not a multimodal model`, "BadRequestError");
      return openai(
        400,
        "Invalid content type. image_url is only supported by certain models.",
        "invalid_request_error",
        null,
      );
    },
    badSchema: (type: string): Refusal =>
      isLlama
        ? llama(
            400,
            `Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #: unrecognized type ${type}`,
            "invalid_request_error",
          )
        : isVllm
          ? vllm(400, `Grammar error: Invalid type: ${type}`, "BadRequestError")
          : openai(400, `Invalid schema for response_format: '${type}' is not valid`, "invalid_request_error", null),
    noEmbeddings: (model: string): Refusal =>
      isLlama
        ? llama(501, "This server does not support embeddings. Start it with `--embeddings`", "not_supported_error")
        : isVllm
          ? new Refusal(404, { detail: "Not Found" })
          : openai(400, `The model ${model} does not support embeddings.`, "invalid_request_error", null),
    noChat: (model: string): Refusal =>
      openai(400, `The model ${model} does not support chat.`, "invalid_request_error", null),
    unsupported: (parameter: string): Refusal =>
      openai(
        400,
        `Unsupported parameter: '${parameter}' is not supported with this model.`,
        "invalid_request_error",
        "unsupported_parameter",
        parameter,
      ),
    badBody: isLlama
      ? llama(400, "[json.exception.parse_error.101] parse error", "invalid_request_error")
      : openai(400, "We could not parse the JSON body of your request.", "invalid_request_error", null),
    tooManyTokens: (limit: number, contextTokens: number): Refusal =>
      vllm(
        400,
        `max_tokens=${limit} cannot be greater than max_model_len=${contextTokens}. Please request fewer output tokens. (parameter=max_tokens, value=${limit})`,
        "BadRequestError",
        "max_tokens",
      ),
    noMessages: isLlama
      ? llama(400, "'messages' is required", "invalid_request_error")
      : openai(400, "Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter"),
    isLoading: llama(503, "Loading model", "unavailable_error"),
  };
}

/** Wrong answers to `/v1/models`, for `misbehave({ kind: "status", status: 200, on: "/v1/models", body })`. */
export const wrongLists = {
  page: "<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body></html>",
  types: { object: "list", data: [{ id: 7 }, null, "smollm2", { object: "model" }, [], { id: "" }] },
  noData: { object: "list" },
  notAList: { object: "list", data: { id: "smollm2" } },
  empty: { object: "list", data: [] },
  /** That many entries with short names. */
  long: (count: number) => ({
    object: "list",
    data: Array.from({ length: count }, (_, index) => ({
      id: `model-${index}`,
      object: "model",
      created,
      owned_by: "x",
    })),
  }),
} as const;
