import { stat } from "node:fs/promises";
import path from "node:path";
import type { Claim } from "../../ipc/claim.ts";
import { InvalidConfig, OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { CallerProject } from "../../orchestrator/api/types.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import { expandHome, isAccidentalWholeDisk } from "../../orchestrator/config/home.ts";
import { installedModels } from "../../orchestrator/storage/summary-file.ts";
import { findProjectFolder } from "../files/allowed-paths.ts";
import type { LazyOrchestrator } from "./lazy-orchestrator.ts";
import type { OpenOrchestrator } from "./open-orchestrator.ts";
import type { createCallLog } from "./call-log.ts";
import type { serveClient } from "../mcp/create-server.ts";
import type { View, Caller } from "../call/caller.ts";
import { defined } from "../../orchestrator/util/values.ts";
import { within } from "../../orchestrator/util/timers.ts";

/** What the parts of a daemon share. */
export interface DaemonParts {
  /** `OLLM_HOME`, links resolved. */
  readonly home: string;
  readonly version: string;
  /** Version and build. */
  readonly build: string;
  readonly isStandalone: boolean;
  readonly userHome: string;
  readonly orchestrator: LazyOrchestrator;
  readonly calls: ReturnType<typeof createCallLog>;
  readonly log: Log;
  /** Loads the SDK with the first client. */
  readonly serveClient: () => Promise<typeof serveClient>;
  /** Undefined while the home is being claimed. */
  readonly claim: () => Claim | undefined;
  /** Called when this daemon is asked to end, at once or (`handover`) as soon as its work allows. */
  readonly onAsked: (what: "stop" | "restart" | "handover") => void;
}

/** One connected client. */
export interface Client {
  readonly served: ReturnType<typeof serveClient>;
  /** ISO 8601. */
  readonly connectedAt: string;
}

/** Where a caller comes from. */
export interface CallerOrigin {
  /** Its `OLLM_*` variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** Relative folders are resolved from here; absent over HTTP, where they are resolved from the home. */
  readonly workingDirectory?: string;
  readonly userHome: string;
}

/** `config.yaml` is checked at most this often: a check costs more than the rest of a call's overhead. */
const freshMs = 1_000;

/**
 * Opens one caller's view of the shared orchestrator: under its own settings, which follow `config.yaml`. Throws
 * `InvalidConfig` while a variable or flag of the caller is invalid. `now` in milliseconds.
 */
export function callerHome(
  callerId: string,
  origin: CallerOrigin,
  orchestrator: Pick<LazyOrchestrator, "open" | "current">,
  now: () => number,
): () => Promise<View> {
  let known: { readonly home: View; readonly file: unknown; readonly daemon: unknown } | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  /**
   * The caller's project folder, searched as rarely as settings are checked. `roots` are the client's, undefined when the
   * working directory sufficed.
   */
  let last: { folder: string | undefined; roots: readonly string[] | undefined; seenAtMs: number } | undefined;

  /** The known home, unless settings changed; while the file is invalid, with its last valid settings. */
  function current({ live, settings }: OpenOrchestrator): View | undefined {
    return known?.file === live.file() && known?.daemon === settings ? known?.home : undefined;
  }

  async function look(): Promise<View> {
    const opened = await orchestrator.open();
    if (now() - lookedAtMs >= freshMs) {
      await opened.live.look();
      lookedAtMs = now();
    }
    const home = current(opened);
    if (home !== undefined) return home;
    const [file, daemon] = [opened.live.file(), opened.settings];
    known = { home: await load(opened), file, daemon };
    return known.home;
  }

  async function load(opened: OpenOrchestrator): Promise<View> {
    const { home, detectsProjects } = await loadIn(opened, origin);
    const { projects } = opened.orchestrator;
    /** The home for the latest project, reused while neither it nor the settings change. */
    let seen: { readonly project: CallerProject; readonly home: View } | undefined;
    return {
      ...home,
      inProject: async (clientRoots) => {
        const isKnown = last !== undefined && last.roots === undefined && now() - last.seenAtMs < freshMs;
        const folder = isKnown ? last?.folder : await projectFolder(opened, clientRoots);
        const project = await projects.projectAt(callerId, folder, detectsProjects);
        if (project === undefined) return home;
        if (seen?.project === project) return seen.home;
        const loaded = await loadIn(opened, origin, project);
        seen = { project, home: loaded.home };
        return loaded.home;
      },
    };
  }

  async function projectFolder(opened: OpenOrchestrator, clientRoots: () => Promise<readonly string[]>) {
    const before = last;
    if (before !== undefined && now() - before.seenAtMs < freshMs) {
      // Changed roots take effect at once; the list is the same object until the client reports a change.
      if (before.roots === undefined || before.roots === (await clientRoots())) return before.folder;
    }
    const seenAtMs = now();
    let roots: readonly string[] | undefined;
    const folder = await findProjectFolder(
      { homeDirectory: origin.userHome, ...defined({ workingDirectory: origin.workingDirectory }) },
      opened.home,
      async () => (roots = await clientRoots()),
    );
    last = { folder, roots, seenAtMs };
    return folder;
  }

  return async () => {
    const opened = orchestrator.current();
    const isFresh = opened !== undefined && now() - lookedAtMs < freshMs;
    return (isFresh ? current(opened) : undefined) ?? look();
  };
}

async function loadIn(
  opened: OpenOrchestrator,
  { environment, flags, userHome, workingDirectory = opened.home }: CallerOrigin,
  project?: CallerProject,
): Promise<{ readonly home: View; readonly detectsProjects: boolean }> {
  const configFile = path.join(opened.home, "config.yaml");
  const file = opened.live.file();
  // Loads zod and the schema of all settings, so only when a call needs them.
  const [{ callerSettingsFrom }, { wholeDisk }] = await Promise.all([
    import("../../orchestrator/config/load.ts"),
    import("../../orchestrator/config/schema.ts"),
  ]);
  const loaded = await callerSettingsFrom({
    home: opened.home,
    environment,
    flags,
    daemon: opened.settings,
    isFixed: opened.live.isFixed,
    ...(file && { read: file }),
    ...(project && { project }),
  });
  const fileRoots = loaded.fileRoots.map((written) => {
    const folder = path.resolve(workingDirectory, expandHome(written, userHome));
    if (!isAccidentalWholeDisk(written, folder)) return folder;
    const source = loaded.configured.sources.get("files.roots") ?? configFile;
    throw new InvalidConfig(`${source}: files.roots has ${JSON.stringify(written)}: ${wholeDisk}`, {
      next: advice("correct the value where it is set"),
    });
  });
  const home: View = {
    orchestrator: opened.orchestrator,
    callerSettings: loaded.settings,
    fileRoots,
    warnings: [...loaded.warnings, ...(await missingFolders(fileRoots))],
    configFile,
    configured: loaded.configured,
    ...(project && { project }),
  };
  return { home, detectsProjects: loaded.detectsProjects };
}

/** Warnings about missing roots. They may be typing errors or unmounted drives, so calls are still served. */
async function missingFolders(folders: readonly string[]): Promise<readonly string[]> {
  const warnings = await Promise.all(
    folders.map(async (folder) => {
      const isFolder = await stat(folder).then(
        (found) => found.isDirectory(),
        () => false,
      );
      return isFolder ? [] : [`the root ${folder} is not a folder; its files can be used once it is`];
    }),
  );
  return warnings.flat();
}

/** The parts of one caller's server. */
export function callerParts(
  parts: Pick<DaemonParts, "home" | "version" | "log" | "orchestrator" | "calls" | "claim">,
  id: string,
  origin: CallerOrigin,
): Caller {
  let hasAnswered = false;
  return {
    version: parts.version,
    log: parts.log,
    id,
    ...defined({ workingDirectory: origin.workingDirectory }),
    mayOfferRoots: origin.workingDirectory !== undefined,
    homeDirectory: origin.userHome,
    installedModels: () => installedModels(parts.home),
    open: callerHome(id, origin, parts.orchestrator, Date.now),
    forget: () => parts.orchestrator.current()?.orchestrator.projects.forgetCaller(id),
    noteAnswered() {
      if (hasAnswered) return;
      const claim = parts.claim();
      claim?.markAnswered();
      hasAnswered = claim !== undefined;
    },
    noteCall: (record) => parts.calls.note(record),
    textsOf: (trace) => parts.calls.textsOf(trace),
    notesPrompts: () => parts.orchestrator.current()?.settings.log.prompts === true,
  };
}

/** Limit of the wait for notices, which is long only for a daemon's first caller. */
const noticesWaitMs = 2_000;

/**
 * Notices for the user of a front: which of its settings are ignored or invalid. A front without settings gets only the
 * problem with `config.yaml`, without waiting for the orchestrator.
 */
export async function noticesFor(
  parts: Caller,
  origin: CallerOrigin,
  orchestrator: LazyOrchestrator,
): Promise<readonly string[]> {
  const problem = orchestrator.problem();
  const isPlain =
    Object.keys(origin.flags).length === 0 && Object.keys(origin.environment).every((name) => name === "OLLM_HOME");
  if (isPlain) return problem === undefined ? [] : [problem];
  const notices = async (): Promise<readonly string[]> => {
    try {
      await orchestrator.open();
      const { warnings } = await parts.open();
      return problem === undefined ? warnings : [problem, ...warnings];
    } catch (error) {
      // Calls report it, too, and work once it is corrected.
      if (error instanceof OrchestratorError) return [error.message];
      throw error;
    }
  };
  return within({ ms: noticesWaitMs }, notices, () => []);
}
