import { stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expandHome } from "../orchestrator/config/expand-home.ts";
import { realFolder } from "../orchestrator/files/real-folder.ts";
import type { Log } from "../orchestrator/log.ts";
import type { CallerFacts } from "./server-parts.ts";
import { isTooBroad, projectMarkers } from "./paths.ts";

/** Folders whose files a caller may name, resolved (`realpath`). */
export interface AllowedRoots {
  readonly folders: readonly string[];
  /** One of `folders`: tried first for relative names. */
  readonly workingDirectory?: string;
  /** `OLLM_HOME`, resolved: its tokens and settings are not among a wider root's files. */
  readonly closed?: string;
  /** Where a refusal says that a folder can be allowed; absent for a caller that may be on another machine. */
  readonly configFile?: string;
  /** The caller's working directory, allowed or not. */
  readonly startedIn?: string;
}

/**
 * Folders that were granted in so many words (`--root`, `files.roots`) count as they are; those that come along by
 * circumstance (the client's roots, the working directory) never when they are as broad as a home folder or a drive,
 * and the working directory only when it looks like a project.
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

/** Absolute folders of `file:` URIs; other schemes are not ours to read. */
export function foldersOfUris(uris: readonly string[]): string[] {
  return uris.flatMap((uri) => {
    try {
      return uri.startsWith("file:") ? [fileURLToPath(uri)] : [];
    } catch {
      // A URI that names no path on this platform (another machine's drive) grants nothing.
      return [];
    }
  });
}

/** Whether a folder carries a mark of `projectMarkers`. */
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
