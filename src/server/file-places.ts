import { lstat, readlink, realpath, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../orchestrator/errors.ts";
import { isForeignShare, isInside, nameInRoots, unusableName } from "./paths.ts";
import type { AllowedRoots } from "./roots.ts";

/** Absolute candidates of a name, in the order in which they are tried: the working directory, then each root. */
export function candidatesOf(name: string, { folders, workingDirectory }: AllowedRoots): string[] {
  if (path.isAbsolute(name)) return [path.normalize(name)];
  const bases = [workingDirectory, ...folders.filter((folder) => folder !== workingDirectory)];
  return bases.filter((base) => base !== undefined).map((base) => path.resolve(base, name));
}

/** Throws `InvalidRequest` for names that can't be a file's. */
export function checkName(name: string): void {
  const problem = unusableName(name, path);
  if (problem !== undefined) throw new InvalidRequest(`${JSON.stringify(name)} ${problem}`);
}

/** A file or folder inside the roots. */
export interface PlaceInside {
  /** Its real path. */
  readonly real: string;
  /** As it is called inside its root. */
  readonly named: string;
}

/** What `name` names inside the roots. What lies outside is refused alike whether it exists or not. */
export async function findInside(name: string, roots: AllowedRoots, configFile: string): Promise<PlaceInside> {
  checkName(name);
  const candidates = candidatesOf(name, roots);
  let outside: string | undefined = candidates.length === 0 ? path.resolve(name) : undefined;
  for (const candidate of candidates) {
    const isWithin = isAllowed(candidate, roots);
    const real = await realOf(candidate, isWithin, roots);
    if (isAllowed(real ?? candidate, roots)) {
      if (real !== undefined) return { real, named: nameInRoots(isWithin ? candidate : real, roots.folders, path) };
    } else outside ??= isWithin ? real : candidate;
  }
  if (outside !== undefined) throw outsideRoots(name, outside, roots, configFile);
  throw new InvalidRequest(`${name} was not found`, { hint: `Looked in ${roots.folders.join(", ")}.` });
}

/** Of what lies outside nothing is told: neither that it exists, nor where it leads, nor why it can't be read. */
async function realOf(candidate: string, isWithin: boolean, { folders }: AllowedRoots): Promise<string | undefined> {
  if (isForeignShare(candidate, folders, path)) return undefined;
  return isWithin ? resolved(candidate) : resolved(candidate).catch(() => undefined);
}

/** `file` must be resolved (`realpath`). Of our own home only what a root in it grants. */
export function isAllowed(file: string, { folders, closed }: AllowedRoots): boolean {
  // Also where the file system doesn't tell cases apart; nobody misses what this closes elsewhere.
  const isOurs = closed !== undefined && isInside(closed.toLowerCase(), file.toLowerCase(), path);
  return folders.some(
    (folder) => isInside(folder, file, path) && (!isOurs || (folder !== closed && isInside(closed, folder, path))),
  );
}

/** Where an open file really lies; undefined when it is not what `file` names any more. */
export async function pathOfHandle(handle: FileHandle, file: string): Promise<string | undefined> {
  if (process.platform === "linux") {
    const link = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => undefined);
    if (link !== undefined) return link;
  }
  const real = await realpath(file);
  const [named, opened] = await Promise.all([lstat(real, { bigint: true }), handle.stat({ bigint: true })]);
  return named.ino === opened.ino && named.dev === opened.dev ? real : undefined;
}

/** The refusal, with the line that would allow it. */
export function outsideRoots(name: string, real: string, roots: AllowedRoots, configFile: string): InvalidRequest {
  if (roots.closed !== undefined && isInside(roots.closed, real, path)) {
    return new InvalidRequest(`${name} belongs to ollm itself, and is not read or written for a client`);
  }
  const folder = path.dirname(real);
  const leads = path.resolve(name) === real || !path.isAbsolute(name) ? "" : ` (it leads to ${real})`;
  const now = roots.folders.length === 0 ? "No folder is allowed yet." : `Allowed now: ${roots.folders.join(", ")}.`;
  return new InvalidRequest(`${name}${leads} is outside the folders that may be used`, {
    hint:
      `${now} To allow it from the next call on, put into ${configFile}\n  files: { roots: [${JSON.stringify(folder)}] }\n` +
      `or start the server with\n  ollm --root ${quoted(folder)}\nor OLLM_FILES_ROOTS=${quoted(folder)}`,
  });
}

function quoted(folder: string): string {
  return /^[\w./\\:~-]+$/.test(folder) ? folder : `"${folder}"`;
}

/** `realpath`, or undefined when nothing is there. */
export async function resolved(file: string): Promise<string | undefined> {
  try {
    return await realpath(file);
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw cannotRead(file, error);
  }
}

/** The one shape of a failed look at a file. */
export function cannotRead(name: string, cause: unknown): InvalidRequest {
  return new InvalidRequest(`${name} can't be read (${codeOf(cause) ?? "unknown error"})`, { cause });
}

/** `ENOENT` and its like; undefined for errors that did not come from the system. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
