import { lstat, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { isTooBroad } from "../util/file-name.ts";

/** Limit for the search upwards; each level costs a look at the disk. */
const maxLevels = 40;

/**
 * The nearest folder with a `.git`: `folder` itself or a parent, but no home folder, drive or folder above a home.
 * `folder` and `userHome` are absolute and resolved. What `.git` contains is not checked.
 */
export async function workTreeAbove(folder: string, userHome: string): Promise<string | undefined> {
  let level = folder;
  for (let count = 0; count < maxLevels; count += 1) {
    if (level !== folder && isTooBroad(level, userHome)) return undefined;
    const found = await lstat(path.join(level, ".git")).catch(() => undefined);
    if (found !== undefined) return level;
    const parent = path.dirname(level);
    if (parent === level) return undefined;
    level = parent;
  }
  return undefined;
}

/** The resolved path of a folder; undefined when it is not a folder or not accessible. */
export async function realFolder(folder: string): Promise<string | undefined> {
  const facts = await stat(folder).catch(() => undefined);
  return facts?.isDirectory() === true ? realpath(folder).catch(() => undefined) : undefined;
}
