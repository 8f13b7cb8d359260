import { stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expandHome } from "../../orchestrator/config/expand-home.ts";
import { realFolder } from "../../orchestrator/storage/real-folder.ts";
import type { Log } from "../../orchestrator/api/log.ts";
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
export async function isProject(folder: string): Promise<boolean> {
  const found = await Promise.all(projectMarkers.map((marker) => exists(path.join(folder, marker))));
  return found.includes(true);
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
