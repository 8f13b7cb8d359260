/**
 * Plain data that is shared by tools, resources, the server and the engines.
 * Sizes are bytes, durations milliseconds, counts tokens, and every name says so. Absence is `undefined`.
 */
import type { AnswerOptions } from "./sampling.ts";
import type { PartsProgress } from "./facade-answers.ts";

export type Privacy = "local_only" | "allow_remote";
export type Trust = "local" | "remote";
export type EngineKind = "ollama" | "llama-cpp" | "openai";
export const capabilities = [
  "completion",
  "tools",
  "insert",
  "vision",
  "embedding",
  "thinking",
  "image",
  "audio",
] as const;
export type Capability = (typeof capabilities)[number];
export type ThinkLevel = boolean | "low" | "medium" | "high";
/** The format of a recording that a request contains. */
export type AudioFormat = "wav" | "mp3";
/** A recording in base64, without a data: prefix. */
export interface AudioInput {
  readonly format: AudioFormat;
  readonly data: string;
}
/** A JSON Schema document; validated when it is compiled. */
export type JsonSchema = Readonly<Record<string, unknown>>;

// ---------------------------------------------------------------------------------------------------- callers

/** `repetition`: the answer was cut where it began to repeat itself. */
export type FinishReason = "stop" | "length" | "repetition";

/** Whether the client is our shell or dashboard, which act for the user. */
export function isShell(client: string): boolean {
  return client === "ollm" || client === "ollm-dashboard";
}

/** The caller and its settings. An argument of every facade method; callers have no other state. */
export interface CallerContext {
  /** One per connection; identifies callers in queues and logs. */
  readonly id: string;
  /** The name that the client reported (`claude-code`), or `unknown`. */
  readonly client: string;
  /** As the client reported it; absent for programs that are not clients of MCP. */
  readonly clientVersion?: string | undefined;
  /** Absolute paths of the folders whose files this caller may read. */
  readonly roots: readonly string[];
  /** Settings of scope caller, already merged in order of precedence. */
  readonly settings: CallerSettings;
  /** The project that it works in, if known. */
  readonly project?: CallerProject;
  /** The sources of its settings, if known. */
  readonly configured?: ConfiguredSettings;
  /** Settings of this caller that are not in force, one sentence each; only its own status shows them. */
  readonly warnings?: readonly string[];
  /** The trace (W3C Trace Context) that the call belongs to: its id and flags in hex, and `tracestate`. Without flags it is our own, which no engine is told. */
  readonly trace?: { readonly id: string; readonly flags?: string; readonly state?: string } | undefined;
  /** Aborted when the caller cancels this call or disconnects; `reason` is a `CallEnd`. */
  readonly signal: AbortSignal;
}

/** Why a call ended early: a cancel aborts what it started, a client that disconnects only detaches from pulls and jobs. */
export type CallEnd = "cancelled" | "disconnected";

/** All settings of one caller, with the source of each value. */
export interface ConfiguredSettings {
  /** A tree of the schema in `config/`. */
  readonly settings: unknown;
  /** `memory.bufferBytes` to `OLLM_MODEL`, `--model` or `/home/me/.ollm/config.yaml:3`; defaults are absent. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Settings that may differ from caller to caller (scope `caller` or `request` in the schema), with the names of the schema. */
export interface CallerSettings {
  readonly privacy: Privacy;
  readonly model: {
    readonly default?: string | undefined;
    readonly provider?: string | undefined;
    readonly routing: {
      readonly enabled: boolean;
      readonly defaultProfile: string;
      readonly maxSwitchSeconds: number;
      /** task → model name; aliases of tasks are replaced */
      readonly overrides: Readonly<Record<string, string>>;
      readonly learn: boolean;
    };
  };
  /** `model.default` is the `model` of a trusted project. */
  readonly isProjectModel?: boolean;
  /** The user's and a trusted project's; they change or add to the built-in ones. */
  readonly profiles: Readonly<Record<string, ProfileSettings>>;
  readonly options: AnswerOptions & { readonly maxTokens: number };
  /** Options with default values, which a model's own `PARAMETER` lines override. */
  readonly unset?: readonly ("temperature" | "maxTokens")[];
  readonly providers: { readonly ollama: { readonly options: { readonly numCtx?: number | undefined } } };
  /** Pattern of model names → their settings; the last match wins, setting by setting. */
  readonly models: Readonly<Record<string, ModelOverrides>>;
  readonly recall: { readonly injectTokens: number };
  /** That of a trusted project; overrides that of a model. */
  readonly systemPrompt?: string;
  readonly tools: {
    readonly sets: readonly string[];
    readonly enabled?: readonly string[] | undefined;
    readonly disabled: readonly string[];
  };
  readonly queue: { readonly maxWaitMs?: number | undefined };
  readonly jobs: { readonly patience: number };
}

/** `models.<glob>` */
export interface ModelOverrides extends Pick<ProfileSettings, "maxLatencyMs" | "minSuccessRate"> {
  readonly options?: AnswerOptions;
  /** At least this many. */
  readonly contextTokens?: number;
  /** Seconds; -1: no limit. */
  readonly keepAlive?: number;
  /** Size in memory; overrides every estimate. */
  readonly sizeBytes?: number;
  /** Concurrent answers. */
  readonly maxParallel?: number;
  readonly system?: string;
  readonly family?: string;
  readonly capabilities?: readonly Capability[];
  /** Names of profiles. */
  readonly profiles?: readonly string[];
}

// ------------------------------------------------------------------------------------------------- operations

export type OperationKind = "pull" | "load" | "generate" | "unload" | "delete" | "compare" | "batch" | "delegate";
export type OperationState = "running" | "succeeded" | "failed" | "cancelled";

/** Tokens of one prompt, as far as its engine reports them. */
export interface PromptTokens {
  readonly promptTokens?: number;
  readonly cachedPromptTokens?: number;
  /** Those of the cached ones that came from disk. */
  readonly restoredPromptTokens?: number;
}

/** The current activity as text (for people: `loading smollm2:135m`) and, where known, numbers. */
export interface Progress {
  readonly message: string;
  readonly completedBytes?: number;
  readonly totalBytes?: number;
  readonly bytesPerSecond?: number;
  /** Tokens produced so far by a generation, and the model that works now. */
  readonly completionTokens?: number;
  readonly model?: string;
  /** Why this model, and how long its request waited and the load took: before the engine is asked, for a program's conversation. */
  readonly reason?: string;
  readonly queueMs?: number;
  readonly loadMs?: number;
  readonly parts?: PartsProgress;
}

/** Partial text of a running generation; of a comparison, also the answer of each model so far. */
export interface PartialText {
  readonly text: string;
  readonly thinking: string;
  readonly answers?: readonly { readonly model: string; readonly text: string }[];
}

/**
 * A running pull, load or generation that calls follow and may detach from.
 *
 * | event                                  | with other followers   | as the last follower      |
 * |----------------------------------------|------------------------|---------------------------|
 * | follower's call is cancelled           | continues              | aborted                   |
 * | follower's client disconnected         | continues              | generation, load: aborted; pull: continues |
 * | follower detached (now a job)          | continues              | continues until `cancel()`|
 */
export interface Operation<Result> {
  readonly id: string;
  readonly kind: OperationKind;
  /** For people: `pull smollm2:135m`. */
  readonly title: string;
  readonly startedAtMs: number;
  state(): OperationState;
  /** It was cancelled; the state is "running" until the work has stopped. */
  isAborted(): boolean;
  progress(): Progress | undefined;
  partial(): PartialText | undefined;
  /**
   * Waits for the outcome on behalf of one call. Rejects with `Cancelled` if `signal` aborts first, and aborts the
   * operation according to the table above. `onProgress` gets the latest progress at once, then each update.
   */
  follow(signal: AbortSignal, onProgress?: (progress: Progress) => void): Promise<Result>;
  /** Keeps the operation running without followers, as a job. */
  detach(): void;
  /** Aborts it for all followers. Idempotent. */
  cancel(): void;
}

// ----------------------------------------------------------------------------------------------------- models

export type ModelStatus = "installed" | "pulling" | "loading" | "loaded" | "error";

/** A model in the list of an engine. */
export interface InstalledModel {
  /** As the engine names it, tag included (`smollm2:135m`). */
  readonly name: string;
  /** sha256 hex of what identifies it (weights blob or manifest); models with the same digest share weights. */
  readonly digest?: string;
  /** Bytes on disk; 0 for a remote model. */
  readonly sizeBytes: number;
  readonly modifiedAt?: string;
  readonly family?: string;
  /** As published: `134.52M`, `7.6B`. */
  readonly parameterSize?: string;
  readonly quantization?: string;
  readonly contextTokens?: number;
  readonly capabilities?: readonly Capability[];
  /** What the settings say of it, in place of its engine and the model database. */
  readonly stated?: Pick<ModelOverrides, "family" | "capabilities" | "profiles">;
  /** `remote` for Ollama's cloud models: they use no RAM here, and `local_only` excludes them. */
  readonly trust: Trust;
}

/** Facts about one model from its engine; numbers are from the file's metadata, absent if unknown. */
export interface ModelFacts extends Omit<InstalledModel, "modifiedAt" | "family" | "capabilities" | "stated"> {
  readonly architecture?: string;
  /** The context window the model was trained for, in tokens. */
  readonly contextTokens?: number;
  readonly layerCount?: number;
  readonly embeddingLength?: number;
  readonly vocabularySize?: number;
  /** Bytes of all tensors, if the engine lists them: `sizeBytes` without header and projector. */
  readonly weightsBytes?: number;
  /** sha256 (hex) of the weights file, if the engine reports it; `digest` may be that of a manifest. */
  readonly weightsDigest?: string;
  /** sha256 (hex) of adapters and projectors; absent if there are none. */
  readonly attachedDigests?: readonly string[];
  readonly capabilities: readonly Capability[];
  readonly system?: string;
  /** `PARAMETER` lines of a manifest (`temperature`, `stop`, ...). */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** The GGUF keys (`llama.block_count`, ...) that the memory formulas use; 64 KiB at most. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Types of a key/value cache with their ggml names, from large to small. */
export const cacheTypes = ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] as const;
export type CacheType = (typeof cacheTypes)[number];

/** The parameters of a load that its memory depends on. */
export interface LoadShape {
  /** Context of one sequence. */
  readonly contextTokens: number;
  /** Number of sequences with a cache each (Ollama: `OLLAMA_NUM_PARALLEL`). */
  readonly parallel: number;
  /** Tokens that are computed together (`n_ubatch`). */
  readonly batchTokens: number;
  readonly cacheType: CacheType;
  /** Without flash attention, the attention scores are stored. */
  readonly hasFlashAttention: boolean;
}

/**
 * Environment settings of an Ollama server that affect loads and that its API does not report: `OLLAMA_NUM_PARALLEL`,
 * `OLLAMA_KV_CACHE_TYPE`, and `OLLAMA_FLASH_ATTENTION`, which is on by default if the hardware supports it.
 */
export type OllamaServerOptions = Pick<LoadShape, "parallel" | "cacheType" | "hasFlashAttention">;

// ------------------------------------------------------------------------------------------------------ other

export type ProjectKind = "typescript" | "typescript-monorepo" | "python" | "rust" | "go" | "documentation";

/** The known settings of `.ollm/project.yaml`. */
export interface ProjectFile {
  readonly profile?: string;
  readonly model?: string;
  readonly systemPrompt?: string;
  readonly tools?: { readonly enabled?: readonly string[]; readonly disabled?: readonly string[] };
  readonly routing?: { readonly defaultProfile?: string };
  readonly profiles?: Readonly<Record<string, ProfileSettings>>;
}

/** The project that a caller works in. */
export interface CallerProject {
  /** Absolute and resolved: the folder that holds `.ollm`, or the client's root. */
  readonly folder: string;
  readonly kind?: ProjectKind;
  /** Why it is of that kind: `tsconfig.json`, `workspaces in package.json`. */
  readonly evidence: readonly string[];
  /** `.ollm/project.yaml`, if it exists. */
  readonly file?: string;
  /**
   * The user has approved the current content of the file and templates. Otherwise system prompt, model and templates are
   * not used, and `settings.tools` hides none of the tools that work needs.
   */
  readonly isTrusted: boolean;
  /** The settings of the file (or of the detected kind) in force, considering trust. */
  readonly settings: ProjectFile;
  /** `.ollm/templates`, trusted or not; absent if the folder does not exist. */
  readonly templatesFolder?: string;
  readonly pipelinesFolder?: string;
  /** The approved templates and pipelines with the sha256 (hex) of their content; absent if they are not approved. */
  readonly templates?: readonly { readonly file: string; readonly sha256: string }[];
  /** The profile is that of the detected kind; the user has chosen none. */
  readonly isProfileDetected?: true;
  /** The location of each of `settings`: `model` → `/project/.ollm/project.yaml:2`. */
  readonly sources?: Readonly<Record<string, string>>;
  /** What waits for the user's approval: one sentence, also among `notes`. */
  readonly waiting?: string;
  /** The hash of the content that waits for approval, as in `ProjectQuestion`; present with `waiting`. */
  readonly waitingDigest?: string;
  /** Ignored keys with the reason, one sentence each. */
  readonly notes: readonly string[];
}

/** The tasks that the classifier finds in prompts, in the order of its weights. */
export const classifiedTasks = [
  "code",
  "debugging",
  "code_review",
  "reasoning",
  "summarization",
  "extraction",
  "translation",
  "question_answering",
  "transcription",
  "creative",
  "fast",
  "general",
] as const;
export type ClassifiedTask = (typeof classifiedTasks)[number];
/** Kinds of tasks for routing: `task` of a request, or classified. Images tell vision; embedding is never inferred. */
export const tasks = [...classifiedTasks, "vision", "embedding"] as const;
export type Task = (typeof tasks)[number];

/** Other names of tasks. */
export const taskAliases: ReadonlyMap<string, Task> = new Map([
  ["code_generation", "code"],
  ["coding", "code"],
  ["creative_writing", "creative"],
]);

/** All names of tasks, aliases last. */
export const taskNames: readonly string[] = [...tasks, ...taskAliases.keys()];

/** A profile as users write it; what it leaves out comes from the profile that it extends. */
export interface ProfileSettings extends AnswerOptions {
  readonly description?: string;
  /** The profile that this one builds on. */
  readonly extends?: string;
  /** Preferred models, best first, before all families. */
  readonly models?: readonly string[];
  /** Preferred families, best first. */
  readonly families?: readonly string[];
  /** Capabilities of the models that match, in addition to those that a request requires. */
  readonly needs?: readonly Capability[];
  /** Smallest context window of a model that matches. */
  readonly contextTokens?: number;
  readonly system?: string;
  /** The profile, or the models, to try when no model matches. */
  readonly fallback?: string | readonly string[];
  /** A longer time to the first token is reported; models measured to be slower are tried last. */
  readonly maxLatencyMs?: number;
  /** A smaller share of answered requests is reported; models below it are tried last. */
  readonly minSuccessRate?: number;
  /** Names of templates for this kind of work. */
  readonly templates?: readonly string[];
}

/** Requirements and preferences of a kind of work, and how its requests are sent. An agent is a profile. */
export interface Profile extends Omit<ProfileSettings, "extends"> {
  readonly name: string;
  /** They only affect the ranking, except under `match: "families"`; no model is excluded for its family. */
  readonly families: readonly string[];
  readonly contextTokens: number;
  readonly requires?: readonly "streaming"[];
  /** The published profile whose models match; absent: its own name. */
  readonly base?: string;
  /** `families`: only models of its families match, and of `base` if it has one; `any`: models with its capabilities. */
  readonly match?: "families" | "any";
}
