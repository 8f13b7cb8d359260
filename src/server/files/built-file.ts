import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The path of a file beside the built command. This code is bundled into `dist/chunks/` or `dist/`, or runs from
 * `src/server/files/` (`npm run dev`): the first of those `dist` folders that has the file is used.
 */
export function builtFile(name: string): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const folders = [here, path.join(here, ".."), path.join(here, "..", "..", "..", "dist")];
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  return found ?? path.join(here, name);
}
