import { lstat, readlink, realpath, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { isForeignShare, isInside, nameInRoots, unusableName } from "./paths.ts";
import type { AllowedRoots } from "./roots.ts";

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
  throw new InvalidRequest(`${name} was not found in ${roots.folders.join(", ")}`);
}

/** Reveals nothing about paths outside the roots: neither whether they exist, nor where they lead, nor why they can't be read. */
async function realOf(candidate: string, isWithin: boolean, { folders }: AllowedRoots): Promise<string | undefined> {
  if (isForeignShare(candidate, folders, path)) return undefined;
  return isWithin ? resolved(candidate) : resolved(candidate).catch(() => undefined);
}

/** Whether `file`, which must be resolved (`realpath`), is inside a root. Inside our own home only a root within it counts. */
export function isAllowed(file: string, { folders, closed }: AllowedRoots): boolean {
  // Case is ignored for file systems that ignore it; on others this refuses more than needed, which does no harm.
  const isOurs = closed !== undefined && isInside(closed.toLowerCase(), file.toLowerCase(), path);
  return folders.some(
    (folder) => isInside(folder, file, path) && (!isOurs || (folder !== closed && isInside(closed, folder, path))),
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
  if (roots.closed !== undefined && isInside(roots.closed, real, path)) {
    return new InvalidRequest(`${name} belongs to ollm itself, and is not read or written for a client`);
  }
  const isShown = roots.configFile !== undefined && path.resolve(name) !== real && path.isAbsolute(name);
  const leads = isShown ? ` (it leads to ${real})` : "";
  return new InvalidRequest(
    `${name}${leads} is outside the allowed folders (${roots.folders.join(", ") || "none yet"})`,
    {
      next: howToAllow(path.dirname(real), roots),
    },
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
  return { step: "allowFolder", configFile, ...(named !== undefined && { folder: named }) };
}

/** `realpath`, or undefined when the file does not exist. */
export async function resolved(file: string): Promise<string | undefined> {
  try {
    return await realpath(file);
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw cannotRead(file, error);
  }
}

/** The error for a file that can't be read. */
export function cannotRead(name: string, cause: unknown): InvalidRequest {
  return new InvalidRequest(`${name} can't be read (${codeOf(cause) ?? "unknown error"})`, { cause });
}

/** The system's error code, such as `ENOENT`; undefined for other errors. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
