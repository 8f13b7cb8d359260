/** A model of the fake; everything but the name has a default (SmolLM2-135M's own figures). */
export interface FakeModel {
  /** Tag included: `smollm2:135m`. */
  readonly name: string;
  /** Bytes on disk. */
  readonly sizeBytes?: number;
  /** sha256 hex of the weights blob; models with the same one share a slot, as in Ollama. */
  readonly weights?: string;
  readonly architecture?: string;
  readonly parameterSize?: string;
  readonly quantization?: string;
  readonly contextTokens?: number;
  readonly vocabularySize?: number;
  /** Default `["completion"]`; add `thinking`, `vision`, or give `["embedding"]` alone. */
  readonly capabilities?: readonly string[];
  /** What it says, or a function of the prompt's text. The default says a sentence about colours. */
  readonly reply?: string | ((prompt: string) => string);
  /** What it thinks first, when it has the capability and `think` is not false. */
  readonly thinking?: string;
  readonly template?: string;
  readonly system?: string;
  /** Lines of `name value`, as `/api/show` prints them. */
  readonly parameters?: string;
  /** Digests of its adapters. */
  readonly adapters?: readonly string[];
  /** Merged over `model_info`. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Makes it one of Ollama's cloud models. */
  readonly remoteHost?: string;
  /** Every load ends with this text and a 500 (see `vendorErrors`). */
  readonly loadError?: string;
}

export interface FakeOllamaOptions {
  readonly models?: readonly FakeModel[];
  /** What `/api/pull` finds beside `models`. */
  readonly registry?: readonly FakeModel[];
  /** 0 (any free port) unless given; always on 127.0.0.1. */
  readonly port?: number;
  readonly version?: string;
  /** Milliseconds of a load or reload; 0 unless given. */
  readonly loadDelayMs?: number;
  /** Milliseconds between the answer to an unload and the end of the residency; 5 unless given. */
  readonly unloadDelayMs?: number;
  /** 0 unless given: all tokens at once. */
  readonly tokensPerSecond?: number;
  /** 0 unless given: a pull is done at once. */
  readonly pullBytesPerSecond?: number;
  /** Requests of one model that are answered at the same time (`OLLAMA_NUM_PARALLEL`); 1 unless given. */
  readonly parallel?: number;
  /** Requests that wait for one model before the answer is 503; 512 unless given. */
  readonly maxQueue?: number;
}

/** How the next matching requests go wrong. */
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
  /** Path it applies to; `/api/chat` unless given. */
  readonly on?: string;
  /** How many requests; 1 unless given. */
  readonly times?: number;
  /** Lines that are still sent properly; 1 unless given (0 is before the status line for `hang`). */
  readonly afterLines?: number;
  readonly status?: number;
  readonly error?: string;
  readonly delayMs?: number;
  /** Lets what hangs go on. */
  readonly until?: Promise<unknown>;
}

/** One request that arrived; grows its `closedAt` when the connection's answer ends. */
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
  /** Loaded models by weights; tests may change it (what another program loads or evicts). */
  readonly residents: Map<string, FakeResident>;
  /** How often a model was loaded or reloaded. */
  readonly loads: readonly { readonly name: string; readonly contextTokens: number }[];
  /** Adds a misbehaviour; the oldest matching one applies first. */
  misbehave(misbehaviour: Misbehaviour): void;
  /** Resolves with the first request of that path, past or future. */
  request(path: string): Promise<FakeRequest>;
  /** Forgets the requests seen so far and the misbehaviours that are left. */
  reset(): void;
  /** Cuts all connections and frees the port. */
  close(): Promise<void>;
}

/** Error texts of a real server, to the letter. */
export const vendorErrors = {
  queueFull: "server busy, please try again.  maximum pending requests exceeded",
  terminated: "llama-server process has terminated: signal: killed",
  outOfMemory:
    "llama-server reported out-of-memory during startup: ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 5368709120",
  runnerStopped:
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details",
  /** Of a chat; `/api/show` adds the tag. */
  notFound: (model: string) => `model '${model}' not found`,
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
