import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OwnerUnavailable } from "../orchestrator/errors.ts";
import { randomHex } from "./random.ts";
import { ensureRunFolder, runFolder } from "./run-folder.ts";

/**
 * The owner's own copy of the program, `OLLM_HOME/run/<version>`, made once: an upgrade in place doesn't pull files from
 * under an owner that runs. Whole or absent, whoever copies at the same time. Returns the folder.
 *
 * `keep` are versions whose copies stay; other copies, of owners long gone, are removed when a new one is made.
 */
export function ensureProgramCopy(
  home: string,
  program: { readonly folder: string; readonly version: string },
  keep: readonly string[],
): string {
  const copy = join(runFolder(home), program.version);
  // The owner itself, or a command that it runs, starts another.
  if (program.folder === copy || existsSync(join(copy, "cli.mjs"))) return copy;
  if (!existsSync(join(program.folder, "commands.mjs"))) {
    throw new OwnerUnavailable(`${program.folder} holds no built program to run as the owner`, {
      hint: "Run `npm run build` and start dist/cli.mjs, or start with --standalone.",
    });
  }
  ensureRunFolder(home);
  const temporary = `${copy}.${randomHex(6)}.new`;
  try {
    mkdirSync(temporary, { mode: 0o700 });
    cpSync(program.folder, temporary, { recursive: true });
    renameSync(temporary, copy);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    // Another front was quicker.
    if (!existsSync(join(copy, "cli.mjs"))) throw error;
  }
  removeOthers(home, [program.version, ...keep]);
  return copy;
}

function removeOthers(home: string, keep: readonly string[]): void {
  for (const entry of readdirSync(runFolder(home), { withFileTypes: true })) {
    // Names of versions only, and no half copies: another front may be making one.
    if (!entry.isDirectory() || keep.includes(entry.name) || !/^\d+\.\d+\.\d+[^/]*$/.test(entry.name)) continue;
    if (entry.name.endsWith(".new")) continue;
    rmSync(join(runFolder(home), entry.name), { recursive: true, force: true });
  }
}
