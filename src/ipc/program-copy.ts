import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { randomHex } from "./random.ts";
import { ensureRunFolder, runFolder } from "./socket-path.ts";

/**
 * Creates the daemon's own copy of the program, `OLLM_HOME/run/<version>`, so that an upgrade in place doesn't remove
 * files of a running daemon, and returns its folder. The copy is complete or absent, even when several processes copy at
 * once; one that differs from `program` is replaced before any of it runs.
 *
 * Copies of the versions in `keep` are kept; all others are removed when a new one is created.
 */
export function ensureProgramCopy(
  home: string,
  program: { readonly folder: string; readonly version: string },
  keep: readonly string[],
): string {
  const copy = join(runFolder(home), program.version);
  // Started by a daemon, or by a command that a daemon runs.
  if (program.folder === copy || isSameProgram(program.folder, copy)) return copy;
  if (!existsSync(join(program.folder, "commands.mjs"))) {
    throw new DaemonUnavailable(`${program.folder} contains no built program to run as the daemon`, {
      next: [advice("run `npm run build` and start dist/cli.mjs"), { step: "startStandalone" }],
    });
  }
  ensureRunFolder(home);
  const temporary = `${copy}.${randomHex(6)}.new`;
  try {
    mkdirSync(temporary, { mode: 0o700 });
    cpSync(program.folder, temporary, { recursive: true, dereference: true });
    rmSync(copy, { recursive: true, force: true });
    renameSync(temporary, copy);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    // Another front was faster.
    if (!isSameProgram(program.folder, copy)) throw error;
  }
  removeOthers(home, [program.version, ...keep]);
  return copy;
}

/** Whether `copy` has exactly the files of `folder`, byte for byte (4 MB, about 10 ms). False without a copy. */
export function isSameProgram(folder: string, copy: string): boolean {
  try {
    const names = filesBelow(folder);
    const copied = filesBelow(copy);
    if (names.length !== copied.length) return false;
    return names.every(
      (name, index) =>
        name === copied[index] && readFileSync(join(folder, name)).equals(readFileSync(join(copy, name))),
    );
  } catch {
    return false;
  }
}

/** Relative paths, sorted. */
function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .toSorted();
}

function removeOthers(home: string, keep: readonly string[]): void {
  for (const entry of readdirSync(runFolder(home), { withFileTypes: true })) {
    // Only names of versions, and no incomplete copies: another front may be writing one.
    if (!entry.isDirectory() || keep.includes(entry.name) || !/^\d+\.\d+\.\d+[^/]*$/.test(entry.name)) continue;
    if (entry.name.endsWith(".new")) continue;
    rmSync(join(runFolder(home), entry.name), { recursive: true, force: true });
  }
}
