import { rmSync } from "node:fs";
import { access, chmod, constants, copyFile, mkdir, mkdtemp, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { realHome, runFolder, tokenFile } from "../../ipc/socket-path.ts";
import { ensureToken } from "../../ipc/token.ts";
import { requireTrustedHome } from "../../ipc/trusted-home.ts";
import { InvalidConfig } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { codeOf, messageOf } from "../../orchestrator/util/message-of.ts";

/**
 * Creates the home folder if needed and restricts it to its user. A home that can't be written (containers, sandboxes) is
 * replaced by a temporary one with the same settings, and a warning: models pulled into it are lost with it. Throws
 * `InvalidConfig` for a home that other users could have changed. Nothing of such a home is used, not even its settings,
 * and every file in it is checked, because this process executes and obeys some of them.
 */
export async function ensureHome(wanted: string, log: Log): Promise<string> {
  requireTrustedHome(wanted, { isWhole: true });
  try {
    await mkdir(wanted, { recursive: true, mode: 0o700 });
    // Checked again: it may be new, in a folder where other users can replace it.
    requireTrustedHome(wanted);
    await access(wanted, constants.R_OK | constants.W_OK | constants.X_OK);
    // A home can't be claimed without a token.
    ensureToken(realHome(wanted));
    // It has tokens and prompts. On Windows the profile's access rules protect it.
    if (process.platform !== "win32") await closeToOthers(realHome(wanted), log);
    return wanted;
  } catch (error) {
    if (error instanceof InvalidConfig) throw error;
    const temporary = await mkdtemp(path.join(tmpdir(), "ollm-home-"));
    await linkSettings(wanted, temporary, log);
    const reason = messageOf(error);
    log.warn(
      `${wanted} can't be used (${reason}); using ${temporary} until this process exits. Set OLLM_HOME to a writable folder.`,
    );
    return temporary;
  }
}

/** Removes a temporary home when the process that used it exits. */
export function removeTemporary(home: string): void {
  try {
    rmSync(home, { recursive: true, force: true });
  } catch {
    // On Windows a child process may still have a file open; the system cleans its temporary folder later.
  }
}

/** Links the settings into the temporary home, or copies them where links need a privilege. Unreadable settings are left out. */
async function linkSettings(wanted: string, temporary: string, log: Log): Promise<void> {
  const [from, to] = [path.join(path.resolve(wanted), "config.yaml"), path.join(temporary, "config.yaml")];
  try {
    await access(from, constants.R_OK);
    await symlink(from, to).catch(() => copyFile(from, to));
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOENT" && code !== "ENOTDIR") log.warn(`${from} is not used: ${String(error)}`);
  }
}

/** Restricts home, run folder and token separately: a folder may be a link, and a copied home keeps its modes. */
async function closeToOthers(home: string, log: Log): Promise<void> {
  await closeOne(home, 0o700);
  await closeOne(runFolder(home), 0o700);
  if (await closeOne(tokenFile(home), 0o600)) {
    log.warn(
      `${tokenFile(home)} could be read by other users; delete it while no daemon runs to have a new one created`,
    );
  }
}

/** Restricts a file or folder; returns whether other users had access. */
async function closeOne(folder: string, mode: number): Promise<boolean> {
  if (((await stat(folder)).mode & 0o077) === 0) return false;
  await chmod(folder, mode);
  return true;
}
