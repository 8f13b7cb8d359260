/**
 * The plain data that crosses the facade: what tools, resources, the server and the engines agree on.
 * Sizes are bytes, durations milliseconds, counts tokens, and every name says so. Absence is `undefined`.
 */

export type Privacy = "local_only" | "allow_remote";
export type Trust = "local" | "remote";
export type EngineKind = "ollama" | "llama-cpp" | "openai";
export type Capability = "completion" | "tools" | "insert" | "vision" | "embedding" | "thinking" | "image" | "audio";
export type ThinkLevel = boolean | "low" | "medium" | "high";
/** A JSON Schema document; validated by whoever compiles it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

// ---------------------------------------------------------------------------------------------------- callers

/** Who asks, and under which rules. An argument of every facade method; nothing about a caller is kept elsewhere. */
export interface CallerContext {
  /** One per connection; tells callers apart in queues and logs. */
  readonly id: string;
  /** As the client introduced itself (`claude-code`), or `unknown`. */
  readonly client: string;
  /** Absolute folders whose files this caller may name. */
  readonly roots: readonly string[];
  /** The folder that relative file names are tried against first; absent when it carries no project marker. */
  readonly workingDirectory?: string;
  /** Settings of scope caller, already merged in order of precedence. */
  readonly settings: CallerSettings;
  /** Aborted when the caller cancels this call or vanishes; `reason` is a `CallEnd`. */
  readonly signal: AbortSignal;
}

/** Why a call ended early: a cancel aborts what it started, a vanished host only lets go of pulls and jobs. */
export type CallEnd = "cancelled" | "disconnected";

/** Settings that may differ from caller to caller (scope `caller` in the schema). */
export interface CallerSettings {
  readonly privacy: Privacy;
  /** `model.default`: used when routing is off, and preferred when the request names nothing. */
  readonly defaultModel?: string;
  readonly routing: {
    readonly isEnabled: boolean;
    readonly defaultProfile: string;
    /** task → model name */
    readonly overrides: Readonly<Record<string, string>>;
  };
  readonly temperature?: number;
  readonly topP?: number;
  readonly maxTokens: number;
  /** At least this many tokens of context, unless the request says otherwise. */
  readonly contextTokens?: number;
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
 * A pull, load or generation under way; calls subscribe to it and may let go of it.
 *
 * | event                                  | while others follow it | when nobody else does     |
 * |----------------------------------------|------------------------|---------------------------|
 * | follower's call is cancelled           | goes on                | aborted                   |
 * | follower's host vanished               | goes on                | generation, load: aborted; pull: goes on |
 * | follower let go (`detach`, now a job)  | goes on                | goes on until `cancel()`  |
 */
export interface Operation<Result> {
  readonly id: string;
  readonly kind: OperationKind;
  /** For people: `pull smollm2:135m`. */
  readonly title: string;
  readonly startedAtMs: number;
  state(): OperationState;
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
  readonly capabilities: readonly Capability[];
  readonly trust: Trust;
  readonly template?: string;
  readonly system?: string;
  /** `PARAMETER` lines of a manifest (`temperature`, `stop`, ...). */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Raw GGUF key/values (`llama.block_count`, ...) for the memory formulas; long arrays left out. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** A model in memory. */
export interface ResidentModel {
  readonly name: string;
  readonly digest?: string;
  /** Everything it occupies, RAM and VRAM. */
  readonly sizeBytes: number;
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
    readonly computeBytes: number;
    readonly otherBytes: number;
  };
  /** The engine process's own base, which `predictedBytes` leaves out. */
  readonly processBytes: number;
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
  readonly evict: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  /** In words, one step each. */
  readonly steps: readonly string[];
}

// --------------------------------------------------------------------------------------- requests and results

export interface ListModelsRequest {
  readonly query?: string;
  readonly capability?: Capability;
  readonly engine?: string;
  readonly isLoadedOnly?: boolean;
  /** Adds facts and the fit of each model; costs a look at every model. */
  readonly isVerbose?: boolean;
  readonly limit?: number;
}

export interface ListedModel {
  readonly name: string;
  readonly engine: string;
  readonly sizeBytes: number;
  readonly isLoaded: boolean;
  /** Whether it could be loaded now, evicting idle models if need be; absent for remote models. */
  readonly fits?: boolean;
  readonly status: ModelStatus;
  readonly trust: Trust;
  readonly family?: string;
  readonly quantization?: string;
  readonly parameterSize?: string;
  readonly contextTokens?: number;
  readonly capabilities?: readonly Capability[];
  readonly profiles?: readonly string[];
  readonly modifiedAt?: string;
  readonly error?: string;
  readonly fit?: {
    readonly predictedBytes: number;
    readonly neededBytes: number;
    readonly freeBytes: number;
    readonly method: EstimateMethod;
    readonly margin: number;
  };
  /** Measured decode speed, when this program has seen it generate. */
  readonly tokensPerSecond?: number;
}

export interface ModelList {
  readonly models: readonly ListedModel[];
  /** Before `limit`. */
  readonly total: number;
  /** Engines whose list is a remembered one, because they do not answer now. */
  readonly stale: readonly { readonly engine: string; readonly since: string; readonly message: string }[];
  /** With no model at all: what to pull on this machine. */
  readonly suggestion?: StarterSuggestion;
}

export interface StarterSuggestion {
  readonly name: string;
  readonly reason: string;
}

export interface PullRequest {
  readonly model: string;
  /** Absolute path of a readable local GGUF to import instead of downloading. */
  readonly from?: string;
  readonly engine?: string;
}

export interface PullResult {
  readonly name: string;
  readonly engine: string;
  readonly sizeBytes: number;
  readonly digest?: string;
  readonly wasAlreadyPresent: boolean;
  /** Worth telling: it replaced another model of that name, or the registry was out of reach. */
  readonly note?: string;
}

export interface LoadRequest {
  readonly model: string;
  /** At least this many. */
  readonly contextTokens?: number;
  readonly keepAliveSeconds?: number;
}

export interface LoadResult {
  readonly model: string;
  readonly engine: string;
  readonly loadMs: number;
  readonly wasLoaded: boolean;
  readonly plan: LoadPlan;
}

/** Kinds of work that routing tells apart; `task` of a request, or classified from its prompt. */
export type Task = "code" | "general" | "creative" | "fast" | "vision" | "embedding";

export interface GenerateRequest {
  readonly prompt: string;
  readonly system?: string;
  readonly task?: Task;
  readonly complexity?: "low" | "medium" | "high";
  readonly profile?: string;
  readonly model?: string;
  /** Text files, already read inside the roots. */
  readonly files?: readonly { readonly path: string; readonly text: string }[];
  /** Base64 images, already read inside the roots. */
  readonly images?: readonly string[];
  readonly format?: "json" | JsonSchema;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly contextTokens?: number;
  readonly think?: ThinkLevel;
  readonly keepAliveSeconds?: number;
  /** May only narrow what the caller's settings allow. */
  readonly privacy?: Privacy;
}

export interface ConsideredModel {
  readonly model: string;
  readonly engine: string;
  /** Why it was ruled out; absent for candidates. */
  readonly rejected?: string;
  readonly score?: number;
}

export interface RouteExplanation {
  readonly task: Task;
  readonly profile: string;
  readonly considered: readonly ConsideredModel[];
  readonly attempts: readonly { readonly model: string; readonly engine: string; readonly outcome: string }[];
}

export interface GenerateResult {
  readonly text: string;
  readonly thinking?: string;
  readonly model: string;
  readonly engine: string;
  readonly finishReason: "stop" | "length";
  /** Why this model, in a few words. */
  readonly reason: string;
  readonly promptTokens: number;
  readonly cachedPromptTokens?: number;
  readonly completionTokens: number;
  readonly tokensPerSecond: number;
  readonly totalMs: number;
  readonly timing: { readonly queueMs: number; readonly loadMs: number; readonly firstTokenMs: number };
  readonly route: RouteExplanation;
  /** What we did differently from what was asked, and why (`max_tokens 9000 lowered to 8192, ...`). */
  readonly notes: readonly string[];
}

/** What `generate` would do, without doing it. */
export interface RoutePlan {
  readonly model: string;
  readonly engine: string;
  readonly reason: string;
  readonly route: RouteExplanation;
  readonly plan: LoadPlan;
}

export interface ModelDescription {
  readonly model: ListedModel;
  readonly facts: ModelFacts;
  readonly database?: DatabaseEntry;
}

/** One row of the model database. */
export interface DatabaseEntry {
  /** Glob over model names: `llama3.1:*`. */
  readonly pattern: string;
  readonly family: string;
  readonly contextTokens: number;
  readonly outputTokens?: number;
  readonly capabilities: readonly Capability[];
  readonly profiles: readonly string[];
  /** Where the figures come from. */
  readonly source: string;
}

export interface RamStatus {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  readonly warning?: string;
  readonly gpus: readonly { readonly name: string; readonly totalBytes: number; readonly freeBytes?: number }[];
  readonly loaded: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  readonly sampledAt: string;
}

export interface EngineStatus {
  readonly id: string;
  readonly kind: EngineKind;
  readonly trust: Trust;
  readonly health: "ok" | "not_installed" | "unreachable";
  readonly version?: string;
  readonly message?: string;
  readonly modelCount: number;
}

export interface SystemStatus {
  readonly version: string;
  readonly home: string;
  readonly privacy: Privacy;
  readonly ram: RamStatus;
  readonly engines: readonly EngineStatus[];
  readonly queue: readonly { readonly model: string; readonly running: number; readonly waiting: number }[];
  readonly operations: readonly { readonly id: string; readonly title: string; readonly message?: string }[];
  /** Bytes of prompts sent to engines whose trust is not local since start: 0 under `local_only`. */
  readonly remoteRequests: number;
  readonly warnings: readonly string[];
}

// --------------------------------------------------------------------------------------------------- the facade

/** The brain, as tools and resources see it. It knows nothing of MCP. Every method may throw `OrchestratorError`s. */
export interface Orchestrator {
  listModels(caller: CallerContext, request: ListModelsRequest): Promise<ModelList>;
  describeModel(caller: CallerContext, name: string): Promise<ModelDescription>;
  pullModel(caller: CallerContext, request: PullRequest): Promise<Operation<PullResult>>;
  /** No effects. */
  planLoad(caller: CallerContext, request: LoadRequest): Promise<LoadPlan>;
  loadModel(caller: CallerContext, request: LoadRequest): Promise<Operation<LoadResult>>;
  /** No effects. */
  planGeneration(caller: CallerContext, request: GenerateRequest): Promise<RoutePlan>;
  generate(caller: CallerContext, request: GenerateRequest): Promise<Operation<GenerateResult>>;
  /** Names that were unloaded, with the bytes they held. Without a name: all of them. */
  unloadModels(
    caller: CallerContext,
    name?: string,
  ): Promise<readonly { readonly name: string; readonly engine: string; readonly bytes: number }[]>;
  deleteModel(
    caller: CallerContext,
    name: string,
  ): Promise<{ readonly name: string; readonly engine: string; readonly freedBytes: number }>;
  database(caller: CallerContext): readonly DatabaseEntry[];
  ramStatus(caller: CallerContext): Promise<RamStatus>;
  systemStatus(caller: CallerContext): Promise<SystemStatus>;
  /** Limits for files that tools read on a caller's behalf. */
  readonly fileLimits: { readonly maxFileBytes: number; readonly maxTotalBytes: number };
  close(): Promise<void>;
}
