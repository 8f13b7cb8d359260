import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { DaemonUnavailable } from "../orchestrator/errors.ts";
import { advice } from "../orchestrator/next-step.ts";
import { randomHex } from "./random.ts";
import { ensureRunFolder, runFolder } from "./run-folder.ts";

/**
 * The daemon's own copy of the program, `OLLM_HOME/run/<version>`, made once: an upgrade in place doesn't pull files
 * from under a running daemon. Whole or absent, also when several processes copy at once. One whose bytes are not those
 * of `program` is replaced before anything of it runs. Returns the folder.
 *
 * `keep` are versions whose copies stay; other copies, of daemons long gone, are removed when a new one is made.
 */
export function ensureProgramCopy(
  home: string,
  program: { readonly folder: string; readonly version: string },
  keep: readonly string[],
): string {
  const copy = join(runFolder(home), program.version);
  // The daemon itself, or a command that it runs, starts another.
  if (program.folder === copy || isSameProgram(program.folder, copy)) return copy;
  if (!existsSync(join(program.folder, "commands.mjs"))) {
    throw new DaemonUnavailable(`${program.folder} holds no built program to run as the daemon`, {
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
    // Another front was quicker.
    if (!isSameProgram(program.folder, copy)) throw error;
  }
  removeOthers(home, [program.version, ...keep]);
  return copy;
}

/** Whether `copy` holds the files of `folder`, byte for byte, and nothing else: 4 MB, some 10 ms. False without a copy. */
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

/** Relative and sorted. */
function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .toSorted();
}

function removeOthers(home: string, keep: readonly string[]): void {
  for (const entry of readdirSync(runFolder(home), { withFileTypes: true })) {
    // Names of versions only, and no half copies: another front may be making one.
    if (!entry.isDirectory() || keep.includes(entry.name) || !/^\d+\.\d+\.\d+[^/]*$/.test(entry.name)) continue;
    if (entry.name.endsWith(".new")) continue;
    rmSync(join(runFolder(home), entry.name), { recursive: true, force: true });
  }
}
