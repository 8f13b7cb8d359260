import type { Log } from "../orchestrator/log.ts";
import type { Orchestrator } from "../orchestrator/facade.ts";
import type { CallerContext, CallerSettings } from "../orchestrator/types.ts";

/** What a server instance is given: the brain behind it, and what is known of whoever connects. */
export interface ServerHost {
  readonly version: string;
  readonly log: Log;
  readonly caller: CallerFacts;
  /**
   * The brain, opened at the first call that needs it, so that `initialize` is answered before engines are touched.
   * Throws `InvalidConfig`, then tries again at the next call.
   */
  open(): Promise<OpenHome>;
}

export interface CallerFacts {
  /** One per connection. */
  readonly id: string;
  /** Where the host started us; counts only when it carries a project marker. */
  readonly workingDirectory: string;
  /** The user's home folder, never a root of itself. */
  readonly homeDirectory: string;
}

export interface OpenHome {
  readonly orchestrator: Orchestrator;
  readonly callerSettings: CallerSettings;
  /** `files.roots` of the settings, those of `--root` included. */
  readonly fileRoots: readonly string[];
  /** The file that the refusal of a path names: `OLLM_HOME/config.yaml`. */
  readonly configFile: string;
}

/** Whoever makes one request, as the orchestrator sees them. */
export function callerContext(
  { client, signal }: Pick<CallerContext, "client" | "signal">,
  host: ServerHost,
  home: OpenHome,
): CallerContext {
  return { id: host.caller.id, client, roots: home.fileRoots, settings: home.callerSettings, signal };
}
