import type { FakeRequest } from "../fake-ollama/types.ts";
import type { Script } from "../scripted.ts";

/**
 * | dialect      | what answers                                                                              |
 * |--------------|-------------------------------------------------------------------------------------------|
 * | llama-server | one model whatever name is asked for; `meta`, `/props`, `/metrics`, `timings`             |
 * | llama-router | llama-server with several models: a status each, load and unload, count-bound LRU         |
 * | vllm         | `max_model_len`, `root`, `/version`, `/tokenize`, `/metrics`; thinking as `reasoning`      |
 * | vllm-router  | a proxy before `workers`: their list and metrics, health as text, retries, plain errors    |
 * | cloud        | OpenAI: a plain list, the key checked, model_not_found, cached tokens in the usage         |
 * | kimi         | Moonshot: `context_length` in the list, `cached_tokens` in the usage, errors without code  |
 * | lm-studio    | a plain list, `/api/v0/models` with state, type and window; unknown paths answer 200       |
 */
export type FakeDialect = "llama-server" | "llama-router" | "vllm" | "vllm-router" | "cloud" | "kimi" | "lm-studio";

/** A model of the fake; all fields but the id have defaults (those of SmolLM2-135M). */
export interface FakeServedModel {
  readonly id: string;
  /** What one request gets; default 4,096. */
  readonly contextTokens?: number;
  readonly sizeBytes?: number;
  /** Default `["text"]`. Add `image` or `audio`. */
  readonly input?: readonly string[];
  /** Answers `/v1/embeddings`, and no chat. */
  readonly isEmbedding?: boolean;
  /** Its answer, or a function of the prompt. Default: a sentence about colours, eighty of them for a "long" one. */
  readonly reply?: string | ((prompt: string) => string);
  /** Its answers with calls of tools. */
  readonly script?: Script;
  /** Whether its chat template has tools; default false. */
  readonly hasTools?: boolean;
  /** It thinks first, unless `chat_template_kwargs.enable_thinking` is false or `reasoning_effort` is `none`. */
  readonly thinking?: string;
  /** Parameters that it refuses with 400, as OpenAI's reasoning models refuse `max_tokens` and `temperature`. */
  readonly refuses?: readonly string[];
  /** In the dialect `llama-router`: each load fails, after the model that had to make room is gone. */
  readonly isBroken?: boolean;
}

export interface FakeOpenAiOptions {
  /** Default `llama-server`. */
  readonly dialect?: FakeDialect;
  /** Default: `smollm2`. */
  readonly models?: readonly FakeServedModel[];
  /** Base addresses of other fakes, for the dialect `vllm-router`: `http://127.0.0.1:PORT`. */
  readonly workers?: readonly string[];
  /** Every other key is answered with 401 (`/health` is open, as in llama-server). */
  readonly apiKey?: string;
  /** HTTPS with a self-signed certificate for 127.0.0.1 (`self-signed.ts`). */
  readonly tls?: boolean;
  /** Port on 127.0.0.1; default 0 (any free port). */
  readonly port?: number;
  /** What `baseUrl` ends in; default `/v1`. */
  readonly basePath?: string;
  /** Default 0: all tokens at once. */
  readonly tokensPerSecond?: number;
  /** Concurrent requests; more wait their turn. Default 4. */
  readonly parallel?: number;
  /** Milliseconds of a load in the dialect `llama-router`; default 0. */
  readonly loadDelayMs?: number;
  /** How many models the dialect `llama-router` loads at most; default 4. */
  readonly maxLoaded?: number;
  /** The dialect `llama-router` loads what is asked for; default true. */
  readonly autoload?: boolean;
}

/** A fault for the next matching requests. */
export interface OpenAiFault {
  /**
   * | kind    | what happens                                                                                      |
   * |---------|---------------------------------------------------------------------------------------------------|
   * | status  | `status` with `headers` and `body` (also 200 with a wrong body, also redirects: `location`)       |
   * | hang    | nothing more is sent: for ever, until `until`, or for `delayMs`                                   |
   * | cut     | the connection is reset, in the middle of an event                                                |
   * | end     | the stream ends well-formed, with `body` after it but without finish_reason and `[DONE]`          |
   * | garbage | a line that is no JSON (`body`), then it goes on; an answer in one piece is broken JSON           |
   * | error   | `data: {"error": ...}` (`body`) inside the 200 stream, then its end                               |
   * | endless | tokens without end, whatever the limit                                                            |
   * | huge    | one line of `bytes` bytes (16 MiB), without a line break until its end                            |
   * | slow    | `delayMs` before each write; with `bytes`, each write is dripped in pieces of that size           |
   */
  readonly kind: "status" | "hang" | "cut" | "end" | "garbage" | "error" | "endless" | "huge" | "slow";
  /** Path that it applies to; default `/v1/chat/completions`; `*` for every path. */
  readonly on?: string;
  /** Number of requests; default 1; Infinity for always. */
  readonly times?: number;
  /**
   * Tokens that are sent before. Without it, `hang` and `cut` come before the status line; with 0, between the
   * headers and the first token.
   */
  readonly afterTokens?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** A text as it is, anything else as JSON. */
  readonly body?: unknown;
  readonly bytes?: number;
  readonly delayMs?: number;
  /** Ends a hang. */
  readonly until?: Promise<unknown>;
}

export interface FakeOpenAi {
  /** `http://127.0.0.1:PORT`, or https with `tls`. */
  readonly url: string;
  /** `url` and the base path: what a user writes as `baseUrl`. */
  readonly baseUrl: string;
  /** Every request so far, oldest first. */
  readonly requests: readonly FakeRequest[];
  /** TCP connections: all that came, and those that are open now. */
  readonly connections: { readonly opened: number; readonly open: number };
  /** Served models by id; tests may change it: a deleted one is a model removed meanwhile. */
  readonly models: Map<string, FakeServedModel>;
  /** Ids in memory of the dialect `llama-router`, least recently used first; tests may change it. */
  readonly loaded: Set<string>;
  /** How often each model of the dialect `llama-router` was loaded, in order. */
  readonly loads: readonly string[];
  /** While true, everything is 503 "Loading model", as of a llama-server that starts. */
  isLoading: boolean;
  /** Adds a fault; the oldest matching one applies first. Returns a function that takes it back. */
  misbehave(fault: OpenAiFault): () => void;
  /** Resolves with the first request of that path, past or future. */
  request(path: string): Promise<FakeRequest>;
  /** Clears the recorded requests and the remaining faults. */
  reset(): void;
  /** Resets every connection and closes the port: from now on connections are refused, until `start`. */
  stop(): Promise<void>;
  /** Listens on the same port again, as after a restart. */
  start(): Promise<void>;
  /** Closes all connections and the port. */
  close(): Promise<void>;
}
