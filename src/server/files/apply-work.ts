/** Puts the kept changes of a worker into the user's files: all of them, or none. */
import { createHash } from "node:crypto";
import { lstat, mkdir, readFile, readdir, realpath, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { syncFolder, writeAside, writeNew } from "../../orchestrator/storage/replace-file.ts";
import { invisible } from "../../orchestrator/util/control-characters.ts";
import { codeOf, jsonIn, messageOf, undefinedIfMissing } from "../../orchestrator/util/values.ts";
import { type AllowedRoots, isAllowed, outsideRoots, unusableName } from "./allowed-paths.ts";

const { platform } = process;
const [recordFile, journalFile] = ["record.json", "apply.json"] as const;
const idPattern = /^delegate-[0-9a-f]{8}$/;
/** A copy that no worker uses any more: longer than any may take. */
const abandonedMs = 3_600_000 * 2;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const record = z.object({
  /** The user's folder, resolved. */
  base: z.string(),
  files: z.array(z.object({ path: z.string(), before: sha256.nullable(), after: sha256 })),
});
/** `folders`: those that were made for the files. */
const journal = record.extend({ folders: z.array(z.string()) });

const hashOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

/** Keeps the changes of a copy: each file as it was, if there was one, in `undo`, and as it is in `kept`. */
export async function keepWork(
  folder: string,
  base: string,
  changes: readonly { readonly path: string; readonly before: Uint8Array | undefined; readonly after: Uint8Array }[],
): Promise<void> {
  for (const { path: name, before, after } of changes) {
    for (const [as, content] of Object.entries({ undo: before, kept: after })) {
      const file = path.join(folder, as, name);
      await mkdir(path.dirname(file), { recursive: true });
      if (content !== undefined) await writeAside(`${file}.tmp`, file, content, { mode: 0o600, platform });
    }
  }
  const files = changes.map(({ path: name, before, after }) => {
    return { path: name, before: before === undefined ? null : hashOf(before), after: hashOf(after) };
  });
  await writeNew(path.join(folder, recordFile), JSON.stringify({ base, files } satisfies z.output<typeof record>));
}

/**
 * Applies the changes that the worker `id` left, if no file has changed since its copy was made; resolves to their names.
 * Throws `InvalidRequest`. `afterEach` is called after each file; tests stop the process there.
 */
export async function applyWork(
  home: string,
  id: string,
  roots: AllowedRoots,
  afterEach: () => Promise<void> = () => Promise.resolve(),
): Promise<readonly string[]> {
  const folder = path.join(home, "work", id);
  const text = idPattern.test(id) ? await readFile(path.join(folder, recordFile), "utf8").catch(() => "") : "";
  const read = record.safeParse(jsonIn(text));
  if (!read.success) {
    const next = advice("they are applied once, and kept for a day");
    throw new InvalidRequest(`there are no changes of ${JSON.stringify(id)} to apply`, { next });
  }
  const { base, files } = read.data;
  const real = await realpath(base).catch(() => undefined);
  if (real !== base || !isAllowed(base, roots)) throw outsideRoots(base, base, roots);
  const changed: string[] = [];
  for (const file of files) if (!(await isAsBefore(base, file))) changed.push(file.path);
  if (changed.length > 0) {
    const next = advice("delegate the task again, or make the changes yourself");
    const names = changed.join(", ");
    throw new InvalidRequest(`nothing was applied, because these changed since the copy was made: ${names}`, { next });
  }
  const undo = await begun(folder, read.data);
  try {
    for (const made of undo.folders) await mkdir(path.join(base, made));
    for (const file of files) {
      if (!(await isAsBefore(base, file)))
        throw new InvalidRequest(`nothing was applied: ${file.path} changed meanwhile`);
      await put(path.join(folder, "kept", file.path), base, file.path, id, file.after);
      await afterEach();
    }
  } catch (error) {
    await rollBack(folder, undo);
    if (error instanceof InvalidRequest) throw error;
    const cause = codeOf(error) ?? messageOf(error);
    throw new InvalidRequest(`nothing was applied: a file can't be written (${cause})`, { cause: error });
  }
  await rm(path.join(folder, journalFile));
  await rm(folder, { recursive: true, force: true });
  return files.map((file) => file.path);
}

/** The folders above a file, the highest first. */
function foldersAbove(name: string): readonly string[] {
  const parts = name.split("/");
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
}

/** Whether a file of the user is as it was copied, and reached without a link. */
async function isAsBefore(base: string, { path: name, before }: z.output<typeof record>["files"][number]) {
  if (refusedName(name) !== undefined || isStarted(name)) return false;
  for (const above of foldersAbove(name)) {
    const facts = await lstat(path.join(base, above)).catch(() => undefined);
    if (facts === undefined) return before === null;
    if (!facts.isDirectory()) return false;
  }
  const file = path.join(base, name);
  const facts = await lstat(file).catch(undefinedIfMissing);
  if (facts === undefined) return before === null;
  return before !== null && facts.isFile() && hashOf(await readFile(file)) === before;
}

/** Writes to disk what is to be undone, before the first file is changed. */
async function begun(folder: string, work: z.output<typeof record>): Promise<z.output<typeof journal>> {
  const folders = new Set<string>();
  for (const above of work.files.flatMap((file) => foldersAbove(file.path)))
    if ((await lstat(path.join(work.base, above)).catch(() => undefined)) === undefined) folders.add(above);
  const made = { ...work, folders: [...folders].toSorted() };
  await writeNew(path.join(folder, journalFile), JSON.stringify(made)).catch((cause: unknown) => {
    if (codeOf(cause) !== "EEXIST") throw cause;
    throw new InvalidRequest(`the changes of ${path.basename(folder)} are being applied`, { cause });
  });
  await syncFolder(folder, platform);
  return made;
}

/** Replaces one file in one step. It is named after the work until then, so that a rollback finds it. */
async function put(from: string, base: string, name: string, id: string, hash: string): Promise<void> {
  const content = await readFile(from);
  if (hashOf(content) !== hash) throw new InvalidRequest(`the kept change of ${name} is damaged`);
  const target = path.join(base, name);
  const mode = ((await lstat(target).catch(() => undefined))?.mode ?? 0o644) & 0o777;
  // `open` applied the umask.
  const prepare: Parameters<typeof writeAside>[3]["prepare"] = (handle) => handle.chmod(mode).catch(() => undefined);
  await writeAside(asideOf(target, id), target, content, { mode, platform, prepare });
}

function asideOf(file: string, id: string): string {
  return path.join(path.dirname(file), `.${path.basename(file).slice(0, 100)}.${id}.tmp`);
}

/** Returns the files of the user that were changed to what they were. A file that someone has changed since stays. */
async function rollBack(folder: string, { base, files, folders }: z.output<typeof journal>) {
  const id = path.basename(folder);
  const left: string[] = [];
  for (const { path: name, before, after } of files.toReversed()) {
    const target = path.join(base, name);
    await rm(asideOf(target, id), { force: true });
    const content = await readFile(target).catch(() => undefined);
    const now = content && hashOf(content);
    if (now === (before ?? undefined)) continue;
    if (now !== after) left.push(target);
    else if (before === null) await rm(target, { force: true });
    else await put(path.join(folder, "undo", name), base, name, id, before);
  }
  for (const made of folders.toReversed()) await rmdir(path.join(base, made)).catch(() => undefined);
  await rm(path.join(folder, journalFile));
  return left;
}

/**
 * Undoes what a process that was killed had begun to apply, and removes copies that no worker uses and changes that are
 * older than `keepHours`. Called at the start, before there are workers. Never throws.
 */
export async function recoverWork(home: string, keepHours: number, log: Log): Promise<void> {
  const all = path.join(home, "work");
  for (const id of await readdir(all).catch(() => [])) {
    const folder = path.join(all, id);
    try {
      const begunText = await readFile(path.join(folder, journalFile), "utf8").catch(() => undefined);
      if (begunText !== undefined) {
        const read = journal.safeParse(jsonIn(begunText));
        // One that was not written whole: no file had been changed.
        if (!read.success) await rm(path.join(folder, journalFile));
        else for (const file of await rollBack(folder, read.data)) log.warn(`${file} was changed meanwhile, and stays`);
      }
      const recorded = await stat(path.join(folder, recordFile)).catch(() => undefined);
      const { mtimeMs } = recorded ?? (await stat(folder));
      const mostMs = recorded === undefined ? abandonedMs : Math.max(keepHours * 3_600_000, abandonedMs);
      if (Date.now() - mtimeMs > mostMs) await rm(folder, { recursive: true, force: true });
    } catch (error) {
      log.warn(`work: ${folder} can't be tidied: ${messageOf(error)}`);
    }
  }
}

// -------------------------------------------------------------------------------------------------- names of files

const [maxName, maxPart] = [300, 200] as const;

/**
 * Why a worker uses no file of this name, on any system that the files may be copied to: it leads out, into git's own data,
 * or two systems read it differently. A predicate; undefined for a name that it may use.
 */
export function refusedName(name: string): string | undefined {
  if (name === "" || name.length > maxName) return `must have 1 to ${maxName} characters`;
  if (name.search(invisible) !== -1) return "has a control or invisible character";
  if (name !== name.normalize("NFC")) return "is not in Unicode's form NFC";
  if (path.posix.isAbsolute(name) || path.win32.isAbsolute(name) || /^(?:~|[A-Za-z]:)/.test(name))
    return "must be relative";
  if (name.includes("\\")) return "must have / between its folders";
  const unusable = unusableName(name, path.win32);
  if (unusable !== undefined) return unusable;
  for (const part of name.split("/")) {
    if (part === "") return "has an empty part";
    if (part === "." || part === "..") return "must not have . or .. in it";
    if (/[. ]$/.test(part)) return "has a part that ends with a dot or a space";
    if (part.length > maxPart) return `has a part of more than ${maxPart} characters`;
    if (/^(?:\.git|git~\d+)$/i.test(part)) return "belongs to git";
  }
  return undefined;
}

const started = (
  ".circleci .claude .cursor .devcontainer .githooks .hg .husky .idea .ollm .svn .vscode .envrc .gitattributes .gitconfig" +
  " .gitlab-ci.yml .gitmodules .lfsconfig .mcp.json .npmrc .pnpmfile.cjs .pre-commit-config.yaml .yarnrc .yarnrc.yml"
).split(" ");

/** Whether other programs run or obey a file of this name, or those in such a folder, without asking their user. */
export function isStarted(name: string): boolean {
  const isKnown = name
    .toLowerCase()
    .split("/")
    .some((part) => started.includes(part));
  return isKnown || /(?:^|\/)\.github\/(?:workflows|actions)\//i.test(name);
}
