import { randomBytes } from "node:crypto";
import { link, lstat, open, realpath, rename, rm } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../orchestrator/errors.ts";
import type { OutputFile } from "../tools/definition.ts";
import { candidatesOf, checkName, codeOf, isAllowed, outsideRoots, pathOfHandle } from "./file-places.ts";
import { isForeignShare } from "./paths.ts";
import type { AllowedRoots } from "./roots.ts";

/**
 * A new file in an existing folder inside the roots. What exists is never replaced (an empty file excepted): an
 * assistant that mistakes a name must not cost the user a document, and there is no undo. Relative names belong to
 * the working directory, else to the first root whose folder exists.
 */
export async function openOutput(
  name: string,
  roots: AllowedRoots,
  { configFile, beforeOpen }: { readonly configFile: string; readonly beforeOpen?: () => Promise<void> },
): Promise<OutputFile> {
  checkName(name);
  const file = await findPlace(name, roots, configFile);
  await refuseExisting(name, file);
  return {
    path: file,
    async write(text) {
      const content = Buffer.from(text, "utf8");
      // Minutes may have passed since the checks: the folder must still be the one that was allowed.
      if (!isAllowed(await realpath(path.dirname(file)), roots)) throw outsideRoots(name, file, roots, configFile);
      await refuseExisting(name, file);
      await beforeOpen?.();
      await create(name, file, content, roots, configFile);
      return { bytes: content.length };
    },
  };
}

async function findPlace(name: string, roots: AllowedRoots, configFile: string): Promise<string> {
  const candidates = candidatesOf(name, roots);
  let outside: string | undefined = candidates.length === 0 ? path.resolve(name) : undefined;
  for (const candidate of candidates) {
    const folder = isForeignShare(candidate, roots.folders, path)
      ? undefined
      : await realpath(path.dirname(candidate)).catch(() => undefined);
    const file = folder === undefined ? candidate : path.join(folder, path.basename(candidate));
    if (!isAllowed(folder ?? candidate, roots)) outside ??= isAllowed(candidate, roots) ? file : candidate;
    else if (folder !== undefined && path.basename(candidate) !== "") return file;
  }
  if (outside !== undefined) throw outsideRoots(name, outside, roots, configFile);
  throw new InvalidRequest(`The folder of output_path ${name} does not exist`, { hint: "Create it first." });
}

async function refuseExisting(name: string, file: string): Promise<void> {
  const status = await lstat(file).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new InvalidRequest(`output_path ${name} can't be used (${codeOf(error)})`, { cause: error });
  });
  if (status === undefined || (status.isFile() && status.size === 0)) return;
  const what = status.isDirectory() ? "is a folder" : "exists already";
  throw new InvalidRequest(`output_path ${name} ${what}`, { hint: "Choose another name; nothing is overwritten." });
}

/** In one step, so that nobody ever sees half a file. What was made elsewhere, its folder swapped, does not stay. */
async function create(name: string, file: string, content: Uint8Array, roots: AllowedRoots, configFile: string) {
  const temporary = path.join(
    path.dirname(file),
    `.${path.basename(file).slice(0, 64)}.${randomBytes(6).toString("hex")}.tmp`,
  );
  try {
    const handle = await open(temporary, "wx");
    try {
      const opened = await pathOfHandle(handle, temporary);
      if (opened === undefined || !isAllowed(opened, roots))
        throw outsideRoots(name, opened ?? file, roots, configFile);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await putInPlace(name, temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof InvalidRequest) throw error;
    throw new InvalidRequest(`output_path ${file} can't be written (${codeOf(error) ?? "unknown error"})`, {
      cause: error,
    });
  }
}

/** A link is made only where nothing is; the system, not we, looks. */
async function putInPlace(name: string, temporary: string, file: string): Promise<void> {
  try {
    await link(temporary, file);
  } catch (error) {
    // Somebody's file, which stays, or an empty one; file systems without links say all sorts of things.
    if (codeOf(error) === "ENOENT") throw error;
    await refuseExisting(name, file);
    await rename(temporary, file);
    return;
  }
  await rm(temporary, { force: true });
}
