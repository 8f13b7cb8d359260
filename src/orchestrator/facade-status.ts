/** What is in memory, and how the engines are. */
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
    /** Other names of the same weights, which its engine's one process answers for as well. */
    readonly alsoAnswersFor?: readonly string[];
    readonly isPinned?: boolean;
    readonly contextTokens?: number;
    /** ISO 8601: unloaded then, unless it is used before. */
    readonly expiresAt?: string;
    /** ISO 8601, through this program. */
    readonly lastUsedAt?: string;
  }[];
  readonly sampledAt: string;
}

export interface EngineStatus {
  readonly id: string;
  readonly kind: EngineKind;
  readonly trust: Trust;
  /** `stuck`: it answers, but gives no tokens. */
  readonly health: "ok" | "not_installed" | "unreachable" | "stuck";
  readonly version?: string;
  /** What is wrong, and where it is when there are several of its kind. */
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
    /** No call waits for it: `job` knows it by this id. */
    readonly isJob: boolean;
  }[];
  /** Prompts sent to engines whose trust is not local since start: 0 under `local_only`. */
  readonly remoteRequests: number;
  readonly warnings: readonly string[];
}
