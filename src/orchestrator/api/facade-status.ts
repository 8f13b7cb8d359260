import type { Spending } from "./cost.ts";
import type { NextStep } from "./next-step.ts";
import type { CallerContext, EngineKind, Privacy, Trust } from "./types.ts";

/** The memory and the state of the engines. */
/** The log of load and unload decisions. */

export interface RamStatus {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  readonly warning?: string;
  readonly gpus: readonly { readonly name: string; readonly totalBytes: number; readonly freeBytes?: number }[];
  readonly loaded: readonly {
    readonly name: string;
    readonly engine: string;
    readonly bytes: number;
    /** Where it runs: `CPU`, `GPU`, `60% GPU`; absent if unknown. */
    readonly processor?: string;
    /** Other names of the same weights that the engine's process serves. */
    readonly alsoAnswersFor?: readonly string[];
    readonly isPinned?: boolean;
    readonly contextTokens?: number;
    /** `cached 2,214 of 2,263 prompt tokens, from disk`, of its last answer. */
    readonly lastPrompt?: string;
    /** ISO 8601: the end of the keep-alive. */
    readonly expiresAt?: string;
    /** ISO 8601, by this program. */
    readonly lastUsedAt?: string;
  }[];
  readonly sampledAt: string;
}

export interface PoolUsage {
  /** Open connections, idle ones included. */
  readonly open: number;
  /** Absent: as many as the queue admits requests. */
  readonly limit?: number;
  readonly running: number;
  /** Requests waiting for a connection. */
  readonly queued: number;
}

/** Connections of an engine to its server. */
export interface ConnectionUsage {
  /** Short calls: health, lists, unloading. */
  readonly control: PoolUsage;
  /** Calls that may take minutes: loads, answers, downloads. */
  readonly generation: PoolUsage;
  /** Requests that got a connection. */
  readonly requests: number;
  /** Connections opened for them; all other requests reused one. */
  readonly opened: number;
  /** The most short calls at once, waiting ones included. */
  readonly most: number;
}

export interface EngineStatus {
  readonly id: string;
  readonly kind: EngineKind;
  readonly trust: Trust;
  /** `stuck`: responds, but generates no tokens. `not_contacted`: it is not local, and privacy is `local_only`. */
  readonly health: "ok" | "not_installed" | "unreachable" | "stuck" | "not_contacted";
  readonly version?: string;
  /** The problem, and the address if there are several engines of the kind. */
  readonly message?: string;
  readonly modelCount: number;
  readonly connections?: ConnectionUsage;
  /** By currency, with the worst case of running requests; absent for an engine without prices. */
  readonly spending?: readonly Spending[];
}

/** A finding with its numbers, and one next step. `latency` and `success_rate` are breached thresholds. */
export interface Advice {
  readonly kind: "unused" | "lacking" | "pool" | "too_large" | "context" | "latency" | "success_rate";
  /** A model or profile. */
  readonly subject: string;
  /** What is so, and its likely cause. */
  readonly text: string;
  readonly next: NextStep;
  /** Disk that it would free. */
  readonly bytes?: number;
}

/** What local models saved in the current month, less what paid engines charged. */
export interface Savings {
  readonly amount: number;
  readonly currency: string;
  /** A part of the amount. */
  readonly spent: number;
  readonly localTokens: number;
  /** The model at whose prices the tokens are counted, or `own prices`. */
  readonly reference: string;
}

export interface SystemStatus {
  readonly version: string;
  readonly home: string;
  readonly privacy: Privacy;
  readonly ram: RamStatus;
  readonly engines: readonly EngineStatus[];
  readonly queue: readonly { readonly model: string; readonly running: number; readonly waiting: number }[];
  readonly operations: readonly {
    readonly id: string;
    readonly title: string;
    readonly message?: string;
    /** Detached from its call; a job with this id. */
    readonly isJob: boolean;
  }[];
  /** Prompts sent to remote engines, as far as is counted. */
  readonly remoteRequests: number;
  /** The same in a sentence, with its days. */
  readonly remoteText: string;
  /** Absent before local models or paid engines were used this month. */
  readonly savings?: Savings;
  readonly warnings: readonly string[];
  /** Breached thresholds, the oldest first. */
  readonly breaches: readonly Advice[];
}

/**
 * | kind   | decision                                                                      |
 * |--------|-------------------------------------------------------------------------------|
 * | load   | a model is loaded; its plan has the evicted models                             |
 * | wait   | a load waits until answers or another load are done                            |
 * | refuse | a load does not fit, even with all idle models unloaded                        |
 * | replan | a plan failed: memory was taken meanwhile, or an unload was not confirmed      |
 * | fail   | the engine failed or crashed during a load that should have fitted             |
 * | unload | a model was unloaded on request, not to make room                              |
 * | expire | a model was unloaded at the end of its keep-alive, or earlier by its engine    |
 * | touch  | the keep-alive of a pinned model was renewed, or the model loaded again        |
 * | preload | a model is loaded, or not, at the start or after a restart of its engine      |
 */
export type DecisionKind = "load" | "wait" | "refuse" | "replan" | "fail" | "unload" | "expire" | "touch" | "preload";

/** Its `steps` are the calculation or the reason, one each. */
export interface Decision extends Pick<LoadPlan, "model" | "engine" | "steps"> {
  /** ISO 8601. */
  readonly at: string;
  readonly kind: DecisionKind;
  /** The plan of a load. */
  readonly plan?: LoadPlan;
}

/** Derives a model: the weights of another with a system prompt, parameters and an adapter. */
export interface CreateModelRequest {
  readonly name: string;
  /** An installed model, whose weights the new one shares. */
  readonly base: string;
  /** Replaces that of the base. */
  readonly system?: string;
  /** With Ollama's names (`temperature`, `num_ctx`, `stop`); override those of the base. Numbers may be strings. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Absolute path of a LoRA adapter as GGUF. */
  readonly adapter?: string;
  /** How prompts are formatted, in Go's template language; for Ollama alone. */
  readonly template?: string;
  /** An existing model of that name may be replaced. */
  readonly mayReplace?: boolean;
}

/** A setting with its value and the source of the value. */
export interface ShownSetting {
  /** `memory.bufferBytes`; `models["qwen*"].contextTokens` */
  readonly path: string;
  /** Secrets are masked. */
  readonly value: unknown;
  /** `default`, `OLLM_MODEL`, `--model`, `/home/me/.ollm/config.yaml:3`, `/project/.ollm/project.yaml:2` */
  readonly source: string;
  readonly scope: "daemon" | "caller" | "request";
}

/** What a setting means and takes, for a form. */
interface SettingFacts {
  /** `json`: a record, a section or a list of sections. */
  readonly kind: "boolean" | "number" | "text" | "list" | "json";
  readonly description?: string;
  /** In words: `whole number from 256`. */
  readonly allowed: string;
  /** The only allowed texts, or for a list its items'. */
  readonly choices?: readonly string[];
  /** Absent where it is unset by default. */
  readonly default?: unknown;
  /** `OLLM_MEMORY_BUFFER_BYTES`, which overrides the file; absent inside a record. */
  readonly variable?: string;
}

/** Access to `OLLM_HOME/config.yaml`; changes preserve its comments. */
export interface SettingsAccess {
  /** All settings, or those at and below a path. Throws `InvalidRequest` with the nearest path. */
  show(caller: CallerContext, path?: string): Promise<readonly ShownSetting[]>;
  /** Validates the whole file before writing; the setting is in force when the promise resolves. Throws `InvalidConfig`. */
  set(caller: CallerContext, path: string, value: unknown): Promise<ShownSetting>;
  unset(caller: CallerContext, path: string): Promise<ShownSetting>;
  /** Throws like `show`. */
  describe(path: string): SettingFacts;
  /**
   * Why an assistant may set it to `value` (without one: unset it) only after asking the user; undefined where it need not.
   * Completes "and". Validates the change. Throws like `show` and `set`.
   */
  whyAsk(caller: CallerContext, path: string, value?: unknown): Promise<string | undefined>;
  /** Why the current file is not in force; undefined if it is. */
  problem(): string | undefined;
}

/** The method of a memory estimate; each has its own error margin. */
export type EstimateMethod = "simulated" | "computed" | "learned" | "size_rule" | "configured";

/** Predicted memory of a model with given load options. */
export interface MemoryEstimate {
  readonly method: EstimateMethod;
  /** Weights + cache + state + compute buffers. */
  readonly predictedBytes: number;
  /** Expected relative error (0.02 = ±2 %). */
  readonly margin: number;
  readonly parts?: {
    readonly weightsBytes: number;
    readonly cacheBytes: number;
    /** Recurrent state, if separate from the cache. */
    readonly stateBytes?: number;
    readonly computeBytes: number;
    readonly otherBytes: number;
  };
  /** Base memory of the engine process, not included in `predictedBytes`. */
  readonly processBytes: number;
  /** Share of such a load that the engine last put on graphics cards (0: none); absent if never observed. */
  readonly vramShare?: number;
  /**
   * By the number of layers on graphics cards, from 0 to all: their memory in all, and what of it each context takes. Absent
   * if the engine doesn't let this program choose.
   */
  readonly byLayers?: readonly { readonly vramBytes: number; readonly contextBytes: number }[];
}

/** The parts of a load in RAM and on graphics cards with their own memory. */
export interface LoadPlacement {
  readonly ramBytes: number;
  readonly vramBytes: number;
  readonly cards: readonly { readonly name: string; readonly bytes: number }[];
  /** Layers on cards, where this program chooses their number. */
  readonly layers?: number;
}

export interface LoadPlan {
  readonly model: string;
  readonly engine: string;
  readonly contextTokens: number;
  readonly isLoaded: boolean;
  readonly fits: boolean;
  readonly estimate: MemoryEstimate;
  /** Bytes that must be free before the load. */
  readonly neededBytes: number;
  readonly freeBytes: number;
  /** Only if it does not fit: what would be free with all idle models unloaded, and which limit applies. */
  readonly atMost?: { readonly freeBytes: number; readonly limit: "memory" | "memory.maxBytes" };
  readonly evict: readonly { readonly name: string; readonly engine: string; readonly bytes: number }[];
  /** For people, one step each. */
  readonly steps: readonly string[];
  /** Absent with a single memory, and if it does not fit. */
  readonly placement?: LoadPlacement;
  /** Why this machine is slow now, one sentence each. */
  readonly warnings?: readonly string[];
}
