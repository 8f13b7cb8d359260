import { realpath, stat } from "node:fs/promises";

/** Resolved; undefined when it is none, or can't be looked at. */
export async function realFolder(folder: string): Promise<string | undefined> {
  try {
    const real = await realpath(folder);
    return (await stat(real)).isDirectory() ? real : undefined;
  } catch {
    return undefined;
  }
}
