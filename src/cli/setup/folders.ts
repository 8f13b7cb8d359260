import { statSync } from "node:fs";
import path from "node:path";
import { expandHome } from "../../orchestrator/config/expand-home.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";

const existing = advice("name an existing folder");

/**
 * Returns the absolute paths of folders, without duplicates; each text may contain several, separated by commas. Throws
 * `InvalidRequest` for an empty text, a path that is not a folder, and a home folder or drive, since allowing that by
 * mistake would expose every private file in it.
 */
export function checkFolders(
  given: readonly string[],
  machine: { readonly userHome: string; readonly workingDirectory: string },
): readonly string[] {
  if (given.some((text) => text.trim() === "")) {
    throw new InvalidRequest("a folder's name is empty: an unset variable?", { next: existing });
  }
  const names = given
    .flatMap((text) => (isFolder(absolute(text, machine)) ? [text] : text.split(",")))
    .map((text) => text.trim())
    .filter((text) => text !== "");
  const folders = names.map((name) => {
    const folder = absolute(name, machine);
    if (!isFolder(folder)) {
      throw new InvalidRequest(`${name} is not a folder`, { next: existing });
    }
    if (isTooBroad(folder, machine.userHome)) {
      throw new InvalidRequest(`${name} is a whole home folder or drive, which is too much to allow`, {
        next: advice("name a folder inside it, such as ~/Documents"),
      });
    }
    return folder;
  });
  return [...new Set(folders)];
}

function absolute(name: string, machine: { readonly userHome: string; readonly workingDirectory: string }): string {
  return path.resolve(machine.workingDirectory, expandHome(name.trim(), machine.userHome));
}

/** Whether a folder exists; follows links. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Whether a folder is the home folder, above it, or the root of a drive. */
function isTooBroad(folder: string, userHome: string): boolean {
  const relative = path.relative(folder, userHome);
  const isAboveHome = relative === "" || (!path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..");
  return isAboveHome || path.parse(folder).root === folder;
}
