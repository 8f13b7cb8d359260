/**
 * The plain data that crosses the facade: what tools, resources, the server and the engines agree on.
 * Sizes are bytes, durations milliseconds, counts tokens, and every name says so. Absence is `undefined`.
 */

import type { CallerProject } from "./facade-projects.ts";

export type Privacy = "local_only" | "allow_remote";
export type Trust = "local" | "remote";
export type EngineKind = "ollama" | "llama-cpp" | "openai";
export type Capability = "completion" | "tools" | "insert" | "vision" | "embedding" | "thinking" | "image" | "audio";
export type ThinkLevel = boolean | "low" | "medium" | "high";
/** A JSON Schema document; validated by whoever compiles it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

// ---------------------------------------------------------------------------------------------------- callers

/** Who asks, and under which rules. An argument of every facade method; nothing about a caller is kept elsewhere. */
/** `repetition`: it went in circles, and is cut before that. */
export type FinishReason = "stop" | "length" | "repetition";

export interface CallerContext {
  /** One per connection; tells callers apart in queues and logs. */
  readonly id: string;
  /** As the client introduced itself (`claude-code`), or `unknown`. */
  readonly client: string;
  /** Absolute folders whose files this caller may name. */
  readonly roots: readonly string[];
  /** Settings of scope caller, already merged in order of precedence. */
  readonly settings: CallerSettings;
  /** Where it works, when that is known to be a project. */
  readonly project?: CallerProject;
  /** Where its settings come from; absent where nobody can tell. */
  readonly configured?: ConfiguredSettings;
  /** What of its settings is not obeyed, a sentence each; `system_status` tells it to this caller alone. */
  readonly warnings?: readonly string[];
  /** Aborted when the caller cancels this call or vanishes; `reason` is a `CallEnd`. */
  readonly signal: AbortSignal;
}

/** Why a call ended early: a cancel aborts what it started, a client that disconnects only detaches from pulls and jobs. */
export type CallEnd = "cancelled" | "disconnected";

/** All settings as one caller has them, with where each value comes from. */
export interface ConfiguredSettings {
  /** A tree of the schema in `config/`. */
  readonly settings: unknown;
  /** `memory.bufferBytes` to `OLLM_MODEL`, `--model` or `/home/me/.ollm/config.yaml:3`; what is a default is missing. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Settings that may differ from caller to caller (scope `caller` in the schema). */
export interface CallerSettings {
  readonly privacy: Privacy;
  /** `model.default`: used when routing is off, and preferred when the request names nothing. */
  readonly defaultModel?: string;
  /** `defaultModel` is the `model` of a trusted project. */
  readonly isProjectModel?: boolean;
  readonly routing: {
    readonly isEnabled: boolean;
    readonly defaultProfile: string;
    /** A loaded model answers in place of one that fits better and takes longer to load. */
    readonly maxSwitchSeconds: number;
    /** task → model name */
    readonly overrides: Readonly<Record<string, string>>;
  };
  readonly temperature?: number;
  readonly topP?: number;
  readonly maxTokens: number;
  /** What nobody set of them: a model's own `PARAMETER` lines go before these defaults. */
  readonly unset?: readonly ("temperature" | "maxTokens")[];
  /** At least this many tokens of context, unless the request says otherwise. */
  readonly contextTokens?: number;
  /** `model.provider`: the engine that is asked first where several hold a model. */
  readonly provider?: string;
  /** `models`: pattern of model names → what holds for them; the last match wins, setting by setting. */
  readonly models: Readonly<Record<string, ModelOverrides>>;
  /** `recall.injectTokens`: most tokens of remembered entries in a prompt; 0: none. */
  readonly injectTokens: number;
  /** `systemPrompt` of a trusted project; stands before a model's own. */
  readonly systemPrompt?: string;
  /** `tools`: which are on offer. */
  readonly tools: {
    readonly sets: readonly string[];
    readonly enabled?: readonly string[];
    readonly disabled: readonly string[];
  };
  /** `queue.maxWaitMs`: what hasn't begun to be answered by then is refused; absent: no limit. */
  readonly maxWaitMs?: number;
  /** `jobs.patience`: seconds after which a call is answered with a job, for clients not known to wait longer. */
  readonly patienceSeconds: number;
}

/** `models.<glob>` */
export interface ModelOverrides {
  readonly options?: { readonly temperature?: number; readonly topP?: number; readonly maxTokens?: number };
  /** At least this many. */
  readonly contextTokens?: number;
  /** Seconds; -1 keeps it. */
  readonly keepAlive?: number;
  /** In memory; overrides every estimate. */
  readonly sizeBytes?: number;
  /** Answers at a time. */
  readonly maxParallel?: number;
  readonly system?: string;
}

// ------------------------------------------------------------------------------------------------- operations

export type OperationKind = "pull" | "load" | "generate" | "unload" | "delete" | "compare";
export type OperationState = "running" | "succeeded" | "failed" | "cancelled";

/** What is happening now, in a few words and, where known, numbers. */
export interface Progress {
  /** For people: `loading smollm2:135m`. */
  readonly message: string;
  readonly completedBytes?: number;
  readonly totalBytes?: number;
  readonly bytesPerSecond?: number;
  /** Tokens produced so far by a generation. */
  readonly completionTokens?: number;
}

/** Text so far of a generation that is still running. */
export interface PartialText {
  readonly text: string;
  readonly thinking: string;
}

/**
 * A pull, load or generation under way; calls subscribe to it and may detach from it.
 *
 * | event                                  | while others follow it | when nobody else does     |
 * |----------------------------------------|------------------------|---------------------------|
 * | follower's call is cancelled           | goes on                | aborted                   |
 * | follower's client vanished             | goes on                | generation, load: aborted; pull: goes on |
 * | follower detached (now a job)          | goes on                | goes on until `cancel()`  |
 */
export interface Operation<Result> {
  readonly id: string;
  readonly kind: OperationKind;
  /** For people: `pull smollm2:135m`. */
  readonly title: string;
  readonly startedAtMs: number;
  state(): OperationState;
  /** Somebody ended it; until its work has stopped its state is still "running". */
  isAborted(): boolean;
  progress(): Progress | undefined;
  partial(): PartialText | undefined;
  /**
   * Waits for the outcome on behalf of one call. Rejects with `Cancelled` when `signal` aborts first, and aborts
   * the operation by the table above. `onProgress` is called at once with the newest progress, then with each.
   */
  follow(signal: AbortSignal, onProgress?: (progress: Progress) => void): Promise<Result>;
  /** Keeps the operation alive without followers: it is a job now. */
  detach(): void;
  /** Aborts it for everyone. Safe to call twice. */
  cancel(): void;
}

// ----------------------------------------------------------------------------------------------------- models

export type ModelStatus = "installed" | "pulling" | "loading" | "loaded" | "error";

/** A model that an engine holds, as listed. */
export interface InstalledModel {
  /** As the engine names it, tag included (`smollm2:135m`). */
  readonly name: string;
  /** sha256 hex of what identifies it (weights blob or manifest); models with the same digest share weights. */
  readonly digest?: string;
  /** Bytes on disk; 0 for a remote model. */
  readonly sizeBytes: number;
  readonly modifiedAt?: string;
  readonly family?: string;
  /** As printed by its maker: `134.52M`, `7.6B`. */
  readonly parameterSize?: string;
  readonly quantization?: string;
  readonly contextTokens?: number;
  readonly capabilities?: readonly Capability[];
  /** `remote` for Ollama's cloud models: no RAM here, and locked out by `local_only`. */
  readonly trust: Trust;
}

/** What an engine knows of one model. Numbers come from the file's metadata; absent when unknown. */
export interface ModelFacts {
  readonly name: string;
  readonly digest?: string;
  readonly sizeBytes: number;
  readonly architecture?: string;
  readonly parameterSize?: string;
  readonly quantization?: string;
  /** The context window the model was trained for, in tokens. */
  readonly contextTokens?: number;
  readonly layerCount?: number;
  readonly embeddingLength?: number;
  readonly vocabularySize?: number;
  /** Bytes of all tensors, where the engine lists them: `sizeBytes` without header and projector. */
  readonly weightsBytes?: number;
  /** sha256 of the weights' file in hex, where the engine tells: `digest` may be that of a manifest. */
  readonly weightsDigest?: string;
  /** The same of what is loaded onto the weights: adapters, projectors. Absent: nothing. */
  readonly attachedDigests?: readonly string[];
  readonly capabilities: readonly Capability[];
  readonly trust: Trust;
  readonly system?: string;
  /** `PARAMETER` lines of a manifest (`temperature`, `stop`, ...). */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Those GGUF key/values (`llama.block_count`, ...) that the memory formulas read; 64 KiB at most. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** What the numbers of a key/value cache may be stored as, in the names of ggml and from large to small. */
export const cacheTypes = ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] as const;
export type CacheType = (typeof cacheTypes)[number];

/** What of an Ollama server's environment decides how it loads; its API doesn't tell. */
export interface OllamaServerOptions {
  /** `OLLAMA_NUM_PARALLEL` */
  readonly parallel: number;
  /** `OLLAMA_KV_CACHE_TYPE` */
  readonly cacheType: CacheType;
  /** `OLLAMA_FLASH_ATTENTION`; on by itself where the hardware can. */
  readonly hasFlashAttention: boolean;
}

/** A model in memory. */
export interface ResidentModel {
  readonly name: string;
  readonly digest?: string;
  /** Everything it occupies, RAM and VRAM. */
  readonly sizeBytes: number;
  /** What the engine said of that, where it forgot a part. */
  readonly reportedBytes?: number;
  readonly vramBytes: number;
  /** File-mapped bytes: MemAvailable counts them as free although they are in use. Absent means not measured. */
  readonly mappedBytes?: number;
  readonly contextTokens?: number;
  readonly expiresAt?: string;
  /** Measured load time of this residency, when this program loaded it. */
  readonly loadMs?: number;
}

// ----------------------------------------------------------------------------------------------------- memory

/** How a memory figure came about; each has its own error margin. */
export type EstimateMethod = "simulated" | "computed" | "learned" | "size_rule" | "configured";

/** What a model will take in memory under given load options. */
export interface MemoryEstimate {
  readonly method: EstimateMethod;
  /** Weights + cache + state + compute buffers. */
  readonly predictedBytes: number;
  /** Relative error to expect (0.02 = ±2 %). */
  readonly margin: number;
  readonly parts?: {
    readonly weightsBytes: number;
    readonly cacheBytes: number;
    /** Recurrent state, where it is told from the cache. */
    readonly stateBytes?: number;
    readonly computeBytes: number;
    readonly otherBytes: number;
  };
  /** The engine process's own base, which `predictedBytes` leaves out. */
  readonly processBytes: number;
  /** Share of such a load that the engine last put onto graphics cards (0: none); absent where that was never seen. */
  readonly vramShare?: number;
}

/** Which part of a load goes where, on a machine with graphics cards that have their own memory. */
export interface LoadPlacement {
  readonly ramBytes: number;
  readonly vramBytes: number;
  readonly cards: readonly { readonly name: string; readonly bytes: number }[];
}

export interface LoadPlan {
  readonly model: string;
  readonly engine: string;
  readonly contextTokens: number;
  readonly isLoaded: boolean;
  readonly fits: boolean;
  readonly estimate: MemoryEstimate;
  /** What must be free before the load: see design section 5. */
  readonly neededBytes: number;
  readonly freeBytes: number;
  /** Only where it does not fit: what would be free with everything idle unloaded, and what of it is the limit. */
  readonly atMost?: { readonly freeBytes: number; readonly limit: "memory" | "memory.maxBytes" };
  readonly evict: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  /** In words, one step each. */
  readonly steps: readonly string[];
  /** Absent where there is one memory, and where it does not fit. */
  readonly placement?: LoadPlacement;
  /** Why this machine is slow now, a sentence each. */
  readonly warnings?: readonly string[];
}
