import { realpath, stat } from "node:fs/promises";

/** The resolved path of a folder; undefined when it is not a folder or not accessible. */
export async function realFolder(folder: string): Promise<string | undefined> {
  try {
    const real = await realpath(folder);
    return (await stat(real)).isDirectory() ? real : undefined;
  } catch {
    return undefined;
  }
}
