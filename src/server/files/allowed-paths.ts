import { type FileHandle, lstat, readlink, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { realFolder } from "../../orchestrator/storage/work-tree.ts";
import { isInside, isTooBroad } from "../../orchestrator/util/file-name.ts";
import { codeOf, defined, orUndefined, isMissing } from "../../orchestrator/util/values.ts";
import type { PlatformPath } from "node:path";

/** The absolute paths that a name may stand for, in the order in which they are tried: the working directory, then each root. */
export function candidatesOf(name: string, { folders, workingDirectory }: AllowedRoots): string[] {
  if (path.isAbsolute(name)) return [path.normalize(name)];
  const bases = [workingDirectory, ...folders.filter((folder) => folder !== workingDirectory)];
  return bases.filter((base) => base !== undefined).map((base) => path.resolve(base, name));
}

/** Throws `InvalidRequest` for a name that no file can have. */
export function checkName(name: string): void {
  const problem = unusableName(name, path);
  if (problem !== undefined) throw new InvalidRequest(`${JSON.stringify(name)} ${problem}`);
}

/** A file or folder inside the roots. */
export interface AllowedPath {
  /** Its real path. */
  readonly real: string;
  /** Its name relative to its root. */
  readonly named: string;
}

/**
 * Resolves `name` to a path inside the roots. A path outside them gets the same error whether or not it exists.
 */
export async function findInside(name: string, roots: AllowedRoots): Promise<AllowedPath> {
  const found = await lookUp(name, roots);
  if (found === undefined) throw notFound(name, roots);
  return found;
}

/** The error for a name that none of the roots has, with those that were meant perhaps. */
export function notFound(name: string, { folders }: AllowedRoots, near: readonly string[] = []): InvalidRequest {
  const next = near.length === 0 ? {} : { next: { step: "didYouMean", names: near } as const };
  return new InvalidRequest(`${name} was not found in ${folders.join(", ")}`, next);
}

/** Like `findInside`; undefined for a path inside the roots that does not exist. */
export async function lookUp(name: string, roots: AllowedRoots): Promise<AllowedPath | undefined> {
  checkName(name);
  const candidates = candidatesOf(name, roots);
  if (candidates.length === 0) throw noFolderYet(name, roots);
  let outside: string | undefined;
  for (const candidate of candidates) {
    const isWithin = isAllowed(candidate, roots);
    const real = await realOf(candidate, isWithin, roots);
    if (isAllowed(real ?? candidate, roots)) {
      if (real !== undefined) return { real, named: nameInRoots(isWithin ? candidate : real, roots.folders, path) };
    } else outside ??= isWithin ? real : candidate;
  }
  if (outside !== undefined) throw outsideRoots(name, outside, roots);
  return undefined;
}

/** Reveals nothing about paths outside the roots: neither whether they exist, nor where they lead, nor why they can't be read. */
async function realOf(candidate: string, isWithin: boolean, { folders }: AllowedRoots): Promise<string | undefined> {
  if (isForeignShare(candidate, folders, path)) return undefined;
  return isWithin ? resolved(candidate) : resolved(candidate).catch(() => undefined);
}

/** Whether `file`, which must be resolved (`realpath`), is inside a root. Inside our own home only a root within it counts. */
export function isAllowed(file: string, { folders, closed }: AllowedRoots): boolean {
  // Case is ignored for file systems that ignore it; on others this refuses more than needed, which does no harm.
  const isOurs = closed !== undefined && isInside(closed.toLowerCase(), file.toLowerCase());
  return folders.some(
    (folder) => isInside(folder, file) && (!isOurs || (folder !== closed && isInside(closed, folder))),
  );
}

/** The real path of an open file; undefined when `file` no longer names it. */
export async function pathOfHandle(handle: FileHandle, file: string): Promise<string | undefined> {
  if (process.platform === "linux") {
    const link = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => undefined);
    if (link !== undefined) return link;
  }
  const real = await realpath(file);
  const [named, opened] = await Promise.all([lstat(real, { bigint: true }), handle.stat({ bigint: true })]);
  return named.ino === opened.ino && named.dev === opened.dev ? real : undefined;
}

/** The error for a path outside the roots, with the step that would allow it. */
export function outsideRoots(name: string, real: string, roots: AllowedRoots): InvalidRequest {
  if (roots.closed !== undefined && isInside(roots.closed, real)) {
    return new InvalidRequest(`${name} belongs to ollm itself, and is not read or written for a client`);
  }
  const isShown = roots.configFile !== undefined && path.resolve(name) !== real && path.isAbsolute(name);
  const leads = isShown ? ` (it leads to ${real})` : "";
  return new InvalidRequest(
    `${name}${leads} is outside the allowed folders (${roots.folders.join(", ") || "none yet"})`,
    { next: howToAllow(path.dirname(real), roots) },
  );
}

/** The error for a relative name when no folder is allowed. */
export function noFolderYet(name: string, roots: AllowedRoots): InvalidRequest {
  return new InvalidRequest(`${name} is relative, and no folder is allowed yet`, {
    next: howToAllow(undefined, roots),
  });
}

/** The step that allows `folder`; without one the folder that the caller was started in. */
export function howToAllow(folder: string | undefined, { configFile, startedIn }: AllowedRoots): NextStep {
  if (configFile === undefined) return { step: "allowFolder" };
  const started = startedIn === undefined || path.parse(startedIn).root === startedIn ? undefined : startedIn;
  const named = folder ?? started;
  return { step: "allowFolder", configFile, ...defined({ folder: named }) };
}

/** `realpath`, or undefined when the file does not exist. */
export async function resolved(file: string): Promise<string | undefined> {
  try {
    return await realpath(file);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw cannotRead(file, error);
  }
}

/** The error for a file that can't be read. */
export function cannotRead(name: string, cause: unknown): InvalidRequest {
  return new InvalidRequest(`${name} can't be read (${codeOf(cause) ?? "unknown error"})`, { cause });
}

/** Folders whose files a caller may name, resolved (`realpath`). */
export interface AllowedRoots {
  readonly folders: readonly string[];
  /** One of `folders`: tried first for relative names. */
  readonly workingDirectory?: string;
  /** `OLLM_HOME`, resolved: closed even when a root contains it, because of its tokens and settings. */
  readonly closed?: string;
  /** The file in which an error suggests allowing a folder; absent for a caller that may be on another machine. */
  readonly configFile?: string;
  /** The caller's working directory, allowed or not. */
  readonly startedIn?: string;
}

/** Where a caller was started, and its user's home folder. */
interface CallerFolders {
  readonly workingDirectory?: string;
  readonly homeDirectory: string;
}

/**
 * Determines the roots. Explicitly granted folders (`--root`, `files.roots`) always count. The client's roots and the
 * working directory count unless they are as broad as a home folder or a drive, and the working directory only when it
 * looks like a project.
 */
export async function allowedRoots(
  facts: CallerFolders,
  configured: readonly string[],
  clientRoots: readonly string[],
  log: Log,
): Promise<AllowedRoots> {
  const granted = await Promise.all(
    configured
      .map((folder) => expandHome(folder, facts.homeDirectory))
      .map(async (folder) => {
        const real = await realFolder(folder);
        if (real === undefined) log.warn(`files.roots: ${folder} is not a folder`);
        return real;
      }),
  );
  const home = (await realFolder(facts.homeDirectory)) ?? facts.homeDirectory;
  const narrow = async (folder: string): Promise<string | undefined> => {
    const real = await realFolder(folder);
    return real === undefined || isTooBroad(real, home) ? undefined : real;
  };
  const offered = await Promise.all(clientRoots.map(narrow));
  const current = facts.workingDirectory === undefined ? undefined : await narrow(facts.workingDirectory);
  const workingDirectory = current !== undefined && (await isProject(current)) ? current : undefined;
  const folders = [workingDirectory, ...granted, ...offered].filter((folder) => folder !== undefined);
  return { folders: [...new Set(folders)], ...defined({ workingDirectory }) };
}

/** The folders of `file:` URIs; other schemes are ignored. */
export function foldersOfUris(uris: readonly string[]): string[] {
  // A URI without a path on this platform (another machine's drive) is ignored.
  return uris.flatMap((uri) => (uri.startsWith("file:") ? (orUndefined(() => fileURLToPath(uri)) ?? []) : []));
}

/** Whether a folder has one of `projectMarkers`. */
async function isProject(folder: string): Promise<boolean> {
  const looks = projectMarkers.map((marker) => stat(path.join(folder, marker)).catch(() => undefined));
  return (await Promise.all(looks)).some((found) => found !== undefined);
}

/** Files in `.ollm` that make its folder a project. */
const ownMarkers = ["project.yaml", "templates"];
/** Limit for the search upwards; each level costs a look at the disk. */
const maxLevels = 40;

/**
 * The resolved folder of the project that a caller works in: the working directory or its nearest parent with
 * `.ollm/project.yaml` or `.ollm/templates`, else the working directory when it has a project marker. Without either, the
 * same search starts at the roots that the client offers (`clientRoots`, URIs, requested only then). Never a home folder,
 * a drive's root or a folder above them. `ollmHome` does not make its parent a project, even when it is named `.ollm`.
 */
export async function findProjectFolder(
  facts: CallerFolders,
  ollmHome: string,
  clientRoots: () => Promise<readonly string[]>,
): Promise<string | undefined> {
  const home = (await realFolder(facts.homeDirectory)) ?? facts.homeDirectory;
  const closed = (await realFolder(ollmHome)) ?? ollmHome;
  const { workingDirectory } = facts;
  const own = workingDirectory === undefined ? undefined : await projectOf(workingDirectory, home, closed);
  if (own !== undefined) return own;
  for (const root of foldersOfUris(await clientRoots())) {
    const found = await projectOf(root, home, closed);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function projectOf(folder: string, home: string, closed: string): Promise<string | undefined> {
  const real = await realFolder(folder);
  if (real === undefined || isTooBroad(real, home)) return undefined;
  let level = real;
  for (let count = 0; count < maxLevels && !isTooBroad(level, home); count += 1) {
    if (await hasOwnMarker(level, closed)) return level;
    level = path.dirname(level);
  }
  return (await isProject(real)) ? real : undefined;
}

async function hasOwnMarker(folder: string, closed: string): Promise<boolean> {
  const own = path.join(folder, ".ollm");
  for (const name of ownMarkers) {
    const found = await lstat(path.join(own, name)).catch(() => undefined);
    if (found !== undefined) return (await realpath(own).catch(() => own)) !== closed;
  }
  return false;
}

/** Files and folders that mark a project, whose files may be read. */
export const projectMarkers: readonly string[] =
  ".git .ollm package.json pyproject.toml Cargo.toml go.mod mkdocs.yml tsconfig.json docs".split(" ");

/**
 * A file's name for a model: relative to its root, with `/`, so that answers don't reveal where the root is. With several
 * roots the name starts with the shortest tail of its root's path that is unique. `file` must be inside one of them.
 */
export function nameInRoots(file: string, roots: readonly string[], platform: PlatformPath): string {
  const outermost = roots.filter((root) => !roots.some((other) => other !== root && isInside(other, root, platform)));
  const own = outermost.findIndex((root) => isInside(root, file, platform));
  const root = outermost[own];
  if (root === undefined) return platform.basename(file);
  const name = partsOf(platform.relative(root, file)).join("/");
  if (outermost.length === 1) return name;
  const ways = outermost.map(partsOf);
  const longest = Math.max(...ways.map((way) => way.length));
  const labelsOf = (count: number) => ways.map((way) => way.slice(-count).join("/"));
  let labels = labelsOf(1);
  for (let count = 2; count <= longest && !areApart(labels); count += 1) labels = labelsOf(count);
  return `${labels[own]}/${name}`;
}

function partsOf(file: string): readonly string[] {
  return file.split(/[\\/]/).filter((part) => part !== "");
}

/** Whether no label equals or is a parent of another: `a` and `a/b` could both begin the name of `a/b/c`. */
function areApart(labels: readonly string[]): boolean {
  return labels.every((label, index) =>
    labels.every((other, at) => at === index || !`${other}/`.startsWith(`${label}/`)),
  );
}

/**
 * Whether `file` is on a Windows share that holds none of `folders`. Even a look at it would connect to a machine that the
 * caller chose, and send it this user's credentials.
 */
export function isForeignShare(file: string, folders: readonly string[], platform: PlatformPath): boolean {
  const shareOf = (name: string) => platform.parse(platform.normalize(name)).root.toLowerCase();
  if (platform.sep !== "\\" || !shareOf(file).startsWith("\\\\")) return false;
  return !folders.some((folder) => shareOf(folder) === shareOf(file));
}

/** Why no file can have this name: NUL, and on Windows devices, pipes and streams. Undefined for a usable name. */
export function unusableName(name: string, platform: PlatformPath): string | undefined {
  if (name.includes("\0")) return "contains a NUL character";
  if (platform.sep !== "\\") return undefined;
  if (/^[\\/]{2}[.?][\\/]/.test(name)) return "is a device path";
  const { root } = platform.parse(name);
  if (name.slice(root.length).includes(":")) return "names an alternate data stream";
  const isDevice = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$/i;
  const device = name
    .slice(root.length)
    .split(/[\\/]/)
    .find((part) => isDevice.test(part.trimEnd()));
  return device === undefined ? undefined : `names the device ${device}`;
}
