import { statSync } from "node:fs";
import path from "node:path";
import { expandHome } from "../../orchestrator/config/expand-home.ts";
import { InvalidRequest } from "../../orchestrator/errors.ts";
import { advice } from "../../orchestrator/next-step.ts";

const existing = advice("name an existing folder");

/**
 * The folders named (each may name several, with commas), absolute, each once. Throws `InvalidRequest` for one that is
 * no folder, for an empty text, and for a home folder or a drive: allowing that by a slip would show every key and letter in it.
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
      throw new InvalidRequest(`${name} is a whole home folder or drive: too much to allow`, {
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

/** Whether a folder is there now, links followed. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The home folder, what is above it, and a drive's root. */
function isTooBroad(folder: string, userHome: string): boolean {
  const relative = path.relative(folder, userHome);
  const isAboveHome = relative === "" || (!path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..");
  return isAboveHome || path.parse(folder).root === folder;
}
