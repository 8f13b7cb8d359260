/** The facade: what can be asked of the orchestrator, and what it answers. Plain data; units stand in the names. */
import type {
  CallerContext,
  Capability,
  EstimateMethod,
  FinishReason,
  JsonSchema,
  LoadPlan,
  ModelFacts,
  ModelStatus,
  Operation,
  OperationKind,
  OperationState,
  PartialText,
  Privacy,
  Progress,
  ThinkLevel,
  Trust,
} from "./types.ts";
import type { Comparisons } from "./facade-compare.ts";
import type { CreatedModel, CreateModelRequest } from "./facade-create.ts";
import type { Decision } from "./facade-decisions.ts";
import type { Projects } from "./facade-projects.ts";
import type { Memories } from "./facade-recall.ts";
import type { SettingsAccess } from "./facade-settings.ts";
import type { RamStatus, SystemStatus } from "./facade-status.ts";
import type { Templates } from "./facade-templates.ts";

export interface ListModelsRequest {
  readonly query?: string;
  readonly capability?: Capability;
  readonly engine?: string;
  readonly isLoadedOnly?: boolean;
  /** Leaves out what is being pulled and can't be asked about yet. */
  readonly isInstalledOnly?: boolean;
  /** Adds facts and the fit of each model; costs a look at every model. */
  readonly isVerbose?: boolean;
  readonly limit?: number;
}

/** What was unloaded at somebody's word, with the bytes it held. */
export interface UnloadedModel {
  readonly name: string;
  readonly engine: string;
  readonly bytes: number;
  readonly wasPinned: boolean;
  /** The name that was to be unloaded, where its engine had the weights loaded by another: `name`. */
  readonly alsoAnsweredFor?: string;
}

export interface ListedModel {
  readonly name: string;
  readonly engine: string;
  readonly sizeBytes: number;
  readonly isLoaded: boolean;
  /** Stays once it is loaded: neither evicted nor unloaded for being idle. */
  readonly isPinned?: boolean;
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
  /** End of its last use through this program since the start, ISO 8601. */
  readonly lastUsedAt?: string;
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
  /** With no model at all: why engines that may have some don't answer, a sentence each. */
  readonly unreachable?: readonly string[];
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
  /** False keeps what is remembered out of this prompt. */
  readonly useMemory?: boolean;
  /** `new` opens a conversation, an id goes on with one. */
  readonly continueId?: string;
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
  /** What made it that task. */
  readonly because: string;
  readonly profile: string;
  /** The profile that the model matches where none matches `profile`. */
  readonly fallback?: string;
  readonly considered: readonly ConsideredModel[];
  readonly attempts: readonly { readonly model: string; readonly engine: string; readonly outcome: string }[];
}

export interface GenerateResult {
  readonly text: string;
  readonly thinking?: string;
  readonly model: string;
  readonly engine: string;
  readonly finishReason: FinishReason;
  /** Why this model, in a few words. */
  readonly reason: string;
  /** Absent where the answer was ended before the engine told. */
  readonly promptTokens?: number;
  readonly cachedPromptTokens?: number;
  readonly completionTokens: number;
  /** 0: unknown, because there were fewer than two tokens or the engine measured nothing. */
  readonly tokensPerSecond: number;
  readonly totalMs: number;
  readonly timing: { readonly queueMs: number; readonly loadMs: number; readonly firstTokenMs: number };
  readonly route: RouteExplanation;
  /** What we did differently from what was asked, and why (`max_tokens 9000 lowered to 8192, ...`). */
  readonly notes: readonly string[];
  /** What of the memory went into the prompt. */
  readonly memoryUsed?: { readonly keys: readonly string[]; readonly tokens: number };
  /** Of the conversation; hand it in again to go on. */
  readonly continueId?: string;
  /** Tokens of the conversation so far, this answer included. */
  readonly conversationTokens?: number;
}

/** What `generate` would do, without doing it. */
export interface RoutePlan {
  readonly model: string;
  readonly engine: string;
  readonly reason: string;
  readonly route: RouteExplanation;
  readonly plan: LoadPlan;
  /** As those of `GenerateResult`. */
  readonly notes: readonly string[];
}

export interface ModelDescription {
  readonly model: ListedModel;
  /** ISO 8601; set while its engine does not answer and this is what is remembered. */
  readonly staleSince?: string;
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

/** What changed, for whoever watches; a prompt to read again, without data of its own. */
export type Change =
  /** Which models are resident, or how much memory is free. */
  | { readonly kind: "memory" }
  /** Something was loaded, unloaded or refused. */
  | { readonly kind: "decisions" }
  /** A model's state; with `isListChanged` models came or went. */
  | { readonly kind: "models"; readonly isListChanged: boolean }
  /** Something was remembered or forgotten; with `isListChanged` keys came or went. */
  | { readonly kind: "memories"; readonly isListChanged: boolean }
  /** Templates came, went or changed: prompts and their resources are to be listed anew. */
  | { readonly kind: "templates"; readonly isListChanged: true }
  /** Settings or projects changed, and with them perhaps the tools on offer. */
  | { readonly kind: "tools"; readonly isListChanged: true }
  /** A job's state or progress; with `isListChanged` it is new or gone. */
  | { readonly kind: "job"; readonly id: string; readonly isListChanged: boolean };

/** An operation that its call has detached from. Kept for `jobs.keepHours` after its end, also over restarts. */
export interface Job {
  readonly id: string;
  readonly kind: OperationKind;
  /** For people: `pull smollm2:135m`. */
  readonly title: string;
  /** The tool whose call it was. */
  readonly tool: string;
  readonly client: string;
  readonly state: OperationState;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly progress?: Progress;
  readonly partial?: PartialText;
  /** Once succeeded: the tool's own answer. */
  readonly result?: Readonly<Record<string, unknown>>;
  /** Once failed: message and hint, as the call would have shown them. */
  readonly error?: string;
  /** What became of a result that could not be kept whole. */
  readonly note?: string;
}

export interface Jobs {
  /** `jobs.keepHours`: how long after its end a job is kept. */
  readonly keepHours: number;
  /**
   * Keeps what a call detaches from. `outcome` is the rest of the tool's run: it resolves with the tool's answer. From here
   * on only `cancel` aborts it.
   */
  adopt(
    caller: CallerContext,
    job: {
      readonly tool: string;
      readonly operation: Operation<unknown>;
      readonly outcome: Promise<Readonly<Record<string, unknown>>>;
      /** Message and hint of what `outcome` may reject with. */
      readonly errorText: (error: unknown) => string;
    },
  ): Job;
  /** Newest first, without results and texts; those of all callers of this home. */
  list(caller: CallerContext): readonly Job[];
  /** Rejects with `UnknownJob`. */
  get(caller: CallerContext, id: string): Promise<Job>;
  /** Resolves when the job has ended or `maxWaitMs` is over, whichever is first. Throws `UnknownJob`, `Cancelled`. */
  wait(
    caller: CallerContext,
    id: string,
    options: { readonly maxWaitMs: number; readonly onProgress?: (progress: Progress) => void },
  ): Promise<Job>;
  /** Aborts it; what has ended stays as it is. Throws `UnknownJob`. */
  cancel(caller: CallerContext, id: string): Promise<Job>;
}

// --------------------------------------------------------------------------------------------------- the facade

/** The orchestrator as tools and resources see it; it knows nothing of MCP. Every method may throw `OrchestratorError`s. */
export interface Orchestrator {
  listModels(caller: CallerContext, request: ListModelsRequest): Promise<ModelList>;
  describeModel(caller: CallerContext, name: string): Promise<ModelDescription>;
  pullModel(caller: CallerContext, request: PullRequest): Promise<Operation<PullResult>>;
  /** Answers when the model is listed. `report` must not throw. */
  createModel(
    caller: CallerContext,
    request: CreateModelRequest,
    report: (progress: Progress) => void,
  ): Promise<CreatedModel>;
  /** No effects. */
  planLoad(caller: CallerContext, request: LoadRequest): Promise<LoadPlan>;
  loadModel(caller: CallerContext, request: LoadRequest): Promise<Operation<LoadResult>>;
  /** No effects. */
  planGeneration(caller: CallerContext, request: GenerateRequest): Promise<RoutePlan>;
  generate(caller: CallerContext, request: GenerateRequest): Promise<Operation<GenerateResult>>;
  /** Without a name: all of them. Ends the pins of what it unloads. */
  unloadModels(
    caller: CallerContext,
    name?: string,
    report?: (progress: Progress) => void,
  ): Promise<readonly UnloadedModel[]>;
  deleteModel(
    caller: CallerContext,
    name: string,
  ): Promise<{ readonly name: string; readonly engine: string; readonly freedBytes: number }>;
  /** A pinned model is neither evicted nor unloaded for being idle. Answers with its name; throws `UnknownModel`. */
  setPinned(caller: CallerContext, name: string, isPinned: boolean): Promise<string>;
  database(caller: CallerContext): readonly DatabaseEntry[];
  ramStatus(caller: CallerContext): Promise<RamStatus>;
  systemStatus(caller: CallerContext): Promise<SystemStatus>;
  /** What is wrong with engines and pinned models now, as far as known without asking anybody; a sentence each. */
  problems(): readonly string[];
  /** What was loaded, unloaded or refused since the start, newest first; the last 200. */
  decisions(caller: CallerContext): readonly Decision[];
  readonly jobs: Jobs;
  readonly memories: Memories;
  readonly templates: Templates;
  readonly projects: Projects;
  readonly comparisons: Comparisons;
  readonly settings: SettingsAccess;
  /**
   * Takes up what earlier daemons of this home left: their jobs, and the pulls that ran. Called once, before the first
   * request. `answers` give a pull's result and an error the form in which `pull_model` would have answered. Models are
   * preloaded behind its back, unless `isSafeStart`.
   */
  resume(answers: {
    readonly isSafeStart?: boolean;
    readonly ofPull: (result: PullResult) => Readonly<Record<string, unknown>>;
    readonly ofError: (error: unknown, tool: string) => string;
  }): Promise<void>;
  /** Calls `listener` at every change, until the answer is called. Coalesced: at most a few a second of each kind. */
  onChange(listener: (change: Change) => void): () => void;
  /**
   * Looks at the memory or the engines' models every few seconds, for changes that nobody tells of, until the answer is
   * called: other programs use this memory, and these engines. `onChange` alone looks at nothing.
   */
  watch(what: "memory" | "models"): () => void;
  /** What is under way that a daemon must not leave: running operations (jobs included), by kind. */
  activity(): { readonly operations: number; readonly pulls: number; readonly pinned: number };
  /** Limits for files that tools read on a caller's behalf. */
  readonly fileLimits: { readonly maxFileBytes: number; readonly maxTotalBytes: number };
  /** The machine slept: what is remembered of the engines is old, and they are asked anew. Never throws. */
  wokeUp(): Promise<void>;
  /**
   * Aborts what is under way, and ends engines and their processes. With `unloadsOwned` models that it loaded into engines
   * which live on leave them first, within a second.
   */
  close(options?: { readonly unloadsOwned?: boolean }): Promise<void>;
}
