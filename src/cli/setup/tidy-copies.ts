import { readdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { ClientTarget } from "./discover.ts";
import { programFolder } from "./program-files.ts";

/** Another process may be making it. */
const minUnfinishedMs = 24 * 60 * 60 * 1_000;

/** Names of the copies in a home's `app` folder that clients' files mention, also files that can't be parsed. */
export async function mentionedCopies(home: string, targets: readonly ClientTarget[]): Promise<ReadonlySet<string>> {
  const [copies, texts] = await Promise.all([
    listFolder(programFolder(home)),
    // A file that is gone or can't be read starts nothing.
    Promise.all(targets.map(({ file }) => readFile(file, "utf8").catch(() => ""))),
  ]);
  return new Set(copies.filter((name) => texts.some((text) => text.includes(name))));
}

/**
 * Removes the copies of the program that nothing needs: not in `kept`, which has what clients are told to start and what
 * they were told until now, since one that is open goes on with that.
 */
export async function tidyCopies(home: string, kept: ReadonlySet<string>, now: number): Promise<void> {
  const folder = programFolder(home);
  for (const name of await listFolder(folder)) {
    if (kept.has(name)) continue;
    const copy = path.join(folder, name);
    const isUnfinished = name.endsWith(".unfinished");
    if (isUnfinished && now - (await stat(copy)).mtimeMs < minUnfinishedMs) continue;
    await rm(copy, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function listFolder(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}
