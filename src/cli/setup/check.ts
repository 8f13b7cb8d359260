import type { DaemonStatus } from "../../ipc/protocol.ts";
import type { ClaimRecord } from "../../ipc/claim-record.ts";
import type { Pressure } from "../../orchestrator/memory/pressure.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import type { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type NextSteps, stepsOf } from "../../orchestrator/api/next-step.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { renderSteps } from "../../next-steps/render.ts";
import type { CommandIo } from "../terminal/io.ts";

/** The result of one check. */
export interface Check {
  readonly name: string;
  /** `fail`: something doesn't work. `warn`: it works, but worse than it could or only in part. */
  readonly status: "ok" | "warn" | "fail";
  readonly message: string;
  /** What to do, as a sentence; present unless `ok`. */
  readonly hint?: string;
}

/** The home's daemon, as far as it could be reached; empty without a current claim. */
export interface DaemonView {
  readonly status?: DaemonStatus;
  /** Why there is a claim but no status. */
  readonly problem?: string;
  /** The newest claim, which may be that of a daemon that has died. */
  readonly claim?: ClaimRecord;
}

/** The machine as the checks see it. */
export interface DoctorWorld {
  readonly io: CommandIo;
  readonly home: string;
  /** Version and build of this program. */
  readonly build: string;
  readonly runtime: { readonly nodeVersion: string; readonly isElectron: boolean };
  readonly daemon: DaemonView;
  /** The defaults when the configured settings can't be read. */
  readonly settings: Settings;
  /** Whether to report an Ollama server that does not respond: it is configured, installed, or responded before. */
  readonly isOllamaExpected: boolean;
  /** The model that the project of the working directory names, and the file that names it. */
  readonly projectModel?: { readonly name: string; readonly source: string };
  memory(): Promise<MemoryFacts>;
  /** Bytes that this user may still write to the disk of an existing folder. */
  freeBytes(folder: string): Promise<number>;
  /** The body of the response. Rejects when the request fails or `signal` aborts. */
  get(url: string, signal: AbortSignal): Promise<string>;
}

export interface MemoryFacts extends Pressure {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** Runs one check. `signal` aborts at the time limit. */
export type Checker = (world: DoctorWorld, signal: AbortSignal) => Promise<readonly Check[]>;

export const ok = (name: string, message: string): Check => ({ name, status: "ok", message });
export const warn = (name: string, message: string, next: NextSteps): Check => finding(name, "warn", message, next);
export const fail = (name: string, message: string, next: NextSteps): Check => finding(name, "fail", message, next);

function finding(name: string, status: Check["status"], message: string, next: NextSteps): Check {
  return { name, status, message, hint: renderSteps(stepsOf(next), commandSteps) };
}

/** The next steps of an error, or `otherwise` if it has none. */
export function stepsFor(error: OrchestratorError, otherwise: NextSteps): NextSteps {
  return error.next.length > 0 ? error.next : otherwise;
}

/**
 * Returns the body of `url`. Rejects after `boundMs`. It has its own timer because Node 20 may collect the signal of
 * `AbortSignal.any([AbortSignal.timeout(...)])` before it fires.
 */
export async function getWithin(
  get: DoctorWorld["get"],
  url: string,
  signal: AbortSignal,
  boundMs: number,
): Promise<string> {
  const bound = new AbortController();
  const timer = setTimeout(() => bound.abort(new Error(`no response within ${boundMs / 1_000} s`)), boundMs);
  const end = () => bound.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  try {
    return await get(url, bound.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
