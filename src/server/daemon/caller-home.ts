import { stat } from "node:fs/promises";
import path from "node:path";
import { InvalidConfig } from "../../orchestrator/api/errors.ts";
import type { CallerProject } from "../../orchestrator/api/facade-projects.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import { expandHome, isAccidentalWholeDisk } from "../../orchestrator/config/home.ts";
import { findProjectFolder } from "../files/roots.ts";
import type { OpenOrchestrator } from "./open-orchestrator.ts";
import type { OpenHome } from "./server-parts.ts";

/** Where a caller comes from. */
export interface CallerOrigin {
  /** Its `OLLM_*` variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** Relative folders are resolved from here; absent over HTTP, where they are resolved from the home. */
  readonly workingDirectory?: string;
  readonly userHome: string;
}

interface KnownFolder {
  readonly folder: string | undefined;
  /** The client's roots; undefined when the working directory sufficed. */
  readonly roots: readonly string[] | undefined;
  readonly seenAtMs: number;
}

/** `config.yaml` is checked at most this often: a check costs more than the rest of a call's overhead. */
const freshMs = 1_000;

/**
 * One caller's view of the shared orchestrator: under its own settings, which follow `config.yaml`. `now` in
 * milliseconds. The returned function throws `InvalidConfig` while a variable or flag of the caller is invalid.
 */
export function createCallerHome(
  callerId: string,
  origin: CallerOrigin,
  openOrchestrator: () => Promise<OpenOrchestrator>,
  now: () => number,
): () => Promise<OpenHome> {
  let known: { readonly home: OpenHome; readonly file: unknown; readonly daemon: unknown } | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;

  /** The caller's project folder, searched as rarely as settings are checked. */
  let lastFolder: KnownFolder | undefined;

  async function load(opened: OpenOrchestrator, configFile: string): Promise<OpenHome> {
    const { home, detectsProjects } = await loadIn(opened, configFile);
    /** The home for the latest project, reused while neither it nor the settings change. */
    let seen: { readonly project: CallerProject; readonly home: OpenHome } | undefined;
    return {
      ...home,
      async inProject(clientRoots) {
        const folder = await projectFolder(opened, clientRoots);
        const project = await opened.orchestrator.projects.projectAt(callerId, folder, detectsProjects);
        if (project === undefined) return home;
        if (seen?.project !== project) seen = { project, home: (await loadIn(opened, configFile, project)).home };
        return seen.home;
      },
    };
  }

  async function projectFolder(
    opened: OpenOrchestrator,
    clientRoots: () => Promise<readonly string[]>,
  ): Promise<string | undefined> {
    if (lastFolder !== undefined && now() - lastFolder.seenAtMs < freshMs) {
      // Changed roots take effect at once; the list is the same object until the client reports a change.
      if (lastFolder.roots === undefined || lastFolder.roots === (await clientRoots())) return lastFolder.folder;
    }
    const seenAtMs = now();
    let roots: readonly string[] | undefined;
    const folder = await findProjectFolder(
      { homeDirectory: origin.userHome, ...workingDirectoryOf(origin) },
      opened.home,
      async () => (roots = await clientRoots()),
    );
    lastFolder = { folder, roots, seenAtMs };
    return folder;
  }

  async function loadIn(
    opened: OpenOrchestrator,
    configFile: string,
    project?: CallerProject,
  ): Promise<{ readonly home: OpenHome; readonly detectsProjects: boolean }> {
    const { environment, flags } = origin;
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
    const base = origin.workingDirectory ?? opened.home;
    const fileRoots = loaded.fileRoots.map((written) => {
      const folder = path.resolve(base, expandHome(written, origin.userHome));
      if (!isAccidentalWholeDisk(written, folder)) return folder;
      const source = loaded.configured.sources.get("files.roots") ?? configFile;
      throw new InvalidConfig(`${source}: files.roots has ${JSON.stringify(written)}: ${wholeDisk}`, {
        next: advice("correct the value where it is set"),
      });
    });
    const home: OpenHome = {
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

  return async () => {
    const opened = await openOrchestrator();
    if (now() - lookedAtMs >= freshMs) {
      await opened.live.look();
      lookedAtMs = now();
    }
    // While the file is invalid, its last valid settings.
    const file = opened.live.file();
    const daemon = opened.settings;
    if (known?.file === file && known?.daemon === daemon) return known.home;
    const home = await load(opened, path.join(opened.home, "config.yaml"));
    known = { home, file, daemon };
    return home;
  };
}

function workingDirectoryOf({ workingDirectory }: CallerOrigin): { readonly workingDirectory?: string } {
  return workingDirectory === undefined ? {} : { workingDirectory };
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
