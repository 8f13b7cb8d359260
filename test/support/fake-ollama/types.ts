import type { Script } from "../scripted.ts";
import type { MachineSpeed } from "./machine.ts";

/** A model of the fake; all fields but the name have defaults (those of SmolLM2-135M). */
export interface FakeModel {
  /** Tag included: `smollm2:135m`. */
  readonly name: string;
  /** ISO 8601, when it was installed. */
  readonly modifiedAt?: string;
  /** Bytes on disk. */
  readonly sizeBytes?: number;
  /** Bytes of its context cache, per token. */
  readonly cacheBytesPerToken?: number;
  /** sha256 hex of the weights blob; models with the same one share a slot, as in Ollama. */
  readonly weights?: string;
  readonly architecture?: string;
  readonly parameterSize?: string;
  readonly quantization?: string;
  readonly contextTokens?: number;
  readonly vocabularySize?: number;
  /** Default `["completion"]`; add `thinking`, `vision`, or give `["embedding"]` alone. */
  readonly capabilities?: readonly string[];
  /** Its answer, or a function of the prompt. Default: a sentence about colours. */
  readonly reply?: string | ((prompt: string) => string);
  /** Its answers with calls of tools, which it then has. */
  readonly script?: Script;
  /** The probability of each of its tokens, where a request asks for it. Default: 0.9. */
  readonly sure?: number;
  /** Its answer to a request with a format. Default: a value that matches. */
  readonly json?: (prompt: string) => string;
  /** Its thinking, if it has the capability and `think` is not false. */
  readonly thinking?: string;
  readonly template?: string;
  readonly system?: string;
  /** Lines of `name value`, as `/api/show` prints them. */
  readonly parameters?: string;
  /** Digests of its adapters. */
  readonly adapters?: readonly string[];
  /** Merged over `model_info`. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** It is one of Ollama's cloud models. */
  readonly remoteHost?: string;
  /** Every load fails with this text and status 500 (see `vendorErrors`). */
  readonly loadError?: string;
}

export interface FakeOllamaOptions {
  readonly models?: readonly FakeModel[];
  /** Models that `/api/pull` finds in addition to `models`. */
  readonly registry?: readonly FakeModel[];
  /** Port on 127.0.0.1; default 0 (any free port). */
  readonly port?: number;
  readonly version?: string;
  /** Milliseconds of a load or reload; default 0. */
  readonly loadDelayMs?: number;
  /** Milliseconds from the reply to an unload until the model is unloaded; default 5. */
  readonly unloadDelayMs?: number;
  /** Default 0: all tokens at once. */
  readonly tokensPerSecond?: number;
  /** Loads and answers take as long as on this machine, in place of `loadDelayMs` and `tokensPerSecond`. */
  readonly machine?: MachineSpeed;
  /** Default 0: a pull ends at once. */
  readonly pullBytesPerSecond?: number;
  /** Written over the counts in the last line of a chat. */
  readonly reported?: () => object;
  /** Concurrent requests per model (`OLLAMA_NUM_PARALLEL`); default 1. */
  readonly parallel?: number;
  /** Waiting requests per model before the status is 503; default 512. */
  readonly maxQueue?: number;
}

/** A misbehavior for the next matching requests. */
export interface Misbehaviour {
  /**
   * | kind       | what happens                                                                             |
   * |------------|------------------------------------------------------------------------------------------|
   * | hang       | nothing more is sent after `afterLines` lines; forever, or until `until`                  |
   * | drop       | the connection is reset before any answer                                                 |
   * | cut        | the connection is cut after `afterLines` lines, in the middle of the next                 |
   * | garbage    | a line that isn't JSON, after `afterLines` lines                                          |
   * | error_line | `{"error": error}` as the last line of the 200 stream, after `afterLines` lines           |
   * | status     | `{"error": error}` with `status`                                                          |
   * | slow       | `delayMs` before the answer and before each further line                                  |
   */
  readonly kind: "hang" | "drop" | "cut" | "garbage" | "error_line" | "status" | "slow";
  /** Path that it applies to; default `/api/chat`. */
  readonly on?: string;
  /** Number of requests; default 1. */
  readonly times?: number;
  /** Lines that are sent correctly before; default 1 (0 is before the status line for `hang`). */
  readonly afterLines?: number;
  readonly status?: number;
  readonly error?: string;
  readonly delayMs?: number;
  /** Ends a hang. */
  readonly until?: Promise<unknown>;
}

/** A received request; `closedAt` is set when its response ends. */
export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed JSON; `{}` for none, and for blobs. */
  readonly body: Readonly<Record<string, unknown>>;
  /** `performance.now()` of this process. */
  readonly receivedAt: number;
  closedAt?: number;
  /** The client closed the connection before the answer was complete. */
  wasCutByClient?: boolean;
  /** Resolves when the answer has ended, either way. */
  readonly closed: Promise<void>;
}

export interface FakeResident {
  /** The name that caused the load, as `/api/ps` shows it. */
  readonly name: string;
  readonly weights: string;
  readonly contextTokens: number;
  readonly shift: boolean;
  keepAliveSeconds: number;
  expiresAt: number;
}

export interface FakeOllama {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Every request so far, oldest first. */
  readonly requests: readonly FakeRequest[];
  /** Installed models by full name; tests may change it. */
  readonly models: Map<string, FakeModel>;
  /** Loaded models by weights; tests may change it, like another program that loads or unloads models. */
  readonly residents: Map<string, FakeResident>;
  /** How often a model was loaded or reloaded. */
  readonly loads: readonly { readonly name: string; readonly contextTokens: number }[];
  /** Adds a misbehaviour; the oldest matching one applies first. */
  misbehave(misbehaviour: Misbehaviour): void;
  /** Resolves with the first request of that path, past or future. */
  request(path: string): Promise<FakeRequest>;
  /** Clears the recorded requests and the remaining misbehaviors. */
  reset(): void;
  /** Closes all connections and the port. */
  close(): Promise<void>;
}

/** Error texts of a real server, verbatim. */
export const vendorErrors = {
  queueFull: "server busy, please try again.  maximum pending requests exceeded",
  terminated: "llama-server process has terminated: signal: killed",
  outOfMemory:
    "llama-server reported out-of-memory during startup: ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 5368709120",
  runnerStopped:
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details",
  /** The error of `/api/chat`; `/api/show` adds the tag. */
  notFound: (model: string) => `model '${model}' not found`,
  noTools: (model: string) => `"registry.ollama.ai/library/${model}" does not support tools`,
  /** The model reached its limit within the arguments of a call. */
  cutCall: (name: string) =>
    `llama-server returned invalid tool call arguments for "${name}": unexpected end of JSON input`,
  noThinking: (model: string) => `"${model}" does not support thinking`,
  noEmbeddings: "This server does not support embeddings. Start it with `--embeddings`",
  noImages:
    '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.","type":"invalid_request_error"}}',
  promptTooLong: (promptTokens: number, contextTokens: number) =>
    JSON.stringify({
      error: {
        code: 400,
        message: `request (${promptTokens} tokens) exceeds the available context size (${contextTokens} tokens), try increasing it`,
        type: "exceed_context_size_error",
        n_prompt_tokens: promptTokens,
        n_ctx: contextTokens,
      },
    }),
} as const;
