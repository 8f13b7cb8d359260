import type { Generation, GenerationSink, GenerationRequest } from "./generation.ts";
import type {
  EngineKind,
  InstalledModel,
  MemoryEstimate,
  ModelFacts,
  OllamaServerOptions,
  Progress,
  ResidentModel,
  Trust,
} from "../types.ts";

/** Receives progress of a long call. Must not throw. */
export type Report = (progress: Progress) => void;

export interface EngineHealth {
  readonly isReachable: boolean;
  readonly version?: string;
  readonly latencyMs: number;
  /** What is wrong and what to do, when not reachable (or reachable and degraded). */
  readonly message?: string;
}

export interface LoadOptions {
  /** Context window in tokens, canonical (a power of two, or the model's own maximum). */
  readonly contextTokens: number;
  /**
   * Seconds without use before the engine may unload it; negative: never. Absent: unchanged when it is loaded, else the
   * engine's default. Not 0: Ollama takes a load that keeps nothing for an unload.
   */
  readonly keepAliveSeconds?: number;
  /** Threads granted by the scheduler; engines that manage their own ignore it. */
  readonly threads?: { readonly prefill: number; readonly decode: number };
}

/**
 * The one port to whatever runs models. Every method takes an AbortSignal and honours it: an aborted call rejects
 * with `Cancelled` and leaves no work behind. Foreign errors are translated at the adapter's edge (`errors.ts`).
 * An absent group of operations means: this engine can't, and tools that need it say so.
 */
export interface Engine {
  /** Unique among configured engines, stable: `ollama`, `llama-cpp`. */
  readonly id: string;
  readonly kind: EngineKind;
  readonly trust: Trust;
  /** Engines with the same id share one set of memory capacities; `local` is this machine. */
  readonly memoryDomain: string;
  /** What all models of that domain may use, where the settings say so; absent: this machine's memory, or nobody knows. */
  readonly memoryBytes?: number;
  /** How an Ollama server loads, where the settings say so; absent: as it does by itself. */
  readonly serverOptions?: OllamaServerOptions;
  /** Where its models run. What was learned of one address says nothing of another, and without one it isn't kept. */
  readonly address?: string;

  /** Never throws: unreachable is an answer. Bounded by the adapter (2 s). */
  health(signal: AbortSignal): Promise<EngineHealth>;
  /** Every model it holds, never a cached list. Throws `EngineUnreachable`. */
  list(signal: AbortSignal): Promise<readonly InstalledModel[]>;
  /** Throws `UnknownModel`, `EngineUnreachable`, `LoadFailed` (a file that cannot be read). */
  describe(model: string, signal: AbortSignal): Promise<ModelFacts>;
  /** Streams into `sink`, answers the whole. Loads the model first when it is not resident. */
  generate(request: GenerationRequest, sink: GenerationSink, signal: AbortSignal): Promise<Generation>;

  readonly library?: EngineLibrary;
  readonly residency?: EngineResidency;
  readonly embedding?: EngineEmbedding;
  readonly tokenizer?: EngineTokenizer;
  readonly estimation?: EngineEstimation;
  readonly installation?: EngineInstallation;

  /** Ends child processes and connections. Idempotent. */
  close(): Promise<void>;
}

export interface EngineLibrary {
  /** Downloads by name, resuming what is there; resolves when the model is listed. Throws `PullFailed`, `UnknownModel`. */
  pull(model: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Bytes a pull would move, before it does; undefined when the engine can't say beforehand. */
  pullSize?(model: string, signal: AbortSignal): Promise<number | undefined>;
  /** Takes a local GGUF (absolute path) into the library under `name`. */
  import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Deletes the name, and the files no other name uses. Throws `UnknownModel`. */
  remove(model: string, signal: AbortSignal): Promise<{ readonly freedBytes: number }>;
  readonly creation?: EngineCreation;
}

/** What another model is made of. */
export interface ModelRecipe {
  /** Complete, as Ollama prints it: `mine:latest`. */
  readonly name: string;
  /** A model of the same engine, whose weights it refers to. */
  readonly base: string;
  /** In place of the base's. */
  readonly system?: string;
  /** Over the base's; Ollama's names, in their types. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Absolute path of a LoRA as GGUF. */
  readonly adapterFile?: string;
}

export interface EngineCreation {
  /** Parameters that the engine obeys; absent: all that Ollama knows. */
  readonly parameterNames?: readonly string[];
  /** Replaces a model of that name. Throws `UnknownModel`, `InvalidRequest` (no adapter), `PullFailed` (disk, Ollama). */
  create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel>;
}

export interface PulledModel {
  readonly name: string;
  readonly digest?: string;
  readonly sizeBytes: number;
  readonly wasAlreadyPresent: boolean;
  /** Worth telling: it replaced another model of that name, or the registry was out of reach. */
  readonly note?: string;
}

export interface EngineResidency {
  loaded(signal: AbortSignal): Promise<readonly ResidentModel[]>;
  /**
   * Resolves when the model can answer. Throws `LoadFailed` (`OutOfMemory` when that was the reason), `UnknownModel`.
   * Loading a loaded model is cheap.
   */
  load(model: string, options: LoadOptions, report: Report, signal: AbortSignal): Promise<ResidentModel>;
  /**
   * Resolves when the memory is free (confirmed, not assumed); bounded by the adapter, which throws
   * `UnloadUnconfirmed` and goes on listing the model as long as it is there. Unloading what is not loaded is no error.
   */
  unload(model: string, signal: AbortSignal): Promise<void>;
}

export interface EngineEmbedding {
  /** `vectors`: number[][], one row per input, in order. Throws `UnsupportedCapability`. */
  embed(
    model: string,
    inputs: readonly string[],
    signal: AbortSignal,
  ): Promise<{ readonly vectors: readonly (readonly number[])[]; readonly promptTokens: number }>;
}

export interface EngineTokenizer {
  /** Exact count of `text` in the model's own tokens. The model must be loaded, else undefined. */
  count(model: string, text: string, signal: AbortSignal): Promise<number | undefined>;
  /**
   * Exact count of what `generate` would have the model read, chat template included. A model that isn't loaded is not
   * loaded for it: its vocabulary is enough. Undefined where it can't be counted; what is wrong then shows in `generate`.
   */
  countPrompt(request: CountedPrompt, signal: AbortSignal): Promise<number | undefined>;
}

/** What of a request decides how many tokens its prompt has. */
export type CountedPrompt = Pick<GenerationRequest, "model" | "messages" | "think" | "format">;

export interface EngineEstimation {
  /** Runs the engine's own allocator without allocating; undefined when it can't for this model. */
  estimate(model: string, options: LoadOptions, signal: AbortSignal): Promise<MemoryEstimate | undefined>;
  /**
   * The same for a load that another engine would make of weights which lie in a folder that this one reads, by their
   * sha256 in hex; undefined when they don't, or when this one can't read them.
   */
  simulate?(weightsDigest: string, load: SimulatedLoad, signal: AbortSignal): Promise<SimulatedBytes | undefined>;
}

/** A load in the terms of llama.cpp. */
export interface SimulatedLoad {
  /** Of one sequence. */
  readonly contextTokens: number;
  readonly parallel: number;
  /** Tokens that are computed at once. */
  readonly batchTokens: number;
  /** ggml's name: `f16`, `q8_0`. */
  readonly cacheType: string;
  readonly hasFlashAttention: boolean;
  readonly isEmbedding: boolean;
}

/** What llama.cpp's allocator would reserve; cache and compute are told apart by how they grow with the context. */
export interface SimulatedBytes {
  readonly weightsBytes: number;
  /** With recurrent state. */
  readonly cacheBytes: number;
  readonly computeBytes: number;
}

export interface EngineInstallation {
  isInstalled(): Promise<boolean>;
  /** Bytes to download, said before it starts. */
  readonly downloadBytes: number;
  /** Installs or repairs; two callers share one installation. */
  install(report: Report, signal: AbortSignal): Promise<void>;
}
