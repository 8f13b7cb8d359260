/** The memory and the state of the engines. */
import type { EngineKind, Privacy, Trust } from "./types.ts";

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
    /** Other names of the same weights that the engine's process serves. */
    readonly alsoAnswersFor?: readonly string[];
    readonly isPinned?: boolean;
    readonly contextTokens?: number;
    /** ISO 8601: the end of the keep-alive. */
    readonly expiresAt?: string;
    /** ISO 8601, by this program. */
    readonly lastUsedAt?: string;
  }[];
  readonly sampledAt: string;
}

export interface EngineStatus {
  readonly id: string;
  readonly kind: EngineKind;
  readonly trust: Trust;
  /** `stuck`: responds, but generates no tokens. */
  readonly health: "ok" | "not_installed" | "unreachable" | "stuck";
  readonly version?: string;
  /** The problem, and the address if there are several engines of the kind. */
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
  readonly operations: readonly {
    readonly id: string;
    readonly title: string;
    readonly message?: string;
    /** Detached from its call; a job with this id. */
    readonly isJob: boolean;
  }[];
  /** Prompts sent to remote engines since the start; 0 under `local_only`. */
  readonly remoteRequests: number;
  readonly warnings: readonly string[];
}
