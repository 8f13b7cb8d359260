import { constants } from "node:fs";
import { chmod, copyFile, lstat, mkdir, readFile, readdir, readlink, realpath, rm, stat } from "node:fs/promises";
import path from "node:path";
import { createTwoFilesPatch } from "diff";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { replaceFile } from "../../orchestrator/storage/replace-file.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { CommandIo } from "../terminal/io.ts";
import { type Style, styled } from "../terminal/terminal-text.ts";
import { codeOf, isMissing, messageOf, undefinedIfMissing } from "../../orchestrator/util/values.ts";

/** The content of a client's file when it was read. */
export interface ConfigFile {
  /** The path that the client uses. */
  readonly name: string;
  /** The path with links resolved. */
  readonly real: string;
  /** Undefined if the file does not exist. */
  readonly bytes: Buffer | undefined;
  /** The text without byte order mark; "" if the file does not exist. */
  readonly text: string;
  readonly hasByteOrderMark: boolean;
}

/** Another program wrote the file after it was read; its content is kept. */
export class ChangedMeanwhile extends InvalidRequest {}

/** Larger than the settings of any client. */
const maxBytes = 10_000_000;
const byteOrderMark = "\uFEFF";

/** Reads a file; a missing one has an empty text. Throws `InvalidRequest` if it can't be used. */
export async function readConfigFile(name: string): Promise<ConfigFile> {
  const real = await followLinks(name);
  const unread = (error: unknown): never => {
    throw unusable(name, error);
  };
  const facts = await stat(real).catch((error: unknown) => (isMissing(error) ? undefined : unread(error)));
  if (facts === undefined) return { name, real, bytes: undefined, text: "", hasByteOrderMark: false };
  if (facts.isDirectory()) throw new InvalidRequest(`${name} is a folder, not a file`);
  if (!facts.isFile()) throw new InvalidRequest(`${name} is not a regular file`);
  if (facts.size > maxBytes) {
    throw new InvalidRequest(`${name} has ${formatBytes(facts.size)}, too much for a settings file`, {
      next: advice("check what was written there"),
    });
  }
  const bytes = await readFile(real).catch(unread);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new InvalidRequest(`${name} is not UTF-8 text`, { next: advice("save it as UTF-8"), cause: error });
  }
  const hasByteOrderMark = text.startsWith(byteOrderMark);
  return { name, real, bytes, text: hasByteOrderMark ? text.slice(1) : text, hasByteOrderMark };
}

/** Throws `InvalidRequest` if the file is read-only. Call it before asking the user. */
export async function assertWritable(file: ConfigFile): Promise<void> {
  if (file.bytes === undefined) return;
  const { mode } = await stat(file.real);
  // A read-only file could be replaced all the same, since that depends on its folder.
  if ((mode & 0o222) === 0) throw new InvalidRequest(`${file.name} is read-only`, { next: advice("make it writable") });
}

/**
 * Replaces the file in one step, keeping mode and owner. Returns the path of a backup beside it; undefined if there was no
 * file. Throws `ChangedMeanwhile`, and writes nothing, if the file changed since it was read.
 */
export async function replaceConfigFile(file: ConfigFile, text: string, now: Date): Promise<string | undefined> {
  await assertUnchanged(file);
  const backup = file.bytes === undefined ? undefined : await backUp(file.real, now);
  await writeBytes(file, bytesOf(file, text));
  return backup;
}

/** A new text for a file, with its byte order mark. */
export function bytesOf(file: ConfigFile, text: string): Buffer {
  return Buffer.from((file.hasByteOrderMark ? byteOrderMark : "") + text);
}

/** Restores the bytes that were read, or removes the file if there was none. Throws if it does not contain `written`. */
export async function restoreConfigFile(file: ConfigFile, written: string, backup: string | undefined): Promise<void> {
  const current = await readConfigFile(file.name);
  if (current.text !== written) throw changedMeanwhile(file.name);
  if (file.bytes === undefined) await rm(file.real, { force: true });
  else await writeBytes(file, file.bytes);
  if (backup !== undefined) await rm(backup, { force: true });
}

/** Replaces the file by these bytes, or removes it for undefined. Throws if it changed since it was read. */
export async function rewriteConfigFile(file: ConfigFile, bytes: Buffer | undefined): Promise<void> {
  await assertUnchanged(file);
  if (bytes === undefined) await rm(file.real);
  else await writeBytes(file, bytes);
}

const backupMark = ".ollm-backup-";

/** The backups of a file, newest first. */
export async function backupsOf(file: ConfigFile): Promise<readonly string[]> {
  const folder = path.dirname(file.real);
  const prefix = path.basename(file.real) + backupMark;
  const names = (await readdir(folder).catch(undefinedIfMissing)) ?? [];
  return names
    .filter((name) => name.startsWith(prefix))
    .toSorted()
    .toReversed()
    .map((name) => path.join(folder, name));
}

async function backUp(real: string, now: Date): Promise<string> {
  // Sorts by time and is a valid file name on Windows: 20261121-113000123.
  const time = now
    .toISOString()
    .replaceAll(/[-:.Z]/g, "")
    .replace("T", "-");
  for (let attempt = 0; ; attempt += 1) {
    const backup = `${real}${backupMark}${time}${attempt === 0 ? "" : `-${attempt}`}`;
    try {
      await copyFile(real, backup, constants.COPYFILE_EXCL);
      // The file may contain keys of other servers: keep its mode.
      await chmod(backup, (await stat(real)).mode & 0o777);
      return backup;
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || attempt > 50) throw unusable(real, error);
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
  return new ChangedMeanwhile(`${name} was changed by another program meanwhile; not overwritten`, {
    next: advice("close the program that writes it and try again"),
  });
}

/** Resolves links, also if the target does not exist. */
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
  throw new InvalidRequest(`${name} is a circular link`);
}

function unusable(name: string, error: unknown): InvalidRequest {
  return new InvalidRequest(`${name} can't be used: ${messageOf(error)}`, { cause: error });
}

interface LinePosition {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

/** A file that its client can't parse either, or that can't be edited safely; it is not changed. */
export class BrokenConfig extends InvalidRequest {
  readonly position: LinePosition;

  constructor(what: string, position: LinePosition = { line: 1, column: 1 }, next?: NextSteps) {
    super(what, { next: next ?? advice("correct the file, then run setup again") });
    this.position = position;
  }
}

export function linePosition(text: string, offset: number): LinePosition {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: offset - before.lastIndexOf("\n") };
}

/** The first line break of the text; `\n` if it has none. */
export function newlineOf(text: string): "\n" | "\r\n" {
  return /\r?\n/.exec(text)?.[0] === "\r\n" ? "\r\n" : "\n";
}

/** Some clients store megabytes of state in one line. */
const maxLineLength = 200;

/** Keys of other servers, which are hidden; in YAML without quotes. */
const secret =
  /((?:key|token|secret|password|credential|authorization)[\w-]*["']?\s*[:=]\s*)(?:(["']).*?\2|[^\s"'[{][^,}]*)/gi;

/** The change as a unified diff with three lines of context. */
export function showDiff(file: string, before: string, after: string): string {
  const patch = createTwoFilesPatch(file, file, before, after, undefined, undefined, { context: 3 });
  const lines = patch
    .split("\n")
    .filter((line) => line !== "" && !/^(===|Index: |\\ No newline)/.test(line))
    .map((line) => line.replace(/\r$/, "").replaceAll(secret, "$1$2…$2"));
  return `${lines.map((line, index) => shorten(line, lines[index - 1], lines[index + 1])).join("\n")}\n`;
}

/** A diff with removed and added lines and positions in colours. */
export function colourDiff(diff: string, io: Pick<CommandIo, "hasColour">): string {
  return diff
    .split("\n")
    .map((line, index) => styled(line, styleOf(line, index), io))
    .join("\n");
}

/** The first two lines name the file. */
function styleOf(line: string, index: number): Style | undefined {
  if (index < 2) return "bold";
  return ({ "+": "green", "-": "red", "@": "cyan" } as const)[line.charAt(0)];
}

/** Shortens a long line to its difference from the line that it replaces or is replaced by, else to its start. */
function shorten(line: string, previous: string | undefined, next: string | undefined): string {
  if (line.length <= maxLineLength) return line;
  const other = line.startsWith("-") && next?.startsWith("+") ? next : previous;
  const isPair = other !== undefined && /^(-\+|\+-)$/.test(line.slice(0, 1) + other.slice(0, 1));
  if (!isPair) return `${line.slice(0, maxLineLength)}…`;
  let start = 1;
  while (start < line.length && line[start] === other[start]) start += 1;
  let end = 0;
  while (end < Math.min(line.length, other.length) - start && line.at(-1 - end) === other.at(-1 - end)) end += 1;
  const from = Math.max(1, start - 60);
  const to = Math.min(line.length, line.length - end + 60);
  return `${line[0]}${from > 1 ? "…" : ""}${line.slice(from, to)}${to < line.length ? "…" : ""}`;
}
