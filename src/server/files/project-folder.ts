import { lstat, realpath } from "node:fs/promises";
import path from "node:path";
import { realFolder } from "../../orchestrator/storage/real-folder.ts";
import type { CallerFacts } from "../daemon/server-parts.ts";
import { isTooBroad } from "./paths.ts";
import { foldersOfUris, isProject } from "./roots.ts";

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
