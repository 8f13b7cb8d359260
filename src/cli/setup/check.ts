import type { ClaimRecord } from "../../ipc/claim-record.ts";
import type { DaemonStatus } from "../../ipc/protocol.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { renderSteps } from "../../next-steps/render.ts";
import { OrchestratorError, undefinedIf } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice, stepsOf } from "../../orchestrator/api/next-step.ts";
import { type LoadedSettings, loadSettings } from "../../orchestrator/config/load.ts";
import { type Settings, settingsSchema } from "../../orchestrator/config/schema.ts";
import type { MemorySample } from "../../orchestrator/memory/measure/system-probe.ts";
import { counted } from "../../orchestrator/util/format-bytes.ts";
import type { CommandIo } from "../terminal/io.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";
import { messageOf } from "../../orchestrator/util/values.ts";
import { within } from "../../orchestrator/util/timers.ts";

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
interface DaemonView {
  readonly status?: DaemonStatus;
  /** Why there is a claim but no status. */
  readonly problem?: string;
  /** The newest claim, which may be that of a daemon that has died. */
  readonly claim?: ClaimRecord;
}

/** What a server replied. */
export interface Reply {
  readonly status: number;
  readonly body: string;
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
  /** The models that the project of the working directory names, each with the place that names it. */
  readonly projectModels?: readonly { readonly name: string; readonly source: string }[];
  memory(): Promise<Omit<MemorySample, "gpus" | "sampledAtMs">>;
  /** Bytes that this user may still write to the disk of an existing folder. */
  freeBytes(folder: string): Promise<number>;
  /** The response, redirects included. `key` is sent as a bearer token. Rejects when the request fails or `signal` aborts. */
  get(url: string, signal: AbortSignal, key?: string): Promise<Reply>;
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
export function stepsFor(error: Pick<OrchestratorError, "next">, otherwise: NextSteps): NextSteps {
  return error.next.length > 0 ? error.next : otherwise;
}

const marks = { ok: ["✓", "green"], warn: ["!", "yellow"], fail: ["✗", "red"] } as const;

/** Each check on a line, wrapped at words, with what to do indented below it, and a summary. */
export function report(checks: readonly Check[], io: Pick<CommandIo, "columns" | "hasColour">): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, message, hint }) => {
    const [mark, style] = marks[status];
    const text = hanging(`${mark} ${name.padEnd(width)}  `, message, io);
    return [
      styled(mark, style, io) + text.slice(mark.length),
      ...(hint === undefined ? [] : [hanging(`  ${" ".repeat(width)}  → `, hint, io)]),
    ];
  });
  return `${lines.join("\n")}\n\n${summary(checks)}\n`;
}

function summary(checks: readonly Check[]): string {
  const count = (wanted: Check["status"]): number => checks.filter(({ status }) => status === wanted).length;
  const warnings = count("warn");
  const counts = [
    `${count("ok")} ok`,
    ...(warnings > 0 ? [counted(warnings, "warning")] : []),
    ...(count("fail") > 0 ? [`${count("fail")} failed`] : []),
  ];
  return `${counted(checks.length, "check")}: ${counts.join(", ")}`;
}

/** Runs all checks concurrently and keeps their order. A check that throws or exceeds `boundMs` is reported as failed. */
export async function runChecks(
  checkers: Readonly<Record<string, Checker>>,
  world: DoctorWorld,
  boundMs: number,
): Promise<readonly Check[]> {
  const found = await Promise.all(
    Object.entries(checkers).map(([name, checker]) => bounded(name, checker, world, boundMs)),
  );
  return found.flat();
}

async function bounded(name: string, checker: Checker, world: DoctorWorld, boundMs: number): Promise<readonly Check[]> {
  const late = (): readonly Check[] => [
    fail(name, `no result within ${boundMs / 1000} s`, advice("look for a lost network drive or low memory")),
  ];
  try {
    return await within({ ms: boundMs }, async (signal) => checker(world, signal), late);
  } catch (error) {
    const message = `the check failed: ${messageOf(error)}`;
    return [fail(name, message, advice("fix what the message names"))];
  }
}

/** The settings of a home; the defaults without one, or if they are invalid, which a check of its own reports. */
export async function usableSettings(
  home: string | undefined,
  io: Pick<CommandIo, "environment">,
): Promise<Pick<LoadedSettings, "settings" | "sources">> {
  const loading = home === undefined ? undefined : loadSettings({ home, environment: io.environment, flags: {} });
  const loaded = await loading?.catch(undefinedIf(OrchestratorError));
  return loaded ?? { settings: settingsSchema.parse({}), sources: new Map() };
}
