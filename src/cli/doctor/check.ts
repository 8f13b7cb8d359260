import type { DaemonStatus } from "../../ipc/protocol.ts";
import type { ClaimRecord } from "../../ipc/claim-record.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import type { CommandIo } from "../commands/io.ts";

/** What one look at the machine found. `hint` is the one next step, always there unless all is well. */
export interface Check {
  readonly name: string;
  /** `fail`: something can't work. `warn`: it works, worse than it could, or not everywhere. */
  readonly status: "ok" | "warn" | "fail";
  readonly message: string;
  readonly hint?: string;
}

/** The daemon of the home, as far as it could be reached. Nothing of it: no claim that still stands. */
export interface DaemonView {
  readonly status?: DaemonStatus;
  /** Why there is no status, although a claim stands. */
  readonly problem?: string;
  /** The newest claim: also of a daemon that has died. */
  readonly claim?: ClaimRecord;
}

/** What the checks look at; all that differs between machines is handed in. */
export interface DoctorWorld {
  readonly io: CommandIo;
  readonly home: string;
  /** This program's, version and build. */
  readonly build: string;
  readonly runtime: { readonly nodeVersion: string; readonly isElectron: boolean };
  readonly daemon: DaemonView;
  /** The defaults when the configured ones can't be read. */
  readonly settings: Settings;
  /** The model that the project of this folder asks for, and where. */
  readonly projectModel?: { readonly name: string; readonly source: string };
  memory(): Promise<MemoryFacts>;
  /** Bytes this user may still write on the disk of an existing folder. */
  freeBytes(folder: string): Promise<number>;
  /** The answer's body. Rejects when there is none; ends with `signal`. */
  get(url: string, signal: AbortSignal): Promise<string>;
}

export interface MemoryFacts {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapUsedBytes: number;
}

/** One look. `signal` ends it at its bound. */
export type Checker = (world: DoctorWorld, signal: AbortSignal) => Promise<readonly Check[]>;

export const ok = (name: string, message: string): Check => ({ name, status: "ok", message });
export const warn = (name: string, message: string, hint: string): Check => ({ name, status: "warn", message, hint });
export const fail = (name: string, message: string, hint: string): Check => ({ name, status: "fail", message, hint });

/**
 * What `url` answers, or a rejection after `boundMs`. With a timer of its own: in Node 20 a signal that `AbortSignal.any`
 * makes of a timeout may be collected before it fires.
 */
export async function getWithin(
  get: DoctorWorld["get"],
  url: string,
  signal: AbortSignal,
  boundMs: number,
): Promise<string> {
  const bound = new AbortController();
  const timer = setTimeout(() => bound.abort(new Error(`nothing within ${boundMs / 1_000} s`)), boundMs);
  const end = () => bound.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  try {
    return await get(url, bound.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
