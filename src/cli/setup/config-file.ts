import { constants, type Stats } from "node:fs";
import { chmod, copyFile, lstat, mkdir, readFile, readdir, readlink, realpath, rm, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/errors.ts";
import { advice } from "../../orchestrator/next-step.ts";
import { replaceFile } from "../../orchestrator/files/replace-file.ts";
import { formatBytes } from "../../orchestrator/text/format-bytes.ts";

/** A client's file as it was when it was read. */
export interface ConfigFile {
  /** As the client names it. */
  readonly name: string;
  /** The file itself: links followed. */
  readonly real: string;
  /** Undefined when there is none yet. */
  readonly bytes: Buffer | undefined;
  /** Its text without byte order mark; "" when there is no file. */
  readonly text: string;
  readonly hasByteOrderMark: boolean;
}

/** Somebody else wrote the file between our reading and our writing; it is as they left it. */
export class ChangedMeanwhile extends InvalidRequest {}

/** No settings file of a client is larger; a mistake or a trap is. */
const maxBytes = 10_000_000;
const byteOrderMark = "\uFEFF";

/** Throws `InvalidRequest` that says why the file can't be used. A missing one is an empty text. */
export async function readConfigFile(name: string): Promise<ConfigFile> {
  const real = await followLinks(name);
  const facts = await factsOf(real, name);
  if (facts === undefined) return { name, real, bytes: undefined, text: "", hasByteOrderMark: false };
  if (facts.isDirectory()) throw new InvalidRequest(`${name} is a folder, not a file`);
  if (!facts.isFile()) throw new InvalidRequest(`${name} is not a regular file`);
  if (facts.size > maxBytes) {
    throw new InvalidRequest(`${name} has ${formatBytes(facts.size)}, more than any client's settings`, {
      next: advice("check what was written there"),
    });
  }
  const bytes = await reading(name, () => readFile(real));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new InvalidRequest(`${name} is not UTF-8 text`, { next: advice("save it as UTF-8"), cause: error });
  }
  const hasByteOrderMark = text.startsWith(byteOrderMark);
  return { name, real, bytes, text: hasByteOrderMark ? text.slice(1) : text, hasByteOrderMark };
}

/** Throws `InvalidRequest` when the file could be read but not written: found out before anything is asked. */
export async function assertWritable(file: ConfigFile): Promise<void> {
  if (file.bytes === undefined) return;
  const { mode } = await stat(file.real);
  // A file that was made read-only on purpose could be replaced all the same: its folder decides about that.
  if ((mode & 0o222) === 0) {
    throw new InvalidRequest(`${file.name} is read-only`, { next: advice("make it writable") });
  }
}

/**
 * Replaces the file in one step, keeping mode and owner, unless it changed since it was read (`ChangedMeanwhile`; nothing
 * is written then). What stood there before is copied to the answer's file, beside the file itself; undefined when
 * there was none.
 */
export async function replaceConfigFile(file: ConfigFile, text: string, now: Date): Promise<string | undefined> {
  await assertUnchanged(file);
  const backup = file.bytes === undefined ? undefined : await backUp(file.real, now);
  await writeBytes(file, Buffer.from((file.hasByteOrderMark ? byteOrderMark : "") + text));
  return backup;
}

/** Puts back the bytes that were read, or removes the file that wasn't there, if it still holds `written`. */
export async function restoreConfigFile(file: ConfigFile, written: string, backup: string | undefined): Promise<void> {
  const current = await readConfigFile(file.name);
  if (current.text !== written) throw changedMeanwhile(file.name);
  if (file.bytes === undefined) await rm(file.real, { force: true });
  else await writeBytes(file, file.bytes);
  if (backup !== undefined) await rm(backup, { force: true });
}

/** Writes exactly these bytes over a file that still is as it was read; undefined removes it. */
export async function rewriteConfigFile(file: ConfigFile, bytes: Buffer | undefined): Promise<void> {
  await assertUnchanged(file);
  if (bytes === undefined) await rm(file.real);
  else await writeBytes(file, bytes);
}

const backupMark = ".ollm-backup-";

/** Our backups of a file, newest first. */
export async function backupsOf(file: ConfigFile): Promise<readonly string[]> {
  const folder = path.dirname(file.real);
  const prefix = path.basename(file.real) + backupMark;
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  return names
    .filter((name) => name.startsWith(prefix))
    .toSorted()
    .toReversed()
    .map((name) => path.join(folder, name));
}

async function backUp(real: string, now: Date): Promise<string> {
  // Sorts by time, and is a file's name on Windows too: 20261121-113000123.
  const time = now
    .toISOString()
    .replaceAll(/[-:.Z]/g, "")
    .replace("T", "-");
  for (let attempt = 0; ; attempt += 1) {
    const backup = `${real}${backupMark}${time}${attempt === 0 ? "" : `-${attempt}`}`;
    try {
      await copyFile(real, backup, constants.COPYFILE_EXCL);
      // Such files hold keys of other servers: never more readable than the original.
      await chmod(backup, (await stat(real)).mode & 0o777);
      return backup;
    } catch (error) {
      if (!isCode(error, "EEXIST") || attempt > 50) throw unusable(real, error);
    }
  }
}

async function writeBytes(file: ConfigFile, bytes: Buffer): Promise<void> {
  try {
    await mkdir(path.dirname(file.real), { recursive: true });
    await replaceFile(file.real, bytes, file.bytes === undefined ? { mode: 0o600 } : {});
  } catch (error) {
    throw unusable(file.name, error);
  }
}

async function assertUnchanged(file: ConfigFile): Promise<void> {
  const current = await readConfigFile(file.name);
  const isSame =
    current.real === file.real &&
    (current.bytes === undefined
      ? file.bytes === undefined
      : file.bytes !== undefined && current.bytes.equals(file.bytes));
  if (!isSame) throw changedMeanwhile(file.name);
}

function changedMeanwhile(name: string): ChangedMeanwhile {
  return new ChangedMeanwhile(`${name} changed while this ran; it is left as it is now`, {
    next: advice("close the program that writes it and try again"),
  });
}

/** The file that a name leads to, also when a link's target is missing. */
async function followLinks(name: string): Promise<string> {
  let current = name;
  for (let hops = 0; hops < 40; hops += 1) {
    try {
      return await realpath(current);
    } catch (error) {
      if (!isMissing(error)) throw unusable(name, error);
    }
    const facts = await lstat(current).catch(() => undefined);
    if (facts?.isSymbolicLink() !== true) return current;
    current = path.resolve(path.dirname(current), await readlink(current));
  }
  throw new InvalidRequest(`${name} is a link that leads nowhere`);
}

async function factsOf(real: string, name: string): Promise<Stats | undefined> {
  try {
    return await stat(real);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unusable(name, error);
  }
}

async function reading<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof InvalidRequest ? error : unusable(name, error);
  }
}

function unusable(name: string, error: unknown): InvalidRequest {
  const reason = error instanceof Error ? error.message : String(error);
  return new InvalidRequest(`${name} can't be used: ${reason}`, { cause: error });
}

function isMissing(error: unknown): boolean {
  // ENOTDIR: a parent is a file, found again, with its reason, when the folder is made.
  return isCode(error, "ENOENT") || isCode(error, "ENOTDIR");
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
