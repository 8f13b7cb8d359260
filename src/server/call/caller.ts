import type { Orchestrator } from "../../orchestrator/api/facade.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { CallerProject, CallerSettings, ConfiguredSettings } from "../../orchestrator/api/types.ts";
import type { SummaryModel } from "../../orchestrator/storage/summary-file.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

/** A connection: who calls, and the orchestrator behind it. */
export interface Caller {
  readonly version: string;
  readonly log: Log;
  /** One per connection. */
  readonly id: string;
  /** The folder in which the client started us; a root only when it has a project marker. Absent over HTTP. */
  readonly workingDirectory?: string;
  /** Whether roots that the client offers count; false over HTTP, where only configured roots do. */
  readonly mayOfferRoots: boolean;
  /** The user's home folder, which is never a root by itself. */
  readonly homeDirectory: string;
  /**
   * The orchestrator, opened at the first call that needs it, so that `initialize` is answered before engines are
   * touched. Throws `InvalidConfig`, then tries again at the next call.
   */
  open(): Promise<View>;
  /** The models that the instructions name, without waiting for engines; undefined if they aren't known. */
  installedModels?(): readonly SummaryModel[] | undefined;
  /** Called before each answer after the handshake, errors included. */
  noteAnswered?(): void;
  /** Called once for every tool call that has ended; absent without a log of calls. */
  noteCall?(record: CallRecord): void;
  /** What the only call of a trace (its id) asked and was answered, as far as the log has it. */
  textsOf?(trace: string): Promise<Pick<CallRecord, "prompt" | "answer">>;
  /** Whether records have the prompt and the answer: `log.prompts`. Absent: never. */
  notesPrompts?(): boolean;
  /** The client's roots as the connection knows them; when absent they are requested each time. */
  readonly knownRoots?: ReturnType<typeof createKnownRoots>;
  /** Hashes of the project contents that this connection's user was asked about; when absent nothing is asked. */
  readonly askedProjects?: Set<string>;
  /** Called at the end of the connection, to drop what was kept for this caller. */
  forget?(): void;
}

/** One line of the log of calls. Never prompt text, unless `log.prompts` asks for it. */
export interface CallRecord {
  readonly client: string;
  readonly tool: string;
  readonly model?: string;
  readonly durationMs: number;
  /** `asked`: answered with a question; `job`: continues as a background job. */
  readonly outcome: "ok" | "error" | "cancelled" | "asked" | "job";
  /** Class of the error. */
  readonly error?: string;
  /** Id of the trace that the call belongs to. */
  readonly trace?: string;
  /** Prompt and answer; only under `log.prompts`. */
  readonly prompt?: string;
  readonly answer?: string;
}

/** Settings, roots and project of one request. */
export interface View {
  readonly orchestrator: Orchestrator;
  readonly callerSettings: CallerSettings;
  /** Where they come from. */
  readonly configured?: ConfiguredSettings;
  /** `files.roots` of the settings and of this caller, its `--root` included. */
  readonly fileRoots: readonly string[];
  /** Daemon settings of this caller that are ignored, a sentence each. */
  readonly warnings: readonly string[];
  /** The file that errors about paths name: `OLLM_HOME/config.yaml`. */
  readonly configFile: string;
  /** Its settings are among `callerSettings` already. */
  readonly project?: CallerProject;
  /** The home with the settings of the caller's project; absent where projects don't apply. */
  inProject?(clientRoots: () => Promise<readonly string[]>): Promise<View>;
}

/** The home for one request: with its caller's project, except over HTTP. `clientRoots` requests URIs from the client. */
export async function homeOf(parts: Caller, facts: { clientRoots(): Promise<readonly string[]> }): Promise<View> {
  const home = await parts.open();
  if (home.inProject === undefined || !parts.mayOfferRoots) return home;
  return home.inProject(() => rootsOf(parts, () => facts.clientRoots()));
}

/** URIs of the client's roots; none when the client fails to answer. */
export function rootsOf(parts: Caller, ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
  return parts.knownRoots?.get(ask) ?? ask();
}

/** Without this, a client that doesn't answer would delay every call. */
const askAgainMs = 60_000;
/** Each root costs a look at the disk; clients have a few. */
const maxRoots = 100;

/**
 * The roots that the client of one connection offers, requested once and again after it reports a change. `onFailure` is called
 * with the reason when it fails to list them. `now` in milliseconds.
 */
export function createKnownRoots(onFailure: (message: string) => void, now: () => number) {
  let known: Promise<readonly string[]> | undefined;
  let failedAtMs: number | undefined;

  async function answer(ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
    try {
      const roots = await ask();
      return roots.length > maxRoots ? roots.slice(0, maxRoots) : roots;
    } catch (error) {
      failedAtMs = now();
      onFailure(`roots/list: ${messageOf(error)}`);
      return [];
    }
  }

  return {
    /** The known roots, else the answer of `ask`; when that fails, none for a minute. */
    get(ask: () => Promise<readonly string[]>) {
      if (failedAtMs !== undefined && now() - failedAtMs >= askAgainMs) known = undefined;
      if (known === undefined) failedAtMs = undefined;
      known ??= answer(ask);
      return known;
    },
    /** The roots changed: the next `get` asks again. */
    forget() {
      known = undefined;
    },
  };
}
