import { lstat, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Log } from "../../orchestrator/api/log.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { realFolder } from "../../orchestrator/storage/work-tree.ts";
import type { CallerFacts } from "../daemon/server-parts.ts";
import { isTooBroad, projectMarkers } from "./paths.ts";

/** Folders whose files a caller may name, resolved (`realpath`). */
export interface AllowedRoots {
  readonly folders: readonly string[];
  /** One of `folders`: tried first for relative names. */
  readonly workingDirectory?: string;
  /** `OLLM_HOME`, resolved: closed even when a root contains it, because of its tokens and settings. */
  readonly closed?: string;
  /** The file in which an error suggests allowing a folder; absent for a caller that may be on another machine. */
  readonly configFile?: string;
  /** The caller's working directory, allowed or not. */
  readonly startedIn?: string;
}

/**
 * Determines the roots. Explicitly granted folders (`--root`, `files.roots`) always count. The client's roots and the
 * working directory count unless they are as broad as a home folder or a drive, and the working directory only when it
 * looks like a project.
 */
export async function allowedRoots(
  facts: CallerFacts,
  configured: readonly string[],
  clientRoots: readonly string[],
  log: Log,
): Promise<AllowedRoots> {
  const granted = await Promise.all(
    configured
      .map((folder) => expandHome(folder, facts.homeDirectory))
      .map(async (folder) => {
        const real = await realFolder(folder);
        if (real === undefined) log.warn(`files.roots: ${folder} is not a folder`);
        return real;
      }),
  );
  const home = (await realFolder(facts.homeDirectory)) ?? facts.homeDirectory;
  const narrow = async (folder: string): Promise<string | undefined> => {
    const real = await realFolder(folder);
    return real === undefined || isTooBroad(real, home, path) ? undefined : real;
  };
  const offered = await Promise.all(clientRoots.map(narrow));
  const current = facts.workingDirectory === undefined ? undefined : await narrow(facts.workingDirectory);
  const workingDirectory = current !== undefined && (await isProject(current)) ? current : undefined;
  const folders = [workingDirectory, ...granted, ...offered].filter((folder) => folder !== undefined);
  return { folders: [...new Set(folders)], ...(workingDirectory !== undefined && { workingDirectory }) };
}

/** The folders of `file:` URIs; other schemes are ignored. */
export function foldersOfUris(uris: readonly string[]): string[] {
  return uris.flatMap((uri) => {
    try {
      return uri.startsWith("file:") ? [fileURLToPath(uri)] : [];
    } catch {
      // A URI without a path on this platform (another machine's drive) is ignored.
      return [];
    }
  });
}

/** Whether a folder has one of `projectMarkers`. */
async function isProject(folder: string): Promise<boolean> {
  const found = await Promise.all(projectMarkers.map((marker) => exists(path.join(folder, marker))));
  return found.includes(true);
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

/** Files in `.ollm` that make its folder a project. */
const ownMarkers = ["project.yaml", "templates"];
/** Limit for the search upwards; each level costs a look at the disk. */
const maxLevels = 40;

/**
 * The resolved folder of the project that a caller works in: the working directory or its nearest parent with
 * `.ollm/project.yaml` or `.ollm/templates`, else the working directory when it has a project marker. Without either, the
 * same search starts at the roots that the client offers (`clientRoots`, URIs, requested only then). Never a home folder,
 * a drive's root or a folder above them. `ollmHome` does not make its parent a project, even when it is named `.ollm`.
 */
export async function findProjectFolder(
  facts: Pick<CallerFacts, "workingDirectory" | "homeDirectory">,
  ollmHome: string,
  clientRoots: () => Promise<readonly string[]>,
): Promise<string | undefined> {
  const home = (await realFolder(facts.homeDirectory)) ?? facts.homeDirectory;
  const closed = (await realFolder(ollmHome)) ?? ollmHome;
  const { workingDirectory } = facts;
  const own = workingDirectory === undefined ? undefined : await projectOf(workingDirectory, home, closed);
  if (own !== undefined) return own;
  for (const root of foldersOfUris(await clientRoots())) {
    const found = await projectOf(root, home, closed);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function projectOf(folder: string, home: string, closed: string): Promise<string | undefined> {
  const real = await realFolder(folder);
  if (real === undefined || isTooBroad(real, home, path)) return undefined;
  let level = real;
  for (let count = 0; count < maxLevels && !isTooBroad(level, home, path); count += 1) {
    if (await hasOwnMarker(level, closed)) return level;
    level = path.dirname(level);
  }
  return (await isProject(real)) ? real : undefined;
}

async function hasOwnMarker(folder: string, closed: string): Promise<boolean> {
  const own = path.join(folder, ".ollm");
  for (const name of ownMarkers) {
    const isThere = await lstat(path.join(own, name)).then(
      () => true,
      () => false,
    );
    if (isThere) return (await realpath(own).catch(() => own)) !== closed;
  }
  return false;
}
