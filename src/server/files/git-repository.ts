import { lstat, readdir, realpath, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { readRegularText } from "../../orchestrator/storage/replace-file.ts";
import { realFolder, workTreeAbove } from "../../orchestrator/storage/work-tree.ts";
import { type AllowedRoots, howToAllow, isAllowed } from "./allowed-paths.ts";
import { isInside } from "../../orchestrator/util/file-name.ts";
import { type GitOptions, runGit } from "./git-run.ts";
import { defined } from "../../orchestrator/util/values.ts";

/** A repository whose data lie where the caller may read. All paths are resolved. */
export interface Repository {
  /** The top of its work tree; absent for a bare one. */
  readonly top?: string;
  /** Its `.git`: HEAD and index. In a linked work tree they differ from `commonFolder`, which has the rest. */
  readonly gitFolder: string;
  readonly commonFolder: string;
  readonly objectsFolder: string;
  /** The settings that git needs to read it right, by lower-case key. None of them names a program or a file. */
  readonly settings: ReadonlyMap<string, string>;
  /** Objects may be missing: it was cloned with a filter. */
  readonly isPartial: boolean;
  /** Whether a resolved path, in the repository or outside, may be read. */
  isReadable(real: string): boolean;
}

/** How the work tree's files compare with the index, and how objects are named. */
const usedSettings: ReadonlyMap<string, RegExp> = new Map([
  ..."filemode ignorecase longpaths precomposeunicode symlinks trustctime"
    .split(" ")
    .map((key): [string, RegExp] => [`core.${key}`, /^(?:true|false|yes|no|on|off|0|1)$/i]),
  ["core.autocrlf", /^(?:true|false|input)$/i],
  ["core.eol", /^(?:lf|crlf|native)$/i],
  ["core.checkstat", /^(?:default|minimal)$/i],
  ["extensions.objectformat", /^(?:sha1|sha256)$/i],
]);

/** The repository of `folder`, which must be allowed and resolved; undefined when it is in none. Throws `InvalidRequest`. */
export async function findRepository(
  folder: string,
  roots: AllowedRoots,
  options: GitOptions,
): Promise<Repository | undefined> {
  const home = (await realFolder(options.homeDirectory)) ?? options.homeDirectory;
  const top = await workTreeAbove(folder, home);
  const base = top ?? folder;
  await refusePipes(base);
  const asked = await ask(
    ["rev-parse", "--is-bare-repository", "--absolute-git-dir", "--git-common-dir"],
    base,
    options,
  );
  if (asked.exitCode !== 0) {
    if (top === undefined || /not a git repository/.test(asked.stderr)) return undefined;
    throw unusable(base, asked.stderr);
  }
  const [isBare, gitPath, commonPath, ...more] = asked.stdout
    .toString()
    .replace(/\r?\n$/, "")
    .split(/\r?\n/);
  // A file `.git` that is broken makes git go on to search for a bare repository.
  const isOdd = gitPath === undefined || commonPath === undefined || more.length > 0;
  if (isOdd || (top === undefined && isBare !== "true")) return undefined;
  const gitFolder = await realpath(path.resolve(base, gitPath));
  const commonFolder = await realpath(path.resolve(base, commonPath));
  const listed = await settingsOf(base, options);
  const data = { gitFolder, commonFolder, worktree: listed.get("core.worktree") };
  if (!(await belongsTo(top, data, roots))) {
    const foreign = isAllowed(gitFolder, roots) ? commonFolder : gitFolder;
    throw elsewhere(`the data of the repository ${base}`, foreign, roots);
  }
  const isReadable = (real: string): boolean =>
    isAllowed(real, roots) || isInside(gitFolder, real) || isInside(commonFolder, real);
  const objectsFolder = await realpath(path.join(commonFolder, "objects"));
  await checkObjects(objectsFolder, isReadable, roots);
  if ((listed.get("extensions.refstorage") ?? "files") !== "files") {
    throw new InvalidRequest(
      `the repository ${base} stores its branches in a format that can't be read here (reftable)`,
      { next: advice("save the output of git to a file, and name that") },
    );
  }
  return {
    ...defined({ top }),
    gitFolder,
    commonFolder,
    objectsFolder,
    settings: new Map([...listed].filter(([key, value]) => usedSettings.get(key)?.test(value) === true)),
    isPartial: listed.has("extensions.partialclone") || [...listed.keys()].some((key) => key.endsWith(".promisor")),
    isReadable,
  };
}

/** Files of a repository, or of its work tree, that git opens whatever they are. */
const openedFiles = ["HEAD", "config", "config.worktree", "commondir", "index", "packed-refs", "shallow"];
const openedInside = ["info/attributes", "info/exclude", "info/grafts", "info/sparse-checkout"];

/** Throws `InvalidRequest` for a pipe or device where git would wait for its writer. */
async function refusePipes(base: string): Promise<void> {
  const dotGit = path.join(base, ".git");
  const refuse = async (file: string): Promise<boolean> => {
    const found = await stat(file).catch(() => undefined);
    if (found === undefined || found.isFile() || found.isDirectory()) return found?.isFile() === true;
    throw new InvalidRequest(`${file} is not a regular file (a pipe, socket or device), so git can't read it`);
  };
  const leads = async (file: string, pattern: RegExp): Promise<string | undefined> => {
    const found =
      (await refuse(file)) && (await stat(file)).size < 10_000 ? await readRegularText(file).catch(() => "") : "";
    const target = pattern.exec(found)?.[1];
    return target === undefined ? undefined : path.resolve(path.dirname(file), target);
  };
  const own =
    (await leads(dotGit, /^gitdir: (.*?)\r?\n?$/s)) ?? ((await realFolder(dotGit)) === undefined ? base : dotGit);
  const common = await leads(path.join(own, "commondir"), /^(.*?)\r?\n?$/s);
  const folders = [own, ...(common === undefined ? [] : [common])];
  const files = folders.flatMap((folder) => [...openedFiles, ...openedInside].map((name) => path.join(folder, name)));
  await Promise.all([...files, ...[".gitattributes", ".gitmodules"].map((name) => path.join(base, name))].map(refuse));
}

/** For the commands that read the repository's own configuration. They run no programs, whatever it says. */
async function ask(args: readonly string[], folder: string, options: GitOptions) {
  const home = options.homeDirectory;
  const variables = { HOME: home, USERPROFILE: home, GIT_CEILING_DIRECTORIES: path.dirname(folder) };
  const output = await runGit(args, { folder, variables, options, maxBytes: 1_000_000 });
  if (output === undefined) throw unusable(folder, "its configuration is too large");
  return output;
}

async function settingsOf(folder: string, options: GitOptions): Promise<Map<string, string>> {
  const pattern = "^(core\\.|extensions\\.|remote\\..*\\.promisor$)";
  const { stdout } = await ask(["config", "--no-includes", "--null", "--get-regexp", pattern], folder, options);
  const found = new Map<string, string>();
  for (const entry of stdout.toString().split("\0")) {
    // A key without a value means true. The last one wins: the repository's own.
    const [, key = "", value = "true"] = /^([^\n]*)(?:\n(.*))?$/s.exec(entry) ?? [];
    if (key !== "") found.set(key.toLowerCase(), value);
  }
  return found;
}

/**
 * Whether a repository's data belong to the work tree `top`, so that no file of the work tree can lead to the data of
 * another one: `.git` is a folder; or they are in an allowed folder; or they name this work tree, as those of submodules
 * and linked work trees do.
 */
async function belongsTo(
  top: string | undefined,
  data: { readonly gitFolder: string; readonly commonFolder: string; readonly worktree: string | undefined },
  roots: AllowedRoots,
): Promise<boolean> {
  const { gitFolder, commonFolder, worktree } = data;
  const isCommonReadable = gitFolder === commonFolder || isAllowed(commonFolder, roots);
  if (isAllowed(gitFolder, roots)) return isCommonReadable;
  if (top === undefined) return false;
  const own = path.join(top, ".git");
  if (gitFolder === own) return isCommonReadable;
  if (worktree !== undefined && (await isSame(path.resolve(gitFolder, worktree), top))) return isCommonReadable;
  const back = await readRegularText(path.join(gitFolder, "gitdir")).catch(() => "");
  const isLinked = back.length < 10_000 && (await isSame(path.resolve(gitFolder, back.replace(/\r?\n$/, "")), own));
  return isLinked && (await isSame(path.resolve(gitFolder, "..", ".."), commonFolder));
}

async function isSame(file: string, real: string): Promise<boolean> {
  return realpath(file).then(
    (found) => found === real,
    () => false,
  );
}

/** Objects are in few levels: `pack/`, `ab/`, `info/commit-graphs/`. */
const maxLevels = 4;
/** A store has up to 260. */
const maxFolders = 2_000;
const maxAlternatesBytes = 100_000;

/** Throws `InvalidRequest` if links or alternates lead to objects where the caller may not read. */
async function checkObjects(start: string, isReadable: (real: string) => boolean, roots: AllowedRoots): Promise<void> {
  const waiting: { readonly folder: string; readonly level: number }[] = [];
  /** At which level. Nearer to the top more is read of a folder: alternates may lead to one that is below another. */
  const seen = new Map<string, number>();
  const add = (real: string, level: number): void => {
    if (!isReadable(real)) throw elsewhere("a part of the repository's data", real, roots);
    if (level >= Math.min(maxLevels, seen.get(real) ?? maxLevels)) return;
    if (seen.size >= maxFolders)
      throw new InvalidRequest(`the repository has more than ${maxFolders} folders of objects`);
    seen.set(real, level);
    waiting.push({ folder: real, level });
  };
  add(start, 0);
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { folder, level } = next;
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) add(file, level + 1);
      // A link that leads nowhere is harmless.
      const real = entry.isSymbolicLink() ? await realpath(file).catch(() => undefined) : undefined;
      if (real !== undefined) add(real, level + 1);
      if (
        !entry.isDirectory() &&
        !entry.isFile() &&
        (real === undefined ? !entry.isSymbolicLink() : await isPipe(real))
      )
        throw new InvalidRequest(`${file} is not a regular file (a pipe, socket or device), so git can't read it`);
    }
    if (level === 0) for (const other of await alternatesOf(folder)) add(other, 0);
  }
}

async function isPipe(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found !== undefined && !found.isFile() && !found.isDirectory();
}

/** The folders from which a store of objects borrows. */
async function alternatesOf(objects: string): Promise<readonly string[]> {
  const file = await realpath(path.join(objects, "info", "alternates")).catch(() => undefined);
  if (file === undefined) return [];
  const found = await lstat(file);
  const text = found.isFile() && found.size <= maxAlternatesBytes ? await readRegularText(file) : undefined;
  const lines = text?.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  // Git unquotes a quoted path.
  if (lines === undefined || lines.some((line) => line.startsWith('"'))) {
    throw new InvalidRequest("the repository's objects/info/alternates has a form that can't be checked");
  }
  const folders = lines.map((line) => path.resolve(objects, line));
  return Promise.all(folders.map((folder) => realpath(folder).catch(() => folder)));
}

function elsewhere(what: string, folder: string, roots: AllowedRoots): InvalidRequest {
  const where = roots.configFile === undefined ? "" : ` (${folder})`;
  return new InvalidRequest(`${what} is outside the allowed folders${where}`, { next: howToAllow(folder, roots) });
}

function unusable(folder: string, stderr: string): InvalidRequest {
  if (/dubious ownership|unsafe repository/.test(stderr)) {
    return new InvalidRequest(`the repository ${folder} belongs to another user`, {
      next: advice(`if you trust it, run: git config --global --add safe.directory ${JSON.stringify(folder)}`),
    });
  }
  return new InvalidRequest(`the repository ${folder} can't be read: ${firstLine(stderr)}`);
}

/** What git says in one line, without the word `fatal`. */
export function firstLine(stderr: string): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/^(?:warning|hint):/.test(line));
  return (lines[0] ?? "no reason given").replace(/^(?:fatal|error): /, "");
}

/** What is read of a repository. A `ref` is unverified; `diff` without one compares with the index. */
export type GitSource =
  | { readonly kind: "staged" }
  | { readonly kind: "diff"; readonly ref?: string }
  | { readonly kind: "log"; readonly count: number }
  | { readonly kind: "show"; readonly ref: string };

const maxCommits = 200;
const maxRefLength = 250;

/** The forms of a git source, for errors. */
const forms = "git:staged, git:diff, git:diff:REF, git:log:N and git:show:REF";

/** Parses `git:...`. Throws `InvalidRequest` for an unknown form, a count that is out of range, and an unusable REF. */
export function parseGitSource(source: string): GitSource {
  const [, kind = "", given] = /^git:([^:]*)(?::(.*))?$/su.exec(source) ?? [];
  if (kind === "staged" && given === undefined) return { kind };
  if (kind === "diff") return given === undefined ? { kind } : { kind, ref: checkedRef(source, given) };
  if (kind === "show" && given !== undefined) return { kind, ref: checkedRef(source, given) };
  if (kind === "log" && given !== undefined) return { kind, count: countOf(source, given) };
  throw new InvalidRequest(`${shown(source)} is not known`, { next: advice(`use one of ${forms}`) });
}

function countOf(source: string, given: string): number {
  const count = /^\d{1,9}$/.test(given) ? Number(given) : 0;
  if (count >= 1 && count <= maxCommits) return count;
  throw new InvalidRequest(`${shown(source)} needs a number of commits from 1 to ${maxCommits}`, {
    next: advice("use a form such as git:log:20"),
  });
}

/**
 * A branch, tag or commit with `~` and `^` behind it, or two of them joined by `..` or `...`. Never an option, nor what git
 * reads as something other than a commit: a path (`:`), a search (`{/text}`), an exclusion (`^main`).
 */
function checkedRef(source: string, ref: string): string {
  const problem =
    ref === ""
      ? "is empty"
      : ref.length > maxRefLength
        ? `is longer than ${maxRefLength} characters`
        : ref.split(/\.{2,3}/).some((part) => /^[-^~]/.test(part))
          ? "begins with a character that it can't begin with"
          : /[\s\p{Cc}:?*[\]\\{}]/u.test(ref)
            ? "has a character that it can't have"
            : ref.split(/\.{2,3}/).length > 2
              ? "has more than two parts"
              : undefined;
  if (problem === undefined) return ref;
  throw new InvalidRequest(`the REF of ${shown(source)} ${problem}`, {
    next: advice("name a branch, a tag or a commit, such as main, v1.2 or HEAD~1"),
  });
}

/** For a message, which is one line. */
function shown(source: string): string {
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(source) || source.length > 100 ? JSON.stringify(source.slice(0, 100)) : source;
}
