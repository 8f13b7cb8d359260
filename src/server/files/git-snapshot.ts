import { copyFile, lstat, mkdir, mkdtemp, readdir, realpath, rm, utimes, writeFile } from "node:fs/promises";
import { constants } from "node:fs";
import { devNull, tmpdir } from "node:os";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { Repository } from "./git-repository.ts";
import { runGit, type GitOptions, type GitOutput } from "./git-run.ts";
import { codeOf, defined } from "../../orchestrator/util/values.ts";

/**
 * A repository as it is read: a temporary git folder with copies of HEAD, index and references, and a configuration of
 * our own. Objects and work tree are those of the repository. So git sees none of the repository's configuration, which
 * could name programs (filters, monitors, differs, hooks), and has no reason to write into it.
 */
export interface Snapshot {
  git(args: readonly string[], maxBytes: number): Promise<GitOutput | undefined>;
  close(): Promise<void>;
}

const maxIndexBytes = 512 * 1024 ** 2;
const maxReferenceBytes = 64 * 1024 ** 2;
const maxReferences = 20_000;
const copiesAtOnce = 8;

/** Larger objects are shown as binary: git would read them whole into memory. */
const maxObjectBytes = 64 * 1024 ** 2;

export async function openSnapshot(repository: Repository, options: GitOptions): Promise<Snapshot> {
  const { top, gitFolder, commonFolder, objectsFolder } = repository;
  await removeAbandoned();
  const folder = await mkdtemp(path.join(tmpdir(), prefix))
    .then((made) => realpath(made))
    .catch(unusableTemporary);
  const close = (): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: 3 });
  const copy = (from: string, name: string, maxBytes: number): Promise<void> =>
    copyRegular(path.join(from, name), path.join(folder, name), maxBytes, repository);
  try {
    await mkdir(path.join(folder, "objects"));
    await copy(gitFolder, "HEAD", 10_000);
    await copy(gitFolder, "index", maxIndexBytes);
    for (const name of await readdir(gitFolder)) {
      if (name.startsWith("sharedindex.")) await copy(gitFolder, name, maxIndexBytes);
    }
    await copy(commonFolder, "packed-refs", maxReferenceBytes);
    await copy(commonFolder, "shallow", maxReferenceBytes);
    await copyReferences(repository, folder);
    await writeFile(path.join(folder, "config"), configOf(repository));
  } catch (error) {
    await close();
    if (error instanceof InvalidRequest) throw error;
    return unusableTemporary(error);
  }
  const variables = {
    HOME: folder,
    USERPROFILE: folder,
    XDG_CONFIG_HOME: folder,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: devNull,
    GIT_DIR: folder,
    GIT_OBJECT_DIRECTORY: objectsFolder,
    ...defined({ GIT_WORK_TREE: top }),
  };
  const git: Snapshot["git"] = (args, maxBytes) =>
    runGit(args, { folder: top ?? folder, variables, options, maxBytes });
  try {
    await checkIndex(git);
  } catch (error) {
    await close();
    throw error;
  }
  return { git, close };
}

/** A name that leads out of the work tree or into `.git`. */
const strayName =
  process.platform === "win32"
    ? /(?:^|[\0/\\])(?:\.{0,2}|\.git|[^\0/\\]*:[^\0/\\]*)(?=[\0/\\])/i
    : /(?:^|[\0/])(?:\.{0,2}|\.git)(?=[\0/])/i;

/** Git opens the files that the index names, also `../file`: git itself writes no such name, but an archive may have it. */
async function checkIndex(git: Snapshot["git"]): Promise<void> {
  const listed = await git(["ls-files", "-z"], maxIndexBytes);
  if (listed !== undefined && !strayName.test(listed.stdout.toString("latin1"))) return;
  throw new InvalidRequest("the repository's index names files outside its work tree", {
    next: advice("name files instead"),
  });
}

const prefix = "ollm-git-";
/** No reading takes that long. */
const abandonedMs = 60 * 60_000;

/** Removes the folders of processes that were killed while they read. Best effort. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const folder = path.join(tmpdir(), name);
    const found = await lstat(folder).catch(() => undefined);
    const isOurs = found?.isDirectory() === true && found.uid === (process.getuid?.() ?? found.uid);
    const isOld = found !== undefined && Date.now() - found.mtimeMs > abandonedMs;
    if (isOurs && isOld) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

function unusableTemporary(error: unknown): never {
  const why = codeOf(error) ?? "unknown error";
  throw new InvalidRequest(`the repository's index and branches can't be copied to ${tmpdir()} (${why})`, {
    next: advice("check that the folder exists and has free space"),
    cause: error,
  });
}

/** The settings of the repository that matter, then ours; a later one wins. */
function configOf({ top, settings }: Repository): string {
  const entries = [
    ...settings,
    ["core.repositoryformatversion", settings.has("extensions.objectformat") ? "1" : "0"],
    ["core.bare", String(top === undefined)],
    ["core.bigfilethreshold", String(maxObjectBytes)],
    ["core.quotepath", "false"],
    ["core.safecrlf", "false"],
    ["gc.auto", "0"],
  ] as const;
  return entries
    .map(([key, value]) => {
      const [section = "", name = ""] = key.split(".");
      return `[${section}]\n\t${name} = ${value}\n`;
    })
    .join("");
}

/** Copies a file if it is there; a link only if it leads to something readable. */
async function copyRegular(from: string, to: string, maxBytes: number, repository: Repository): Promise<void> {
  const real = await realpath(from).catch(() => undefined);
  if (real === undefined) return;
  const found = await lstat(real);
  if (!found.isFile() || !repository.isReadable(real)) {
    throw new InvalidRequest(`the repository's ${path.basename(from)} is not a file inside the repository`);
  }
  if (found.size > maxBytes) {
    throw new InvalidRequest(
      `the repository's ${path.basename(from)} is larger than ${formatBytes(maxBytes)} (${formatBytes(found.size)})`,
    );
  }
  await copyFile(real, to, constants.COPYFILE_FICLONE);
  // By the index's time git tells which files it must compare. Rounded down: it then compares more.
  await utimes(to, found.atime, new Date(Math.floor(found.mtimeMs)));
}

/** Branches and tags, one file each. */
async function copyReferences(repository: Repository, folder: string): Promise<void> {
  let count = 0;
  const start = await realpath(path.join(repository.commonFolder, "refs"));
  if (!repository.isReadable(start))
    throw new InvalidRequest("the repository's refs is not a folder inside the repository");
  // Counted before the first is copied: a refusal takes no time.
  const folders: string[] = [];
  const files: string[] = [];
  const listAll = async (name: string): Promise<void> => {
    folders.push(name);
    for (const entry of await readdir(path.join(start, name), { withFileTypes: true })) {
      count += 1;
      if (count > maxReferences) {
        throw new InvalidRequest(`the repository has more than ${maxReferences} branches and tags in files`, {
          next: advice("run git pack-refs --all"),
        });
      }
      if (entry.isDirectory()) await listAll(path.join(name, entry.name));
      else if (entry.isFile()) files.push(path.join(name, entry.name));
    }
  };
  await listAll("");
  const target = path.join(folder, "refs");
  for (const name of folders) await mkdir(path.join(target, name));
  for (let at = 0; at < files.length; at += copiesAtOnce) {
    const some = files.slice(at, at + copiesAtOnce);
    await Promise.all(
      some.map((name) => copyRegular(path.join(start, name), path.join(target, name), 10_000, repository)),
    );
  }
}
