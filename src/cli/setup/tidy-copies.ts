import { readdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import type { ClientTarget } from "./discover.ts";
import { programFolder } from "./program-files.ts";

/** Younger unfinished copies may still be written by another process. */
const minUnfinishedMs = 24 * 60 * 60 * 1_000;

/** The names of the copies in a home's `app` folder that occur in clients' files, even in files that can't be parsed. */
export async function mentionedCopies(home: string, targets: readonly ClientTarget[]): Promise<ReadonlySet<string>> {
  const [copies, texts] = await Promise.all([
    listFolder(programFolder(home)),
    // Files that can't be read don't count.
    Promise.all(targets.map(({ file }) => readFile(file, "utf8").catch(() => ""))),
  ]);
  return new Set(copies.filter((name) => texts.some((text) => text.includes(name))));
}

/**
 * Deletes the copies of the program that are not in `kept`. That has the copies in the current entries of clients and in
 * their previous ones, which open clients still use.
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
