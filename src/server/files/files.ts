import { type Stats, constants, existsSync } from "node:fs";
import { type FileHandle, lstat, open, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { AudioFormat, AudioInput } from "../../orchestrator/api/types.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { splitGitName } from "../../orchestrator/util/file-name.ts";
import type { ToolFiles } from "../../tools/definition.ts";
import {
  type AllowedPath,
  type AllowedRoots,
  candidatesOf,
  cannotRead,
  checkName,
  findInside,
  howToAllow,
  isAllowed,
  outsideRoots,
  pathOfHandle,
  resolved,
} from "./allowed-paths.ts";
import { readGit } from "./git-read.ts";
import type { GitOptions } from "./git-run.ts";
import type { NamedFiles } from "./named-files.ts";
import { openOutput } from "./output-file.ts";
import { defined, orUndefined } from "../../orchestrator/util/values.ts";

interface FileAccess {
  /** Called at most once per call, and only when the call names a file: it may send a request to the client. */
  roots(): Promise<AllowedRoots>;
  readonly limits: { readonly maxFileBytes: number; readonly maxTotalBytes: number };
  /** Named in errors; its folder, `OLLM_HOME`, is closed to every caller. */
  readonly configFile: string;
  /** The caller's working directory, allowed or not: errors suggest allowing it. */
  readonly startedIn?: string;
  /**
   * The caller may be on another machine (HTTP): files to import are read inside the roots only, too, and errors name no
   * path of this machine.
   */
  readonly isConfined?: boolean;
  /** For names such as `git:staged`. */
  readonly git: GitOptions;
  /** Called between the check of a path and its opening, for reading and writing; tests swap files here. */
  readonly beforeOpen?: () => Promise<void>;
  /** Whether files can be addressed relative to an open folder; the platform's default when absent. */
  readonly hasHandlePaths?: boolean;
}

/** The file access of one call; the total limit counts everything that the call reads. */
export function createFiles(access: FileAccess): ToolFiles {
  const { maxTotalBytes } = access.limits;
  let totalBytes = 0;
  let known: Promise<AllowedRoots> | undefined;
  const roots = () => (known ??= askRoots(access));
  /** By real path. */
  const versions = new Map<string, FileVersion & { readonly named: string }>();

  const notes = new Set<string>();

  /** What a name means; lazily, as few names need more than a look. */
  async function find(name: string, most?: number): Promise<NamedFiles["files"]> {
    const home = access.isConfined === true ? undefined : access.git.homeDirectory;
    const { files, note } = await (await import("./named-files.ts")).findFiles(name, await roots(), home, most);
    if (note !== undefined) notes.add(note);
    return files;
  }

  async function read(name: string, { real, named }: AllowedPath) {
    const allowed = await roots();
    await access.beforeOpen?.();
    const { content, version } = await readRegular(name, real, allowed, access);
    count(name, content);
    if (!versions.has(real)) versions.set(real, { ...version, named });
    return { named, content };
  }

  /** The content of each file, one after the other, so that the total limit bounds the memory, too. */
  async function readBinary<Made>(names: readonly string[], make: (name: string, content: Uint8Array) => Made) {
    const made: Made[] = [];
    for (const name of names) {
      if (splitGitName(name) !== undefined) {
        throw new InvalidRequest(`${name} is text`, { next: { step: "nameFileIn", argument: "files" } });
      }
      const found = await find(name);
      for (const file of found) {
        const said = found.length === 1 ? name : file.named;
        made.push(make(said, (await read(said, file)).content));
      }
    }
    return made;
  }

  function count(name: string, content: Uint8Array): void {
    totalBytes += content.length;
    if (totalBytes > maxTotalBytes) {
      throw new InvalidRequest(
        `the files have more than ${formatBytes(maxTotalBytes)} together, reached with ${name}`,
        {
          next: [advice("name fewer files"), { step: "raiseSetting", setting: "files.maxTotalBytes" }],
        },
      );
    }
  }

  return {
    // One after the other, so that the total limit bounds the memory, too.
    async readText(names, most) {
      const texts = [];
      for (const name of names) {
        const gitName = splitGitName(name);
        if (gitName !== undefined) {
          const { named, content } = await readGit(gitName, await roots(), access.limits.maxFileBytes, access.git);
          count(name, content);
          texts.push({ path: named, text: decodeLines(content) });
          continue;
        }
        const found = await find(name, most);
        for (const file of found) {
          const said = found.length === 1 ? name : file.named;
          const { named, content } = await read(said, file);
          const text = textIn(said, content);
          const { lines } = file;
          texts.push(
            lines === undefined
              ? { path: named, text }
              : (await import("./named-files.ts")).linesOf(named, text, lines),
          );
        }
      }
      return texts;
    },
    readAudio: (names) => readBinary(names, recordingIn),
    readImages: (names) => readBinary(names, imageIn),
    notes: () => [...notes],
    async existing(names) {
      return (await import("./named-files.ts")).existing(names, await roots());
    },
    async findFolder(name) {
      const allowed = await roots();
      const folder = name ?? allowed.workingDirectory ?? allowed.folders[0];
      if (folder === undefined) {
        throw new InvalidRequest("no folder was given, and none is allowed yet", {
          next: howToAllow(undefined, allowed),
        });
      }
      const { real } = await findInside(folder, allowed);
      if (!(await stat(real)).isDirectory()) throw new InvalidRequest(`${folder} is not a folder`);
      return real;
    },
    ...workFiles(access, roots, find),
    changes: () => changesOf(versions),
    openOutput: async (name) => openOutput(name, await roots(), access),
    async locate(name) {
      if (access.isConfined === true) return (await findInside(name, await roots())).real;
      checkName(name);
      if (path.isAbsolute(name)) return path.normalize(name);
      const candidates = candidatesOf(name, await roots());
      for (const candidate of candidates) if ((await resolved(candidate)) !== undefined) return candidate;
      throw new InvalidRequest(`${name} was not found`, { next: advice("give its absolute path") });
    },
  };
}

/** What workers need: lazily, as few calls have one. */
function workFiles(
  { configFile, git, isConfined }: FileAccess,
  roots: () => Promise<AllowedRoots>,
  find: (name: string, most?: number) => Promise<NamedFiles["files"]>,
): Pick<ToolFiles, "copy" | "applyWork" | "agent"> {
  const home = path.dirname(configFile);
  return {
    async copy(names, id, verifier) {
      const { copyFor } = await import("./copy-for.ts");
      return copyFor(names, { id, verifier, roots: await roots(), home, git, find });
    },
    applyWork: async (id) => (await import("./apply-work.ts")).applyWork(home, id, await roots()),
    async agent(name, project) {
      const { readAgent } = await import("./copy-for.ts");
      return isConfined === true ? undefined : readAgent(name, [git.homeDirectory, project ?? []].flat());
    },
  };
}

/** Undoes and removes what workers have left. Called at the start, before there are workers. */
export async function recoverWork(home: string, keepHours: number, log: Log): Promise<void> {
  if (existsSync(path.join(home, "work"))) await (await import("./apply-work.ts")).recoverWork(home, keepHours, log);
}

async function changesOf(versions: ReadonlyMap<string, FileVersion & { readonly named: string }>) {
  const changes = Array.from(versions, async ([real, { named, ...before }]) => {
    const now = await lstat(real).catch(() => undefined);
    if (now === undefined) return { path: named, isGone: true };
    return isSame(before, now) ? [] : { path: named, isGone: false };
  });
  return (await Promise.all(changes)).flat();
}

const spreadsheet = /\.(?:xls[xmb]?|ods|numbers)$/i;

function textIn(name: string, content: Uint8Array): string {
  const text = decodeText(content);
  if (text !== undefined) return text;
  throw new InvalidRequest(`${name} is not text: ${binaryType(content) ?? "binary data"}`, {
    next: isImage(content)
      ? { step: "nameFileIn", argument: "images" }
      : audioFormat(content) === undefined
        ? advice(spreadsheet.test(name) ? "save the sheet as CSV first" : "convert the file to text first")
        : { step: "nameFileIn", argument: "audio" },
  });
}

function recordingIn(name: string, content: Uint8Array): AudioInput {
  const format = audioFormat(content);
  if (format === undefined) throw notOfType(name, "a WAV or MP3 recording", content);
  return { format, data: Buffer.from(content).toString("base64") };
}

function imageIn(name: string, content: Uint8Array): string {
  if (!isImage(content)) throw notOfType(name, "a PNG, JPEG, WebP or GIF", content);
  return Buffer.from(content).toString("base64");
}

function notOfType(name: string, wanted: string, content: Uint8Array): InvalidRequest {
  return new InvalidRequest(`${name} is not ${wanted}: ${binaryType(content) ?? "unknown content"}`, {
    next:
      decodeText(content) === undefined
        ? advice("convert the file to one of these formats")
        : { step: "nameFileIn", argument: "files" },
  });
}

async function askRoots({ roots, configFile, startedIn, isConfined }: FileAccess): Promise<AllowedRoots> {
  const home = path.dirname(configFile);
  const [allowed, closed] = await Promise.all([roots(), realpath(home).catch(() => home)]);
  if (isConfined === true) return { ...allowed, closed };
  return { ...allowed, closed, configFile, ...defined({ startedIn }) };
}

/** What tells that a file has been written or replaced. */
type FileVersion = Pick<Stats, "size" | "mtimeMs" | "ino">;

function isSame(before: FileVersion, now: FileVersion): boolean {
  return before.size === now.size && before.mtimeMs === now.mtimeMs && before.ino === now.ino;
}

async function readRegular(name: string, file: string, roots: AllowedRoots, access: FileAccess) {
  // Checked before opening: opening a device can have effects, and a FIFO would wait for a writer (hence O_NONBLOCK).
  refuseUnlessRegular(name, await stat(file).catch((error: unknown) => Promise.reject(cannotRead(name, error))));
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);
  const handle = await open(file, flags).catch((error: unknown) => Promise.reject(cannotRead(name, error)));
  try {
    // The path may have been swapped for a link since the check, so the open file is checked again.
    const opened = await pathOfHandle(handle, file);
    if (opened === undefined || !isAllowed(opened, roots)) throw outsideRoots(name, opened ?? file, roots);
    const status = await handle.stat();
    refuseUnlessRegular(name, status);
    const { maxFileBytes } = access.limits;
    const content = status.size > maxFileBytes ? undefined : await readUpTo(handle, maxFileBytes);
    if (content === undefined) {
      throw new InvalidRequest(`${name} is larger than ${formatBytes(maxFileBytes)} (${formatBytes(status.size)})`, {
        next: [advice("name a smaller file"), { step: "raiseSetting", setting: "files.maxFileBytes" }],
      });
    }
    return { content, version: { size: status.size, mtimeMs: status.mtimeMs, ino: status.ino } };
  } finally {
    await handle.close();
  }
}

/** Reads at most `maxBytes`; undefined when there is more (a file may grow, and those in /proc report size 0). */
async function readUpTo(handle: FileHandle, maxBytes: number): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(Math.min(65_536, maxBytes + 1 - length));
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) return Buffer.concat(chunks);
    length += bytesRead;
    if (length > maxBytes) return undefined;
    chunks.push(chunk.subarray(0, bytesRead));
  }
}

function refuseUnlessRegular(name: string, status: { isFile(): boolean; isDirectory(): boolean }): void {
  if (status.isFile()) return;
  if (status.isDirectory()) throw new InvalidRequest(`${name} is a folder`, { next: advice("name the files in it") });
  throw new InvalidRequest(`${name} is not a regular file (a pipe, socket or device)`);
}

/** File types by their first bytes, as names are unreliable; `?` is any byte. Signatures: IANA media types, libmagic. */
const signatures: readonly (readonly [bytes: string, type: string])[] = [
  ["\x89PNG", "PNG image"],
  ["\xff\xd8\xff", "JPEG image"],
  ["GIF8", "GIF image"],
  ["RIFF????WEBP", "WebP image"],
  ["RIFF????WAVE", "WAV recording"],
  // ID3 tags of versions 2.2 to 2.4, then frames of MPEG layer III without a tag.
  ...["ID3\x02", "ID3\x03", "ID3\x04", "\xff\xfb", "\xff\xfa", "\xff\xf3", "\xff\xf2"].map(
    (bytes) => [bytes, "MP3 recording"] as const,
  ),
  ["%PDF-", "PDF document"],
  ["PK\x03\x04", "ZIP archive (also docx, xlsx, jar)"],
  ["\x1f\x8b", "gzip archive"],
  ["GGUF", "GGUF model"],
  ["\x7fELF", "ELF program"],
  ["MZ\x90\0", "Windows program"],
  ["\xcf\xfa\xed\xfe", "Mach-O program"],
  ["SQLite f", "SQLite database"],
];

/** The binary type of some content, or undefined when it may be text. */
export function binaryType(content: Uint8Array): string | undefined {
  const isLike = (bytes: string) =>
    bytes.split("").every((byte, index) => byte === "?" || content[index] === byte.charCodeAt(0));
  return signatures.find(([bytes]) => isLike(bytes))?.[1];
}

function audioFormat(content: Uint8Array): AudioFormat | undefined {
  const type = binaryType(content);
  if (type === "WAV recording") return "wav";
  return type === "MP3 recording" ? "mp3" : undefined;
}

export function isImage(content: Uint8Array): boolean {
  return binaryType(content)?.endsWith("image") === true;
}

/**
 * Decodes UTF-8 (with or without BOM), UTF-16 with BOM, and anything else as Windows-1252, the encoding of old Western
 * text files. Undefined for binary content (a known signature, or NUL characters).
 */
export function decodeText(content: Uint8Array): string | undefined {
  const encoding = utf16Encoding(content);
  if (encoding !== undefined) return new TextDecoder(encoding).decode(content);
  if (binaryType(content) !== undefined || content.includes(0)) return undefined;
  return decodeUtf8(content) ?? decodeWindows1252(content);
}

/** Undefined for what is not UTF-8. */
function decodeUtf8(content: Uint8Array): string | undefined {
  return orUndefined(() => new TextDecoder("utf-8", { fatal: true }).decode(content));
}

/** Decodes text whose lines may differ in encoding, such as a diff of several files: each as UTF-8, else Windows-1252. */
function decodeLines(content: Uint8Array): string {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.length);
  const lines: string[] = [];
  const whole = decodeUtf8(content);
  if (whole !== undefined) return whole.replaceAll("\0", "\uFFFD");
  for (let start = 0; start <= bytes.length;) {
    const end = bytes.indexOf(0x0a, start);
    const line = bytes.subarray(start, end === -1 ? bytes.length : end);
    lines.push(decodeUtf8(line) ?? decodeWindows1252(line));
    if (end === -1) break;
    start = end + 1;
  }
  return lines.join("\n").replaceAll("\0", "\uFFFD");
}

/** Windows-1252 from 0x80 to 0x9F (WHATWG Encoding); the rest is Latin-1. */
const windows1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/** By hand, because Node 20's decoder treats this encoding as Latin-1. */
function decodeWindows1252(content: Uint8Array): string {
  const latin1 = Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
  return latin1.replaceAll(/[\u0080-\u009f]/g, (character) => windows1252[character.charCodeAt(0) - 0x80] ?? character);
}

function utf16Encoding(content: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (content[0] === 0xff && content[1] === 0xfe) return "utf-16le";
  if (content[0] === 0xfe && content[1] === 0xff) return "utf-16be";
  return undefined;
}
