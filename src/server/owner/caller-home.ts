import { stat } from "node:fs/promises";
import path from "node:path";
import { expandHome } from "../../orchestrator/config/expand-home.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import type { OpenHome } from "../host.ts";
import type { Brain } from "../world.ts";

/** What a caller brings along. */
export interface CallerOrigin {
  /** Its `OLLM_*` variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  /** Relative folders count from here; absent over HTTP, where they count from the home. */
  readonly workingDirectory?: string;
  readonly userHome: string;
}

/** `config.yaml` is looked at once in so long: a look costs more than the rest of a call's way through us. */
const freshMs = 1_000;

/**
 * One caller's view of the brain: the shared orchestrator under its own settings, which follow `config.yaml`. `now` in
 * milliseconds. The answer throws `InvalidConfig` while a setting is wrong.
 */
export function createCallerHome(
  origin: CallerOrigin,
  openBrain: () => Promise<Brain>,
  now: () => number,
): () => Promise<OpenHome> {
  let known: { readonly home: OpenHome; readonly stamp: string; readonly seenAtMs: number } | undefined;

  async function load(brain: Brain, configFile: string): Promise<OpenHome> {
    const { environment, flags } = origin;
    // With zod and the schema of all settings: not before a call needs them.
    const { callerSettingsFrom } = await import("../../orchestrator/config/caller.ts");
    const loaded = await callerSettingsFrom({ home: brain.home, environment, flags, owner: brain.settings });
    const base = origin.workingDirectory ?? brain.home;
    const fileRoots = loaded.fileRoots.map((folder) => path.resolve(base, expandHome(folder, origin.userHome)));
    return {
      orchestrator: brain.orchestrator,
      callerSettings: loaded.settings,
      fileRoots,
      warnings: [...loaded.warnings, ...(await missingFolders(fileRoots))],
      configFile,
    };
  }

  return async () => {
    const brain = await openBrain();
    if (known !== undefined && now() - known.seenAtMs < freshMs) return known.home;
    const configFile = path.join(brain.home, "config.yaml");
    const seenAtMs = now();
    const stamp = await stampOf(configFile);
    const home = known?.stamp === stamp ? known.home : await load(brain, configFile);
    known = { home, stamp, seenAtMs };
    return home;
  };
}

/** A root that is missing may be a slip of the pen or a drive that is not plugged in: told, but no reason not to serve. */
async function missingFolders(folders: readonly string[]): Promise<readonly string[]> {
  const told = await Promise.all(
    folders.map(async (folder) => {
      const isFolder = await stat(folder).then(
        (found) => found.isDirectory(),
        () => false,
      );
      return isFolder ? [] : [`the root ${folder} is not a folder; its files can be used once it is`];
    }),
  );
  return told.flat();
}

/** Changes whenever the file does. */
async function stampOf(file: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    // No file is a state like another; one that can't be read is reported where it is read.
    return "none";
  }
}
