import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The oldest supported Node, as in `engines` of package.json. */
export const oldestNode = "20.19";

/** Whether a version (`v22.3.0`, `22.3.0`) is at least `oldestNode`; false for other text. */
export function isNewEnough(version: string): boolean {
  const [major = NaN, minor = NaN] = version.trim().replace(/^v/, "").split(".").map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = oldestNode.split(".").map(Number);
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}

/** Where installers put programs on Linux and macOS. Desktop clients start us with a minimal PATH. */
export const usualFolders = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/opt/local/bin"] as const;

/**
 * A Node executable for our child processes: this process's own, unless it is an Electron helper, which can't be started
 * as Node; then one on the PATH or in an installer's usual folder. Undefined when there is none.
 */
export function findNode(
  program: {
    readonly execPath: string;
    readonly isElectron: boolean;
    readonly platform: NodeJS.Platform;
    readonly searchPath: string;
  },
  isExecutable: (file: string) => boolean = canExecute,
): string | undefined {
  if (!program.isElectron) return program.execPath;
  const { join, delimiter } = program.platform === "win32" ? path.win32 : path.posix;
  const name = program.platform === "win32" ? "node.exe" : "node";
  const usual = program.platform === "win32" ? ["C:\\Program Files\\nodejs"] : usualFolders;
  const folders = [...program.searchPath.split(delimiter).filter((folder) => folder !== ""), ...usual];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** Whether a file exists and this user may execute it. */
export function canExecute(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The path of a file beside the built command. This code is bundled into `dist/chunks/` or `dist/`, or runs from
 * `src/orchestrator/util/` (`npm run dev`): the first of those `dist` folders that has the file is used.
 */
export function builtFile(name: string): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const folders = [here, path.join(here, ".."), path.join(here, "..", "..", "..", "dist")];
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  return found ?? path.join(here, name);
}
