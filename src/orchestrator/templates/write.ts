import { lstat, mkdir, open, realpath, rm } from "node:fs/promises";
import { dirname, isAbsolute, relative, sep } from "node:path";
import { InvalidRequest, StoreFailed } from "../api/errors.ts";
import { replaceFile } from "../storage/replace-file.ts";
import { advice, type NextStep } from "../api/next-step.ts";
import type { TemplateFile } from "./parse-file.ts";

/** What to do when a template of the same name exists. */
export const renameOrOverwrite: readonly NextStep[] = [
  advice("choose another name"),
  { step: "setArgument", argument: "overwrite", to: true },
];

/** A template as YAML, with its texts as literal blocks. Parsing it gives the same template. */
export async function templateYaml(file: TemplateFile): Promise<string> {
  const { stringify } = await import("yaml");
  return stringify(file, { lineWidth: 0, blockQuote: "literal", aliasDuplicateObjects: false });
}

/**
 * Writes the file and creates its folder; resolves when it is on disk. Links may not lead out of `inside`. Throws
 * `InvalidRequest` for an existing file that may not be overwritten, and `StoreFailed`.
 */
export async function writeTemplate(
  file: string,
  text: string,
  how: { readonly mayOverwrite: boolean; readonly inside?: string | undefined },
): Promise<void> {
  try {
    if (how.inside !== undefined) await checkInside(dirname(file), how.inside);
    await mkdir(dirname(file), { recursive: true, ...(how.inside === undefined && { mode: 0o700 }) });
    if (how.mayOverwrite) {
      await checkTarget(file);
      await replaceFile(file, text, how.inside === undefined ? { mode: 0o600 } : {});
    } else await writeNew(file, text, how.inside === undefined ? 0o600 : 0o644);
  } catch (error) {
    if (error instanceof InvalidRequest) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    if (code === "EEXIST") {
      throw new InvalidRequest(`${file} already exists`, { next: renameOrOverwrite });
    }
    throw new StoreFailed(`${file} can't be written (${code})`, {
      next: advice(code === "ENOSPC" ? "free some disk space" : "make the folder writable"),
      cause: error,
    });
  }
}

/** Throws for a folder that links lead out of `inside`. A missing folder is checked by its nearest existing parent. */
async function checkInside(folder: string, inside: string): Promise<void> {
  const root = await realpath(inside);
  let existing = folder;
  let real = await realOf(existing);
  while (real === undefined) {
    existing = dirname(existing);
    real = await realOf(existing);
  }
  const way = relative(root, real);
  if (way === ".." || way.startsWith(`..${sep}`) || isAbsolute(way)) {
    throw new InvalidRequest(`${existing} is a link out of ${inside}`, {
      next: advice("replace the link with a folder"),
    });
  }
}

/** Throws for a link, because overwriting follows it: in a cloned project it may point to any file of the user. */
async function checkTarget(file: string): Promise<void> {
  const facts = await lstat(file).catch(() => undefined);
  if (facts?.isSymbolicLink() !== true) return;
  throw new InvalidRequest(`${file} is a link and is not overwritten`, {
    next: advice("remove the link, then try again"),
  });
}

async function realOf(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    // A dangling link exists, too: nothing is created behind it.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || (await isThere(path))) throw error;
    return undefined;
  }
}

function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function writeNew(file: string, text: string, mode: number): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    // Removes the incomplete file; the caller reports the original error.
    await rm(file, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
}
