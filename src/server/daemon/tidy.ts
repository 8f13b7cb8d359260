import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { runFolder } from "../../ipc/run-folder.ts";

/** A front may be about to start a version that it has just copied. */
const minAgeMs = 24 * 60 * 60 * 1_000;

/**
 * Removes leftovers of earlier daemons from the run folder when they are older than a day: copies of other versions,
 * incomplete files, and sockets, which no process can be listening on because we hold the home.
 */
export async function tidyRunFolder(
  home: string,
  ownVersion: string,
  ownSocket: string,
  now = Date.now,
): Promise<void> {
  const folder = runFolder(home);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    const isCopy = entry.isDirectory() && /^\d+\.\d+\.\d+/.test(entry.name) && entry.name !== ownVersion;
    const isHalf = entry.name.endsWith(".new");
    const isSocket = entry.isSocket() && full !== ownSocket;
    if (!isCopy && !isHalf && !isSocket) continue;
    if (now() - (await stat(full)).mtimeMs < minAgeMs) continue;
    await rm(full, { recursive: true, force: true });
  }
}
