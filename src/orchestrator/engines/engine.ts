import type { PullResult } from "../api/facade.ts";
import type { ConnectionUsage, MemoryEstimate } from "../api/facade-status.ts";
import type { Prices } from "../api/cost.ts";
import type {
  AudioFormat,
  EngineKind,
  InstalledModel,
  LoadShape,
  ModelFacts,
  OllamaServerOptions,
  Progress,
  PromptTokens,
  Trust,
} from "../api/types.ts";
import type { Generation, GenerationRequest, GenerationSink } from "./generation.ts";

/** Receives progress of a long call. Must not throw. */
export type Report = (progress: Progress) => void;

export interface EngineHealth {
  readonly isReachable: boolean;
  readonly version?: string;
  /** What is wrong when the engine is unreachable, or reachable and degraded. */
  readonly message?: string;
}

export interface EngineLoad {
  readonly running: number;
  readonly waiting: number;
}

export interface LoadOptions {
  /** Context window in tokens, canonical (a power of two, or the model's own maximum). */
  readonly contextTokens: number;
  /**
   * Idle seconds after which the engine may unload the model; negative: never. Absent: unchanged for a loaded model,
   * else the engine's default. Must not be 0: Ollama treats such a load as an unload.
   */
  readonly keepAliveSeconds?: number;
  /** As planned (`LoadPlacement.layers`), for an engine whose estimates have `byLayers`. */
  readonly gpuLayers?: number;
}

/**
 * The port to the programs that run models. Every method honours its AbortSignal: an aborted call rejects with
 * `Cancelled` and leaves no work behind. Adapters translate foreign errors (`errors.ts`). An absent group of operations
 * means that the engine does not support them.
 */
export interface Engine {
  /** Unique among configured engines, stable: `ollama`, `llama-cpp`. */
  readonly id: string;
  /** For statuses and stored observations alone: what differs between engines is a fact, a method or an absent group. */
  readonly kind: EngineKind;
  readonly trust: Trust;
  /** Engines with the same id share one set of memory capacities; `local` is this machine. */
  readonly memoryDomain: string;
  /** Memory that the models of that domain may use, if configured; absent: this machine's memory, or unknown. */
  readonly memoryBytes?: number;
  /** Whether its models may be placed on graphics cards. Absent: it computes on the processor. */
  readonly usesCards?: true;
  /** Where all its models run; absent: its models tell (`vramBytes`), or it is unknown. */
  readonly processor?: "CPU" | "GPU";
  /**
   * No other program uses it: its models are in child processes of this program and end with it, it applies their
   * keep-alives itself, and it needs no server. Absent: a server, which other programs use too.
   */
  readonly isPrivate?: true;
  /**
   * Concurrent answers of one model, unless its settings say otherwise. Absent: one model at a time answers, because they
   * share cores of this machine, and so many requests as `answersAtOnce` says.
   */
  readonly parallelAnswers?: number;
  /** Conversations in the cache of a loaded model now. Absent: it has one, or doesn't tell. */
  readonly cachesOf?: (model: string) => number;
  /**
   * How many answers of a model are computed at the same time, as the settings state, or as was seen or measured; the others
   * wait. Absent: all of them.
   */
  readonly answersAtOnce?: (model: string) => number;
  /**
   * Pauses an answer in the background (`GenerationRequest.background`) while another request computes, and continues it
   * afterwards with the text that it would have had. Absent: such an answer runs to its end.
   */
  readonly pausesAnswers?: true;
  /** Formats of recordings that it passes on to models that hear; absent: none, so its models don't. */
  readonly audioFormats?: readonly AudioFormat[];
  /** Prices of a model's tokens; absent, or undefined for a model: its answers cost nothing. */
  readonly pricesOf?: (model: string) => Prices | undefined;
  /** Limit of a calendar month's costs, in the currency of its prices. Absent: no limit. */
  readonly monthlyBudget?: number;
  /**
   * Engines with an equal value serve the same weights under the same name, without digests: `cluster`. Absent: only equal
   * digests make copies of a model.
   */
  readonly replicas?: string;
  /** Requests that its servers report at the moment, those of other programs included; undefined: not reported. */
  readonly currentLoad?: (signal: AbortSignal) => Promise<EngineLoad | undefined>;
  /** Where its models run. Observations are stored per address, and not at all for an engine without one. */
  readonly address?: string;
  /**
   * Whether nothing suggests that the user has this engine: it is not configured, not installed here, and another engine
   * serves without it. One that has never responded is then not mentioned. Absent: never.
   */
  readonly isOptional?: () => Promise<boolean>;

  /** Never throws; resolves within 2 s. */
  health(signal: AbortSignal): Promise<EngineHealth>;
  /** Lists every installed model, uncached. Throws `EngineUnreachable`. */
  list(signal: AbortSignal): Promise<readonly InstalledModel[]>;
  /** Throws `UnknownModel`, `EngineUnreachable`, or `LoadFailed` for an unreadable file. */
  describe(model: string, signal: AbortSignal): Promise<ModelFacts>;
  /** Streams into `sink` and returns the whole answer. Loads the model first when it is not resident. */
  generate(request: GenerationRequest, sink: GenerationSink, signal: AbortSignal): Promise<Generation>;

  readonly library?: EngineLibrary;
  /** Absent: its models take no memory that this program could manage. */
  readonly residency?: EngineResidency | undefined;
  readonly embedding?: EngineEmbedding;
  readonly tokenizer?: EngineTokenizer;
  readonly estimation?: EngineEstimation;
  readonly installation?: EngineInstallation;

  /** The use of its connections. Absent: it has none. */
  connections?(): ConnectionUsage;

  /** Ends child processes and closes connections. Idempotent. */
  close(): Promise<void>;
}

export interface EngineLibrary {
  /** Downloads by name, resuming a partial download; resolves when the model is listed. Throws `PullFailed`, `UnknownModel`. */
  pull(model: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** What a pull downloads, by the manifest at `host`. Throws as `pull`, and if it would be refused. Absent: it can't tell. */
  downloadOf?(model: string, signal: AbortSignal): Promise<{ readonly sizeBytes: number; readonly host: string }>;
  /** Adds a local GGUF file (absolute path) to the library under `name`. */
  import(file: string, name: string, report: Report, signal: AbortSignal): Promise<PulledModel>;
  /** Deletes the name and the files that no other name uses. Throws `UnknownModel`. */
  remove(model: string, signal: AbortSignal): Promise<{ readonly freedBytes: number }>;
  readonly creation?: EngineCreation;
}

/** How to create a model from another one. */
export interface ModelRecipe {
  /** Full name, as Ollama prints it: `mine:latest`. */
  readonly name: string;
  /** A model of the same engine, whose weights the new model shares. */
  readonly base: string;
  /** Replaces the base's system prompt. */
  readonly system?: string;
  /** Override the base's parameters; names and types as in Ollama. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Absolute path of a LoRA adapter in GGUF format. */
  readonly adapterFile?: string;
  /** Replaces the base's template, in Go's language; only if the engine `hasTemplates`. */
  readonly template?: string;
}

export interface EngineCreation {
  /** Parameters that the engine supports; absent: all of Ollama's. */
  readonly parameterNames?: readonly string[];
  /** It formats prompts by a template in Go's language. Absent: by the one in the weights. */
  readonly hasTemplates?: true;
  /** Replaces a model of that name. Throws `UnknownModel`, `InvalidRequest` (not an adapter), `PullFailed` (disk, Ollama). */
  create(recipe: ModelRecipe, report: Report, signal: AbortSignal): Promise<PulledModel>;
}

export type PulledModel = Omit<PullResult, "engine">;

/** How an engine uses memory: pure rules by which its loads are predicted. */
export interface LoadRules {
  /** How it would load the model for one conversation with this context. */
  loadShape(facts: ModelFacts, contextTokens: number): LoadShape;
  /** Which of its processes serves the model; undefined if its weights are unknown. */
  processOf(facts: ModelFacts): ModelProcess | undefined;
  /**
   * Options of its server that apply to every load. Present if its reported sizes are those of buffers, which depend on
   * the model, the context and these options alone, so that they are learned. Absent: the memory of its processes grows
   * with use.
   */
  readonly serverOptions?: OllamaServerOptions;
  /** Bytes that its own scheduler expects of a load; it may unload other models if they are not free. Absent: it has none. */
  schedulerBytes?(facts: ModelFacts, load: LoadShape): number;
  /** Its own scheduler unloads the model with the shortest keep-alive first, regardless of last use. */
  readonly evictsByKeepAlive?: true;
}

interface ModelProcess {
  /** Equal for models of which only one can be loaded at a time. */
  readonly slot: string;
  /** Equal for models that one process serves with the same context. */
  readonly runner: string;
}
/** A model in memory, as its engine lists it. */
export interface ResidentModel {
  readonly name: string;
  readonly digest?: string;
  /** RAM and VRAM together. */
  readonly sizeBytes: number;
  /** The size that the engine reports, if that is incomplete. */
  readonly reportedBytes?: number;
  readonly vramBytes: number;
  /** File-mapped bytes, which MemAvailable counts as free although they are in use; absent if not measured. */
  readonly mappedBytes?: number;
  readonly contextTokens?: number;
  readonly expiresAt?: string;
  /** Measured load time, if this program loaded it. */
  readonly loadMs?: number;
  /** That of its last answer here, if the engine tells. */
  readonly lastPrompt?: PromptTokens;
}

export interface EngineResidency extends LoadRules {
  loaded(signal: AbortSignal): Promise<readonly ResidentModel[]>;
  /**
   * Resolves when the model is ready. Throws `LoadFailed` (`OutOfMemory` when that was the reason; `CardFailed` when it may
   * succeed without cards, which the next load is then), `UnknownModel`.
   * Loading a loaded model is cheap.
   */
  load(model: string, options: LoadOptions, report: Report, signal: AbortSignal): Promise<ResidentModel>;
  /**
   * Why the next load of the model uses no graphics card, although the engine does; without a name: no load at all. Absent:
   * its server decides.
   */
  cardFailure?(model?: string): string | undefined;
  /**
   * Resolves when the memory is confirmed to be free. After a timeout the adapter throws `UnloadUnconfirmed` and keeps
   * listing the model until it is gone. Unloading a model that is not loaded succeeds.
   */
  unload(model: string, signal: AbortSignal): Promise<void>;
}

export interface EngineEmbedding {
  /**
   * Returns one vector per input, in order. Throws `UnsupportedCapability`. `loadedTokens` is the context of the loaded
   * instance of a model that is known to embed: the engine is asked nothing else then.
   */
  embed(
    model: string,
    inputs: readonly string[],
    signal: AbortSignal,
    loadedTokens?: number,
  ): Promise<{ readonly vectors: readonly (readonly number[])[]; readonly promptTokens: number }>;
}

interface EngineTokenizer {
  /** Counts the model's tokens in `text`; undefined unless the model is loaded. */
  count(model: string, text: string, signal: AbortSignal): Promise<number | undefined>;
  /**
   * Counts the tokens of the prompt that `generate` would evaluate, chat template included. Reads only the vocabulary
   * of a model that isn't loaded. Undefined where counting fails; `generate` then reports why.
   */
  countPrompt(
    request: Pick<GenerationRequest, "model" | "messages" | "think" | "format" | "tools" | "toolChoice">,
    signal: AbortSignal,
  ): Promise<number | undefined>;
}

interface EngineEstimation {
  /** Runs the engine's own allocator without allocating; undefined when it can't simulate this model. */
  estimate(model: string, options: LoadOptions, signal: AbortSignal): Promise<MemoryEstimate | undefined>;
  /**
   * Simulates a load by another engine of weights that are stored in a folder of this engine, given by their sha256 in
   * hex; undefined when they are not there or can't be read.
   */
  simulate?(weightsDigest: string, load: SimulatedLoad, signal: AbortSignal): Promise<SimulatedBytes | undefined>;
}

export interface SimulatedLoad extends LoadShape {
  readonly isEmbedding: boolean;
}

/** What llama.cpp's allocator would reserve; cache and compute are separated by their growth with the context. */
interface SimulatedBytes {
  readonly weightsBytes: number;
  /** Includes recurrent state. */
  readonly cacheBytes: number;
  readonly computeBytes: number;
}

interface EngineInstallation {
  isInstalled(): Promise<boolean>;
  /** Bytes to download, known before the download starts. */
  readonly downloadBytes: number;
  /** Installs or repairs; concurrent callers share one installation. */
  install(report: Report, signal: AbortSignal): Promise<void>;
}

/**
 * Identifies an engine across restarts by kind and address: its id may change when `providers.ollama.hosts` does.
 * Undefined without an address.
 */
export function engineKey({ kind, address }: Pick<Engine, "kind" | "address">): string | undefined {
  return address === undefined ? undefined : `${kind} ${address}`;
}

/** Whether two models may share weights, judged by the list alone. */
export function looksAlike(one: InstalledModel, other: InstalledModel): boolean {
  return (
    one.family === other.family && one.parameterSize === other.parameterSize && one.quantization === other.quantization
  );
}
