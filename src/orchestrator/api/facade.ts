/** The facade of the orchestrator: requests and results as plain data, with units in the names. */
import type { Chat, ChatMessage, EmbedRequest, EmbedResult, ToolCall, ToolDefinition } from "./chat.ts";
import type { Sampling } from "./sampling.ts";
import type { Cost } from "./cost.ts";
import type { Check, CheckResult, GroundedValues, PartsRead, QueriedRows, Split } from "./facade-answers.ts";
import type { BatchSummary, Batches, Workers } from "./facade-batches.ts";
import type { Comparisons } from "./facade-compare.ts";
import type { LiveView, Metrics } from "./facade-metrics.ts";
import type { Projects, Templates } from "./facade-templates.ts";
import type { Memories } from "./facade-recall.ts";
import type { DatabaseEntry, Profiles, RouteExplanation } from "./facade-route.ts";
import type {
  CreateModelRequest,
  Decision,
  RamStatus,
  SettingsAccess,
  SystemStatus,
  LoadPlan,
  MemoryEstimate,
} from "./facade-status.ts";
import type {
  AudioInput,
  CallerContext,
  Capability,
  FinishReason,
  InstalledModel,
  JsonSchema,
  ModelFacts,
  ModelStatus,
  Operation,
  OperationKind,
  OperationState,
  PartialText,
  Privacy,
  Progress,
  PromptTokens,
  Task,
  ThinkLevel,
} from "./types.ts";

export interface ListModelsRequest {
  readonly query?: string;
  readonly capability?: Capability;
  readonly engine?: string;
  readonly isLoadedOnly?: boolean;
  /** Leaves out models that are still being pulled. */
  readonly isInstalledOnly?: boolean;
  /** Adds facts and the fit of each model, which requires reading every model. */
  readonly isVerbose?: boolean;
  readonly limit?: number;
}

/** A model that was unloaded on request, with the bytes it used. */
export interface UnloadedModel {
  readonly name: string;
  readonly engine: string;
  readonly bytes: number;
  readonly wasPinned: boolean;
  /** The requested name, if the engine had loaded its weights under another one: `name`. */
  readonly alsoAnsweredFor?: string;
}

export interface ListedModel extends InstalledModel {
  readonly engine: string;
  readonly isLoaded: boolean;
  /** Once loaded it is neither evicted nor unloaded when idle. */
  readonly isPinned?: boolean;
  /** Whether it could be loaded now, evicting idle models if necessary; absent for remote models. */
  readonly fits?: boolean;
  readonly status: ModelStatus;
  /** What its engine can't do with it; absent: nothing. Models that aren't loaded by this program can't be pinned either. */
  readonly refuses?: readonly ("load" | "unload" | "pin" | "delete")[];
  readonly profiles?: readonly string[];
  readonly error?: string;
  readonly fit?: Pick<MemoryEstimate, "predictedBytes" | "method" | "margin"> &
    Pick<LoadPlan, "neededBytes" | "freeBytes">;
  /** Measured; RAM and VRAM together. Absent: not loaded. */
  readonly loadedBytes?: number;
  /** End of its last use by this program, ISO 8601. */
  readonly lastUsedAt?: string;
  /** Measured speeds of decoding, by how many tokens, and of reading prompts, if this program has used it. */
  readonly tokensPerSecond?: number;
  readonly timedTokens?: number;
  readonly promptTokensPerSecond?: number;
  /** Decode speed that the memory's bandwidth allows, where none was measured. */
  readonly expectedTokensPerSecond?: number;
}

export interface ModelList {
  readonly models: readonly ListedModel[];
  /** Before `limit`. */
  readonly total: number;
  /** Engines that do not respond, with a cached list. */
  readonly stale: readonly { readonly engine: string; readonly since: string; readonly message: string }[];
  /** Without any model: what to pull on this machine. */
  readonly suggestion?: ModelSuggestion;
  /** Why engines don't respond, and what starts them, one sentence each. */
  readonly unreachable?: readonly string[];
}

export interface SuggestedModel {
  /** The name to pull. */
  readonly name: string;
  /** Download, memory and expected speed: `2.5 GB download, needs 4.6 GB of the 8.0 GB available, about 9 tokens/s`. */
  readonly reason: string;
}

/** The best model for this machine, and others beside it: a much quicker one, and one that reads images. */
export interface ModelSuggestion extends SuggestedModel {
  readonly alternatives: readonly (SuggestedModel & { readonly kind: "quick" | "vision" })[];
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
  /** It replaced another model of that name, or the registry was unreachable. */
  readonly note?: string;
}

export interface LoadRequest {
  readonly model: string;
  /** At least this many. */
  readonly contextTokens?: number;
  readonly keepAliveSeconds?: number;
}

export interface LoadResult extends Pick<LoadPlan, "model" | "engine"> {
  readonly loadMs: number;
  readonly wasLoaded: boolean;
  readonly plan: LoadPlan;
}

export interface GenerateRequest extends Sampling {
  /** With `chat` the text of its last question, for routing alone. */
  readonly prompt: string;
  readonly chat?: Chat;
  readonly system?: string;
  readonly task?: Task;
  readonly complexity?: "low" | "medium" | "high";
  readonly profile?: string;
  readonly model?: string;
  /** Text files, base64 images and recordings, already read inside the roots. */
  readonly files?: readonly { readonly path: string; readonly text: string }[];
  readonly images?: readonly string[];
  readonly audio?: readonly AudioInput[];
  readonly format?: "json" | JsonSchema;
  readonly maxTokens?: number;
  readonly contextTokens?: number;
  readonly think?: ThinkLevel;
  /** Capabilities that the model must have, besides those that the request itself needs. */
  readonly needs?: readonly Capability[];
  readonly keepAliveSeconds?: number;
  /** May only narrow what the caller's settings allow. `useMemory`: false adds no remembered entries to this prompt. */
  readonly privacy?: Privacy;
  readonly useMemory?: boolean;
  /** False: the embedded engine neither looks for this prompt on disk nor writes it. */
  readonly cachePrompt?: boolean;
  /** `new` starts a conversation, an id continues one. */
  readonly continueId?: string;
  /**
   * Tools that the caller runs, offered to a model of this machine that calls tools; other models are not told of them. An
   * answer with calls does not end the turn. Not with `chat`, a format or a check.
   */
  readonly tools?: readonly ToolDefinition[];
  /** Calls of `tools` in this turn with their results; not sent to remote engines, as remembered entries aren't. */
  readonly after?: readonly ChatMessage[];
  readonly check?: Check;
  /** `auto` by default for files, `none` for a prompt. */
  readonly split?: Split;
  /** False keeps values of a JSON answer that don't stand in the files. */
  readonly grounded?: boolean;
}

/** Without tokens of its prompt if it was aborted before the engine reported them. */
export interface GenerateResult extends PromptTokens {
  readonly text: string;
  readonly thinking?: string;
  /** Checked: their tools are the request's, and the arguments match. */
  readonly toolCalls?: readonly ToolCall[];
  readonly model: string;
  readonly engine: string;
  /** The prompt was sent to another machine. */
  readonly isRemote?: true;
  readonly finishReason: FinishReason;
  /** The stop text that ended it, where the engine tells. */
  readonly stopText?: string;
  readonly reason: string;
  readonly completionTokens: number;
  /** 0: unknown, because there were fewer than two tokens or the engine reported no times. */
  readonly tokensPerSecond: number;
  readonly totalMs: number;
  /** Absent for an engine without prices. */
  readonly cost?: Cost;
  readonly timing: { readonly queueMs: number; readonly loadMs: number; readonly firstTokenMs: number };
  readonly route: RouteExplanation;
  /** How the answer differs from the request, and why (`answer limited to 8192 tokens instead of 9000: ...`). */
  readonly notes: readonly string[];
  readonly memoryUsed?: { readonly keys: readonly string[]; readonly tokens: number };
  /** Absent without a check; `values` without a format, or a text that they could stand in. */
  readonly check?: CheckResult;
  readonly values?: GroundedValues;
  /** Absent if the files were read whole. */
  readonly parts?: PartsRead;
  readonly query?: QueriedRows;
  /** Id of the conversation, to continue it. */
  readonly continueId?: string;
  /** Tokens of the conversation, including this answer. */
  readonly conversationTokens?: number;
}

/**
 * The plan of a generation. Prompt tokens are counted for a program's conversation where the engine can, else estimated, and
 * absent if it is read in parts; `parts`: in how many, absent if it is read whole.
 */
export interface RoutePlan extends Pick<
  GenerateResult,
  "model" | "engine" | "reason" | "route" | "promptTokens" | "parts" | "notes"
> {
  readonly plan: LoadPlan;
}

export interface ModelDescription {
  readonly model: ListedModel;
  /** ISO 8601; set if the engine does not respond and the data is cached. */
  readonly staleSince?: string;
  readonly facts: ModelFacts;
  readonly database?: DatabaseEntry;
}

/** A change, for subscribers: names what to read again, without the data. */
export type Change =
  /** Which models are resident, or how much memory is free. */
  | { readonly kind: "memory" }
  /** Something was loaded, unloaded or refused. */
  | { readonly kind: "decisions" }
  /** Figures of what was done, at most once a minute, or a warning about them. */
  | { readonly kind: "metrics" }
  /** The list of requests that ended. */
  | { readonly kind: "requests" }
  /** A model's state; with `isListChanged` models were added or removed. */
  | { readonly kind: "models"; readonly isListChanged: boolean }
  /** Memories; with `isListChanged` keys were added or removed. */
  | { readonly kind: "memories"; readonly isListChanged: boolean }
  /** Templates: prompts and their resources must be listed again. */
  | { readonly kind: "templates"; readonly isListChanged: true }
  /** Settings or projects changed, and with them perhaps the tools on offer. */
  | { readonly kind: "tools"; readonly isListChanged: true }
  /** A job's state or progress; with `isListChanged` it was added or removed. */
  | { readonly kind: "job"; readonly id: string; readonly isListChanged: boolean };

/** An operation that its call has detached from. Kept for `jobs.keepHours` after its end, across restarts. */
export interface Job {
  readonly id: string;
  readonly kind: OperationKind;
  /** For people: `pull smollm2:135m`. */
  readonly title: string;
  /** The tool of its call; absent while the call still waits for it. */
  readonly tool?: string;
  readonly client: string;
  readonly state: OperationState;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly progress?: Progress;
  readonly partial?: PartialText;
  /** Once succeeded: the tool's own answer. */
  readonly result?: Readonly<Record<string, unknown>>;
  /** Once failed: the error text, as the call would have shown it. */
  readonly error?: string;
  /** What happened to a result that could not be stored completely. */
  readonly note?: string;
}

export interface Jobs {
  /** `jobs.keepHours`: how long after its end a job is kept. */
  readonly keepHours: number;
  /** Keeps what a call detaches from; from here on only `cancel` aborts it. `outcome` resolves with the tool's answer. */
  adopt(
    caller: CallerContext,
    job: {
      readonly tool: string;
      readonly operation: Operation<unknown>;
      readonly outcome: Promise<Readonly<Record<string, unknown>>>;
      /** The text of an error of `outcome`. */
      readonly errorText: (error: unknown) => string;
    },
  ): Job;
  /** Newest first, without results and texts; those of all callers of this home. */
  list(): readonly Job[];
  /** Rejects with `UnknownJob`. */
  get(caller: CallerContext, id: string): Promise<Job>;
  /** Resolves when the job has ended, or after `maxWaitMs`. Throws `UnknownJob`, `Cancelled`. */
  wait(
    caller: CallerContext,
    id: string,
    options: { readonly maxWaitMs: number; readonly onProgress?: (progress: Progress) => void },
  ): Promise<Job>;
  /** Aborts it, or any other running operation of that id, whose caller gets `Cancelled`. Throws `UnknownJob`. */
  cancel(caller: CallerContext, id: string): Promise<Job>;
}

// --------------------------------------------------------------------------------------------------- the facade

/** The interface for tools and resources, independent of MCP. Every method may throw `OrchestratorError`s. */
export interface Orchestrator {
  listModels(caller: CallerContext, request: ListModelsRequest): Promise<ModelList>;
  describeModel(caller: CallerContext, name: string, manages?: boolean): Promise<ModelDescription>;
  pullModel(caller: CallerContext, request: PullRequest): Promise<Operation<PullResult>>;
  /** Resolves when the model is listed; its size includes the weights shared with the base. `report` must not throw. */
  createModel(
    caller: CallerContext,
    request: CreateModelRequest,
    report: (progress: Progress) => void,
  ): Promise<Pick<PullResult, "name" | "engine" | "sizeBytes">>;
  /** Plans have no side effects. */
  planLoad(caller: CallerContext, request: LoadRequest): Promise<LoadPlan>;
  planGeneration(caller: CallerContext, request: GenerateRequest): Promise<RoutePlan>;
  loadModel(caller: CallerContext, request: LoadRequest): Promise<Operation<LoadResult>>;
  generate(caller: CallerContext, request: GenerateRequest): Promise<Operation<GenerateResult>>;
  embed(caller: CallerContext, request: EmbedRequest): Promise<EmbedResult>;
  /** Without a name: all models. Also unpins them. */
  unloadModels(
    caller: CallerContext,
    name?: string,
    report?: (progress: Progress) => void,
  ): Promise<readonly UnloadedModel[]>;
  deleteModel(
    caller: CallerContext,
    name: string,
  ): Promise<{ readonly name: string; readonly engine: string; readonly freedBytes: number }>;
  /** A pinned model is neither evicted nor unloaded when idle. Returns its name. Throws `UnknownModel`. */
  setPinned(caller: CallerContext, name: string, isPinned: boolean): Promise<string>;
  database(caller: CallerContext): readonly DatabaseEntry[];
  ramStatus(caller: CallerContext): Promise<RamStatus>;
  systemStatus(caller: CallerContext): Promise<SystemStatus>;
  /** Known problems of engines and pinned models, without polling; one sentence each. */
  problems(): readonly string[];
  /** The last 200 loads, unloads and refusals since the start, newest first. */
  decisions(caller: CallerContext): readonly Decision[];
  readonly jobs: Jobs;
  readonly memories: Memories;
  readonly templates: Templates;
  readonly projects: Projects;
  readonly profiles: Profiles;
  readonly comparisons: Comparisons;
  readonly batches: Batches<GenerateRequest>;
  /** Loaded with the first task. */
  workers(): Promise<Workers>;
  readonly metrics: Metrics;
  /** What happens now, for a page that shows it. */
  readonly live: LiveView;
  readonly settings: SettingsAccess;
  /**
   * Restores the jobs of earlier daemons of this home and resumes their pulls and batches. Called once, before the first
   * request. `ofPull`, `ofBatch` and `ofError` format results and an error as the surface does. Starts preloading models in the
   * background, unless `isSafeStart`.
   */
  resume(answers: {
    readonly isSafeStart?: boolean;
    readonly ofPull: (result: PullResult) => Readonly<Record<string, unknown>>;
    readonly ofBatch: (summary: BatchSummary) => Readonly<Record<string, unknown>>;
    readonly ofError: (error: unknown, tool: string) => string;
  }): Promise<void>;
  /** Calls `listener` at every change, coalesced: a few per second and kind. */
  onChange(listener: (change: Change) => void): () => void;
  /** Polls memory or models every few seconds until the returned function is called: other programs send no changes. */
  watch(what: "memory" | "models"): () => void;
  /** Activity that keeps a daemon running: operations (including jobs) and pinned models. */
  activity(): { readonly operations: readonly Pick<Operation<unknown>, "kind" | "title">[]; readonly pinned: number };
  /** Limits for files that tools read on a caller's behalf. */
  readonly fileLimits: { readonly maxFileBytes: number; readonly maxTotalBytes: number };
  /** Call it after the machine slept: cached engine data is stale and is read again. Never throws. */
  wokeUp(): Promise<void>;
  /** Aborts operations and closes engines. With `unloadsOwned`, models that it loaded elsewhere are unloaded first, in 1 s. */
  close(options?: { readonly unloadsOwned?: boolean }): Promise<void>;
}
