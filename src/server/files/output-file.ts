import { randomBytes } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, link, lstat, open, realpath, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { OutputFile } from "../../tools/definition.ts";
import {
  type AllowedRoots,
  candidatesOf,
  checkName,
  isAllowed,
  noFolderYet,
  outsideRoots,
  isForeignShare,
} from "./allowed-paths.ts";
import { codeOf } from "../../orchestrator/util/values.ts";

/**
 * Prepares a new file in an existing folder inside the roots. An existing file is never replaced unless it is empty: a
 * wrong name must not cost the user a document, and there is no undo. A relative name is resolved in the working
 * directory, else in the first root whose folder exists.
 */
export async function openOutput(
  name: string,
  roots: AllowedRoots,
  how: { readonly beforeOpen?: () => Promise<void>; readonly hasHandlePaths?: boolean } = {},
): Promise<OutputFile> {
  checkName(name);
  const found = await findTarget(name, roots);
  const file = (await inFolder(name, found)) ?? found;
  await refuseExisting(name, file);
  return {
    path: file,
    async write(text) {
      const content = Buffer.from(text, "utf8");
      // Minutes may have passed since the checks, so the folder is checked again.
      let folder: OpenFolder | undefined;
      try {
        folder = await openFolder(path.dirname(file), how.hasHandlePaths ?? process.platform === "linux");
        if (!isAllowed(await folder.now(), roots)) throw outsideRoots(name, file, roots);
        await refuseExisting(name, folder.at(path.basename(file)));
        await how.beforeOpen?.();
        await create({ name, file, folder, roots }, content);
      } catch (error) {
        if (error instanceof InvalidRequest) throw error;
        throw new InvalidRequest(`the output file ${file} can't be written (${codeOf(error) ?? "unknown error"})`, {
          cause: error,
        });
      } finally {
        await folder?.close();
      }
      return { bytes: content.length };
    },
  };
}

async function findTarget(name: string, roots: AllowedRoots): Promise<string> {
  const candidates = candidatesOf(name, roots);
  if (candidates.length === 0) throw noFolderYet(name, roots);
  let outside: string | undefined;
  for (const candidate of candidates) {
    const isForeign = isForeignShare(candidate, roots.folders, path);
    const real = (folder: string) => (isForeign ? undefined : realpath(folder).catch(() => undefined));
    // The folder of a root is outside it, the root is not.
    const own = isFolderName(name) ? await real(candidate) : undefined;
    if (own !== undefined && isAllowed(own, roots)) return own;
    const folder = await real(path.dirname(candidate));
    const file = folder === undefined ? candidate : path.join(folder, path.basename(candidate));
    if (!isAllowed(folder ?? candidate, roots)) outside ??= isAllowed(candidate, roots) ? file : candidate;
    else if (folder !== undefined && path.basename(candidate) !== "") return file;
  }
  if (outside !== undefined) throw outsideRoots(name, outside, roots);
  throw new InvalidRequest(`the folder of the output file ${name} does not exist`, {
    next: advice("create the folder first"),
  });
}

function isFolderName(name: string): boolean {
  return /[\\/]$/.test(name);
}

const maxNames = 100;

/** A free name in `file` where a name with a slash at its end says that it is a folder: `answer.txt`, `answer-2.txt`. */
async function inFolder(name: string, file: string): Promise<string | undefined> {
  if (!isFolderName(name)) return undefined;
  if ((await lstat(file).catch(() => undefined))?.isDirectory() !== true) {
    throw new InvalidRequest(`the output folder ${name} does not exist`, { next: advice("create the folder first") });
  }
  for (let count = 1; count <= maxNames; count += 1) {
    const free = path.join(file, count === 1 ? "answer.txt" : `answer-${count}.txt`);
    if ((await lstat(free).catch(() => undefined)) === undefined) return free;
  }
  throw new InvalidRequest(`the folder ${name} has ${maxNames} answers already`, { next: advice("name a file in it") });
}

async function refuseExisting(name: string, file: string): Promise<void> {
  const status = await lstat(file).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new InvalidRequest(`the output file ${name} can't be used (${codeOf(error)})`, { cause: error });
  });
  if (status === undefined || (status.isFile() && status.size === 0)) return;
  const what = status.isDirectory() ? "is a folder" : "already exists, and is not overwritten";
  throw new InvalidRequest(`the output file ${name} ${what}`, { next: advice("choose another name") });
}

/** An open folder: another folder may take its path at any time. */
type OpenFolder = Awaited<ReturnType<typeof openFolder>>;

/**
 * On Linux, files are addressed relative to the open folder through `/proc/self/fd`, so that a swapped path leads nowhere
 * else. On other systems they are addressed by path, and the path is checked before and after each step.
 */
async function openFolder(folder: string, hasHandlePaths: boolean) {
  const before = await stat(folder, { bigint: true });
  const flags = constants.O_RDONLY | (constants.O_DIRECTORY ?? 0);
  const handle: FileHandle | undefined = hasHandlePaths ? await open(folder, flags) : undefined;
  const own = handle && { path: `/proc/self/fd/${handle.fd}`, facts: await handle.stat({ bigint: true }) };
  const facts = own?.facts ?? before;
  const seen = own && (await stat(own.path, { bigint: true }).catch(() => undefined));
  const through = seen?.ino === facts.ino && seen.dev === facts.dev ? own?.path : undefined;
  return {
    /** The path at which a file in it is created, linked and removed. */
    at: (fileName: string) => path.join(through ?? folder, fileName),
    /** Its current real path; rejects when that can't be determined. */
    now: () => realpath(through ?? folder),
    /** Whether its path still names it. */
    isStillThere: () => isSame(folder, facts),
    close: async () => handle?.close(),
  };
}

async function isSame(file: string, { ino, dev }: Pick<BigIntStats, "ino" | "dev">): Promise<boolean> {
  const found = await lstat(file, { bigint: true }).catch(() => undefined);
  return found !== undefined && found.ino === ino && found.dev === dev;
}

/** Creates the file in one step, so that no reader sees half of it. A file created elsewhere after a swap is removed. */
async function create(
  output: { readonly name: string; readonly file: string; readonly folder: OpenFolder; readonly roots: AllowedRoots },
  content: Uint8Array,
): Promise<void> {
  const { name, file, folder, roots } = output;
  const base = path.basename(file);
  const target = folder.at(base);
  const temporary = folder.at(`.${base.slice(0, 64)}.${randomBytes(6).toString("hex")}.tmp`);
  const checkFolder = async () => {
    if (!isAllowed(await folder.now(), roots)) throw outsideRoots(name, file, roots);
    if (await folder.isStillThere()) return;
    throw new InvalidRequest(`the folder of the output file ${name} was replaced while the answer was written`);
  };
  const files = [temporary, target];
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx");
    // Addressed by path, it may have been created elsewhere: checked before the first byte.
    const real = await realpath(temporary);
    files.push(real);
    if (!isAllowed(real, roots)) throw outsideRoots(name, file, roots);
    await checkFolder();
    await handle.writeFile(content);
    await handle.sync();
    await checkFolder();
    await putInPlace(name, temporary, target);
    await checkFolder();
  } catch (error) {
    if (handle !== undefined) await removeCreated(handle, files);
    throw error;
  } finally {
    await handle?.close();
  }
}

/** While folders are being swapped, a path leads to the file only some of the time, and the swapping program may be busy. */
const removalMs = 2_000;
const pauseMs = 5;

/** Removes the created file and no other: in a swapped folder another file may have the same name. */
async function removeCreated(handle: FileHandle, files: readonly string[]): Promise<void> {
  const end = performance.now() + removalMs;
  for (let tries = 0; performance.now() < end; tries += 1) {
    const made = await handle.stat({ bigint: true });
    if (made.nlink === 0n) return;
    for (const file of files) if (await isSame(file, made)) await rm(file, { force: true }).catch(() => undefined);
    // Swaps without a pause are only met without a pause.
    if (tries > 100) await delay(pauseMs);
  }
}

/** Links the file to its name, which fails atomically when the name is taken. */
async function putInPlace(name: string, temporary: string, file: string): Promise<void> {
  try {
    await link(temporary, file);
  } catch (error) {
    // The name is taken, or the file system has no links; their error codes vary.
    if (codeOf(error) === "ENOENT") throw error;
    await refuseExisting(name, file);
    await rename(temporary, file);
    return;
  }
  await rm(temporary, { force: true });
}
