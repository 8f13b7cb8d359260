import { rmSync } from "node:fs";
import { access, chmod, constants, copyFile, mkdir, mkdtemp, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { realHome, runFolder, tokenFile } from "../ipc/run-folder.ts";
import { ensureToken } from "../ipc/token.ts";
import { requireTrustedHome } from "../ipc/trusted-home.ts";
import { InvalidConfig } from "../orchestrator/errors.ts";
import type { Log } from "../orchestrator/log.ts";

/**
 * Makes sure that the home folder exists and belongs to its user alone. One that can't be written (containers,
 * sandboxes) is replaced by a temporary one, with a warning: models pulled into it are lost with it. Its settings hold
 * there too. Throws `InvalidConfig` for one that other users could have changed: nothing of it is used, its settings
 * neither. Every file is looked at, because what this process runs and obeys may lie anywhere in it.
 */
export async function ensureHome(wanted: string, log: Log): Promise<string> {
  requireTrustedHome(wanted, { isWhole: true });
  try {
    await mkdir(wanted, { recursive: true, mode: 0o700 });
    // It may have been made just now, in a folder where others may put another in its place.
    requireTrustedHome(wanted);
    await access(wanted, constants.R_OK | constants.W_OK | constants.X_OK);
    // Without it nobody can hold the home.
    ensureToken(realHome(wanted));
    // Tokens and prompts lie here. On Windows the profile's own rules protect it.
    if (process.platform !== "win32") await closeToOthers(realHome(wanted), log);
    return wanted;
  } catch (error) {
    if (error instanceof InvalidConfig) throw error;
    const temporary = await mkdtemp(path.join(tmpdir(), "ollm-home-"));
    await linkSettings(wanted, temporary, log);
    const reason = error instanceof Error ? error.message : String(error);
    log.warn(
      `${wanted} can't be used (${reason}); using ${temporary} until the end. Set OLLM_HOME to a writable folder.`,
    );
    return temporary;
  }
}

/** At the end of the process that used it. */
export function removeTemporary(home: string): void {
  try {
    rmSync(home, { recursive: true, force: true });
  } catch {
    // On Windows a file that a child of ours still has open; the system empties the folder for temporary ones.
  }
}

/** Where links need a privilege a copy will do. One that can't be read is left: what it says nobody knows. */
async function linkSettings(wanted: string, temporary: string, log: Log): Promise<void> {
  const [from, to] = [path.join(path.resolve(wanted), "config.yaml"), path.join(temporary, "config.yaml")];
  try {
    await access(from, constants.R_OK);
    await symlink(from, to).catch(() => copyFile(from, to));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOENT" && code !== "ENOTDIR") log.warn(`${from} is not obeyed: ${String(error)}`);
  }
}

/** Each for itself: a folder that is a link lies elsewhere, and a copied home brings its modes along. */
async function closeToOthers(home: string, log: Log): Promise<void> {
  await closeOne(home, 0o700);
  await closeOne(runFolder(home), 0o700);
  if (await closeOne(tokenFile(home), 0o600)) {
    log.warn(`${tokenFile(home)} could be read by other users; delete it while no daemon runs, and a new one is made`);
  }
}

/** Whether others had rights there. */
async function closeOne(folder: string, mode: number): Promise<boolean> {
  if (((await stat(folder)).mode & 0o077) === 0) return false;
  await chmod(folder, mode);
  return true;
}
