import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { formatBytes } from "../../orchestrator/util/format-bytes.ts";
import type { GitName } from "../../orchestrator/util/file-name.ts";
import { didYouMean } from "../../orchestrator/util/nearest.ts";
import { type AllowedRoots, findInside, howToAllow } from "./allowed-paths.ts";
import { isInside } from "../../orchestrator/util/file-name.ts";
import { type GitSource, type Repository, findRepository, firstLine, parseGitSource } from "./git-repository.ts";
import type { GitOptions } from "./git-run.ts";
import { type Snapshot, openSnapshot } from "./git-snapshot.ts";

/** Output is only text that git itself makes of objects, index and work tree. */
const patchOptions = [
  "--no-color",
  "--no-ext-diff",
  "--no-textconv",
  "--find-renames",
  "--submodule=short",
  // Git would start itself inside the submodule, under the submodule's configuration.
  "--ignore-submodules=dirty",
];
const logOptions = [
  "--format=commit %h %as %an%d%n%n%B",
  "--no-color",
  "--no-notes",
  "--no-show-signature",
  "--no-mailmap",
  "--decorate-refs=refs/tags",
];

/**
 * Reads a diff, a log or a commit of the repository that `name` means, limited to what is below the allowed folders.
 * Throws `InvalidRequest`, for an empty result, too; `Cancelled`.
 */
export async function readGit(
  { folder, source }: GitName,
  roots: AllowedRoots,
  maxBytes: number,
  options: GitOptions,
): Promise<{ readonly named: string; readonly content: Uint8Array }> {
  const wanted = parseGitSource(source);
  if (roots.folders.length === 0) {
    throw new InvalidRequest(`${source}: no folder is allowed yet`, { next: howToAllow(undefined, roots) });
  }
  const repository = await repositoryOf(folder, source, roots, options);
  const { top } = repository;
  if (top === undefined && (wanted.kind === "staged" || wanted.kind === "diff")) {
    throw new InvalidRequest(`${source}: the repository is bare: it has no files to compare`, {
      next: advice("use git:log:N or git:show:REF"),
    });
  }
  const limits = pathLimits(repository, roots);
  const snapshot = await openSnapshot(repository, options);
  try {
    const content = await read(wanted, source, { snapshot, repository, limits, maxBytes });
    if (content.length === 0) throw nothing(wanted, source, limits);
    const isOneOfSeveral = folder !== undefined && roots.folders.length > 1 && top !== undefined;
    return { named: isOneOfSeveral ? `${path.basename(top)}/${source}` : source, content };
  } finally {
    await snapshot.close();
  }
}

/** The repository of a folder, else of the working directory, else the only one among the roots. */
async function repositoryOf(
  folder: string | undefined,
  source: string,
  roots: AllowedRoots,
  options: GitOptions,
): Promise<Repository> {
  const { workingDirectory, folders } = roots;
  if (folder !== undefined) {
    const { real } = await findInside(folder, roots);
    const found = await findRepository(real, roots, options);
    if (found === undefined) throw new InvalidRequest(`${source}: ${folder} is not in a git repository`);
    return found;
  }
  const own = workingDirectory === undefined ? undefined : await findRepository(workingDirectory, roots, options);
  if (own !== undefined) return own;
  const found = new Map<string, Repository>();
  for (const each of folders) {
    const repository = await findRepository(each, roots, options);
    if (repository !== undefined) found.set(repository.top ?? repository.gitFolder, repository);
  }
  const [first, ...more] = found.values();
  if (first === undefined) {
    throw new InvalidRequest(`${source}: no allowed folder is in a git repository (${folders.join(", ")})`, {
      next: advice("name files instead"),
    });
  }
  if (more.length === 0) return first;
  const names = [...found.keys()];
  throw new InvalidRequest(`${source}: several allowed folders are repositories`, {
    next: { step: "chooseOneOf", names: names.map((name) => `${name}/${source}`) },
  });
}

/**
 * Paths, relative to the top with `/`, that a result is limited to (`only`; empty: no limit), and that it leaves out.
 * Literal: no wildcards.
 */
type PathLimits = ReturnType<typeof pathLimits>;

function pathLimits({ top }: Repository, { folders, closed }: AllowedRoots) {
  if (top === undefined) return { only: [], without: [] };
  const nameOf = (folder: string): string => path.relative(top, folder).split(path.sep).join("/");
  const isWhole = folders.some((folder) => isInside(folder, top));
  const below = folders.filter((folder) => isInside(top, folder));
  return {
    only: isWhole ? [] : below.map(nameOf),
    without: closed !== undefined && isInside(top, closed) ? [nameOf(closed)] : [],
  };
}

function pathArguments({ only, without }: PathLimits): readonly string[] {
  return [
    "--",
    ...only.map((name) => `:(top,literal)${name}`),
    // Git before 2.13 has no exclusion alone.
    ...(only.length === 0 && without.length > 0 ? [":(top)"] : []),
    ...without.map((name) => `:(top,exclude,literal,icase)${name}`),
  ];
}

async function read(
  wanted: GitSource,
  source: string,
  from: {
    readonly snapshot: Snapshot;
    readonly repository: Repository;
    readonly limits: PathLimits;
    readonly maxBytes: number;
  },
): Promise<Buffer> {
  const args = await argumentsFor(wanted, source, from.snapshot);
  const output = await from.snapshot.git([...args, ...pathArguments(from.limits)], from.maxBytes);
  if (output === undefined) {
    throw new InvalidRequest(`${source} is larger than ${formatBytes(from.maxBytes)}`, {
      next: [advice("name files or single commits instead"), { step: "raiseSetting", setting: "files.maxFileBytes" }],
    });
  }
  if (output.exitCode === 0) return output.stdout;
  const why = firstLine(output.stderr);
  throw new InvalidRequest(`${source} can't be read: ${why}`, {
    next: from.repository.isPartial
      ? advice("fetch the missing objects with git first: the repository is a partial clone")
      : advice("run git fsck in the repository"),
  });
}

async function argumentsFor(wanted: GitSource, source: string, snapshot: Snapshot): Promise<readonly string[]> {
  switch (wanted.kind) {
    case "staged":
      return ["diff", "--cached", ...patchOptions];
    case "diff": {
      if (wanted.ref === undefined) return ["diff", ...patchOptions];
      return ["diff", ...patchOptions, "--end-of-options", await compared(wanted.ref, source, snapshot)];
    }
    case "log": {
      const head = await commitOf("HEAD", source, snapshot);
      return ["log", `--max-count=${wanted.count}`, ...logOptions, "--end-of-options", head];
    }
    case "show": {
      const commit = await commitOf(wanted.ref, source, snapshot);
      // A merge is shown as its difference from the first parent.
      const merge = ["-m", "--first-parent"];
      return ["show", ...merge, ...logOptions, ...patchOptions, "--end-of-options", commit];
    }
  }
}

/** `REF`, or the two commits of `A..B` and `A...B`, in which either may be absent. */
async function compared(ref: string, source: string, snapshot: Snapshot): Promise<string> {
  const [, from = "", dots, to = ""] = /^(.*?)(\.{2,3})(.*)$/s.exec(ref) ?? [];
  if (dots === undefined) return commitOf(ref, source, snapshot);
  const commits = [await commitOf(from || "HEAD", source, snapshot), await commitOf(to || "HEAD", source, snapshot)];
  return commits.join(dots);
}

/** The hash of the commit that a name means. */
async function commitOf(ref: string, source: string, snapshot: Snapshot): Promise<string> {
  const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${ref}^{commit}`];
  const found = await snapshot.git(args, 10_000);
  const hash = found?.stdout.toString().trim() ?? "";
  if (found?.exitCode === 0 && /^[0-9a-f]{40,64}$/.test(hash)) return hash;
  if (/^(?:HEAD|@)(?![\w/-])/.test(ref) && ref !== "HEAD" && ref !== "@") {
    // HEAD itself may be there.
    await commitOf("HEAD", source, snapshot);
  } else if (ref === "HEAD" || ref === "@") {
    throw new InvalidRequest(`${source}: the repository has no commits yet`, { next: advice("use git:staged") });
  }
  throw new InvalidRequest(`${source}: there is no commit ${ref}`, { next: await nearTo(ref, snapshot) });
}

async function nearTo(ref: string, snapshot: Snapshot): Promise<NextSteps> {
  const listed = await snapshot.git(["for-each-ref", "--count=1000", "--format=%(refname:short)"], 200_000);
  const known = listed?.stdout.toString().split("\n").filter(Boolean) ?? [];
  return didYouMean(ref, known, 3, advice("name a branch, a tag or a commit of the repository"));
}

function nothing(wanted: GitSource, source: string, { only }: PathLimits): InvalidRequest {
  const where = only.length === 0 ? "" : ` below ${only.join(", ")}`;
  switch (wanted.kind) {
    case "staged":
      return new InvalidRequest(`${source}: nothing is staged${where}`, {
        next: [advice("run git add first"), advice("use git:diff for changes that are not staged")],
      });
    case "diff":
      return wanted.ref === undefined
        ? new InvalidRequest(`${source}: nothing has changed${where} that is not staged`, {
            next: advice("use git:staged for staged changes"),
          })
        : new InvalidRequest(`${source}: nothing differs${where}`, { next: advice("name another REF") });
    case "log":
      return new InvalidRequest(`${source}: no commit changes anything${where}`);
    case "show":
      return new InvalidRequest(`${source}: the commit changes nothing${where}`, { next: advice("name another REF") });
  }
}
