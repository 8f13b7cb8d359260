import type { Log } from "../orchestrator/log.ts";
import type { Orchestrator } from "../orchestrator/facade.ts";
import type { CallerProject } from "../orchestrator/facade-projects.ts";
import type { CallerContext, CallerSettings, ConfiguredSettings } from "../orchestrator/types.ts";
import type { KnownRoots } from "./known-roots.ts";
import { offeredTools } from "./offered-tools.ts";

/** What a server instance is given: the orchestrator behind it, and what is known of whoever connects. */
export interface ServerParts {
  readonly version: string;
  readonly log: Log;
  readonly caller: CallerFacts;
  /**
   * The orchestrator, opened at the first call that needs it, so that `initialize` is answered before engines are
   * touched. Throws `InvalidConfig`, then tries again at the next call.
   */
  open(): Promise<OpenHome>;
  /** Called before each answer beyond the handshake, errors too; absent where none needs to know. */
  noteAnswered?(): void;
  /** Called once for every tool call that has ended; absent where nobody keeps a log of them. */
  noteCall?(record: CallRecord): void;
  /** Whether records have the prompt and the answer: `log.prompts`. Absent: never. */
  notesPrompts?(): boolean;
  /** What the connection knows of its client's roots; absent: they are asked for each time. */
  readonly knownRoots?: KnownRoots;
  /** Hashes of what projects bring along that this connection's user was asked about; absent: nothing is asked. */
  readonly askedProjects?: Set<string>;
  /** The connection is over: what was kept for this caller alone goes. */
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
  /** What was asked and answered: there only under `log.prompts`. */
  readonly prompt?: string;
  readonly answer?: string;
}

export interface CallerFacts {
  /** One per connection. */
  readonly id: string;
  /** Where the client started us; counts only when it carries a project marker. Absent over HTTP. */
  readonly workingDirectory?: string;
  /** Whether the roots that this client offers count: not over HTTP, where configured roots are all there is. */
  readonly mayOfferRoots: boolean;
  /** The user's home folder, never a root of itself. */
  readonly homeDirectory: string;
}

export interface OpenHome {
  readonly orchestrator: Orchestrator;
  readonly callerSettings: CallerSettings;
  /** Where they come from. */
  readonly configured?: ConfiguredSettings;
  /** `files.roots` of the settings and of this caller, its `--root` included. */
  readonly fileRoots: readonly string[];
  /** Daemon settings that this caller brought along and that are not obeyed, a sentence each. */
  readonly warnings: readonly string[];
  /** The file that the refusal of a path names: `OLLM_HOME/config.yaml`. */
  readonly configFile: string;
  /** Its settings are among `callerSettings` already. */
  readonly project?: CallerProject;
  /** The same under the settings of the project that the caller works in; absent where none can hold. */
  inProject?(clientRoots: () => Promise<readonly string[]>): Promise<OpenHome>;
}

/** The home as one request sees it: in its caller's project, never over HTTP. `clientRoots` asks the client for URIs. */
export async function homeOf(
  parts: ServerParts,
  { clientRoots }: { clientRoots(): Promise<readonly string[]> },
): Promise<OpenHome> {
  const home = await parts.open();
  if (home.inProject === undefined || !parts.caller.mayOfferRoots) return home;
  return home.inProject(() => rootsOf(parts, clientRoots));
}

/** URIs of the client's roots. A client that answers with an error, something odd or nothing has none. */
export function rootsOf(parts: ServerParts, ask: () => Promise<readonly string[]>): Promise<readonly string[]> {
  return parts.knownRoots?.get(ask) ?? ask();
}

/** Whoever makes one request, as the orchestrator sees them. */
export function callerContext(
  { client, signal }: Pick<CallerContext, "client" | "signal">,
  parts: ServerParts,
  home: OpenHome,
): CallerContext {
  const { callerSettings: settings, fileRoots: roots, project } = home;
  const warnings = [...home.warnings, ...(project?.notes ?? []), ...offeredTools(home).warnings];
  return {
    id: parts.caller.id,
    client,
    roots,
    settings,
    signal,
    ...(project && { project }),
    ...(home.configured && { configured: home.configured }),
    ...(warnings.length > 0 && { warnings }),
  };
}
