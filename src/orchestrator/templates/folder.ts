import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, realpath, rm, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { InvalidRequest, StoreFailed } from "../api/errors.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import { openRegular, readUpTo, replaceFile, writeNew } from "../storage/replace-file.ts";
import { type TemplateText, maxTemplateBytes, parseTemplate } from "./parse-file.ts";
import { isInside, isPromptFile, isWithin } from "../util/file-name.ts";
import { codeOf, orUndefined } from "../util/values.ts";

/** More files than these are not templates. */
const maxFiles = 500;
const tooLarge = "is larger than 256 KiB: shorten it";

/** A file with its template or with what is wrong: a sentence that names file and line. */
type FolderEntry = { readonly file: string } &
  /** `sha256` (hex) of the bytes that were read. */
  ({ readonly template: TemplateText; readonly sha256: string } | { readonly problem: string });

/** The cached result of a file. */
interface KnownFile {
  readonly entry: FolderEntry;
  /** Path, size and times; absent: read the file again. */
  readonly stamp?: string;
  /** Differs when the content does. */
  readonly content: string;
}

/** Some file systems count time in steps of two seconds: within one step, a file may change without a new time. */
const stepMs = 2_000;

export type TemplateFolder = ReturnType<typeof createTemplateFolder>;

/** A folder of templates that is read again when it has changed. `inside`: a folder that links may not lead out of; by default `folder` itself. */
export function createTemplateFolder(
  folder: string,
  inside: string = folder,
  parse: typeof parseTemplate = parseTemplate,
) {
  let known = new Map<string, KnownFile>();
  let lastFolderProblem: string | undefined;
  let isFirst = true;

  async function entryOf(file: string, root: string): Promise<KnownFile> {
    const before = known.get(file);
    try {
      const real = await realpath(file);
      if (!isWithin(root, real)) return broken(file, "is a link out of its folder: replace it with a copy");
      const facts = await stat(real, { bigint: true });
      if (!facts.isFile()) return broken(file, "is not a regular file: remove it");
      const stamp = [real, facts.ino, facts.size, facts.mtimeNs, facts.ctimeNs].join(" ");
      if (before?.stamp === stamp) return before;
      if (facts.size > maxTemplateBytes) return broken(file, tooLarge);
      const isSettled = Date.now() - Number(facts.mtimeMs) > stepMs;
      return { ...(await readEntry(file, real, parse)), ...(isSettled && { stamp }) };
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT") return broken(file, "is a link to a missing file: remove or correct it");
      if (code === "ELOOP") return broken(file, "is a link to itself: remove it");
      return broken(file, `can't be read (${code ?? String(error)}): make it readable`);
    }
  }

  async function list() {
    try {
      const root = await realpath(inside);
      const own = await realpath(folder);
      if (!isInside(root, own)) {
        return {
          files: [],
          root,
          problem: `${folder} is a link out of ${inside}: it is not used; replace it with a folder`,
        };
      }
      const names = (await readdir(folder)).filter(isPromptFile).toSorted();
      const files = names.slice(0, maxFiles).map((name) => join(folder, name));
      const problem = `${folder} contains ${names.length} files; only the first ${maxFiles} are used: remove some`;
      return { files, root, ...(names.length > maxFiles && { problem }) };
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT") return { files: [], root: folder };
      const remedy = code === "ENOTDIR" ? "make it a folder" : "make it readable";
      return { files: [], root: folder, problem: `${folder} can't be read (${code ?? String(error)}): ${remedy}` };
    }
  }

  return {
    /**
     * Reads the files that have changed since the last call; `isChanged` is whether any have. Unchanged files cost one
     * `stat` each. A missing folder has no entries. Never throws.
     */
    async read(): Promise<{ readonly entries: readonly FolderEntry[]; readonly isChanged: boolean }> {
      const { files, root, problem } = await list();
      const next = new Map(await Promise.all(files.map(async (file) => [file, await entryOf(file, root)] as const)));
      const isSame =
        problem === lastFolderProblem &&
        next.size === known.size &&
        [...next].every(([file, { content }]) => known.get(file)?.content === content);
      const isChanged = !isFirst && !isSame;
      known = next;
      lastFolderProblem = problem;
      isFirst = false;
      const entries = withoutDuplicates([...next.values()].map(({ entry }) => entry));
      return { entries: problem === undefined ? entries : [...entries, { file: folder, problem }], isChanged };
    },
  };
}

/** Keeps the first of several files with the same template name; the others become problems. */
function withoutDuplicates(entries: readonly FolderEntry[]): readonly FolderEntry[] {
  const files = new Map<string, string>();
  return entries.map((entry) => {
    if (!("template" in entry)) return entry;
    const { name } = entry.template;
    // Names that differ only by case are one file on some systems.
    const first = files.get(name.toLowerCase());
    if (first === undefined) {
      files.set(name.toLowerCase(), entry.file);
      return entry;
    }
    const { file } = entry;
    return { file, problem: `${file}: the name ${name} is already used by ${basename(first)}: choose another` };
  });
}

async function readEntry(file: string, real: string, parse: typeof parseTemplate): Promise<KnownFile> {
  const handle = await openRegular(real);
  let bytes: Buffer | undefined;
  try {
    bytes = await readUpTo(handle, maxTemplateBytes);
  } finally {
    await handle.close();
  }
  if (bytes === undefined) return broken(file, tooLarge);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const text = orUndefined(() => decoder.decode(bytes));
  if (text === undefined) return broken(file, "is not UTF-8: save it as UTF-8");
  const content = createHash("sha256").update(bytes).digest("hex");
  const read = await parse(text, basename(file, extname(file)));
  if ("template" in read) return { content, entry: { file, template: read.template, sha256: content } };
  const problem = read.line === undefined ? `${file} ${read.problem}` : `${file}:${read.line}: ${read.problem}`;
  return { content, entry: { file, problem } };
}

function broken(file: string, why: string): KnownFile {
  return { content: why, entry: { file, problem: `${file} ${why}` } };
}

/** What to do when a template of the same name exists. */
export const renameOrOverwrite: readonly NextStep[] = [
  advice("choose another name"),
  { step: "setArgument", argument: "overwrite", to: true },
];

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
    const code = codeOf(error) ?? String(error);
    if (code === "EEXIST") throw new InvalidRequest(`${file} already exists`, { next: renameOrOverwrite });
    throw new StoreFailed(`${file} can't be written (${code})`, {
      next: advice(code === "ENOSPC" ? "free some disk space" : "make the folder writable"),
      cause: error,
    });
  }
}

/** Deletes the file; one that is gone already is no error. Throws `StoreFailed`. */
export async function removeTemplate(file: string): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    const code = codeOf(error) ?? String(error);
    throw new StoreFailed(`${file} can't be deleted (${code})`, {
      next: advice("make the folder writable"),
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
  if (!isInside(root, real)) {
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
    if (codeOf(error) !== "ENOENT" || (await lstat(path).catch(() => undefined)) !== undefined) throw error;
    return undefined;
  }
}
