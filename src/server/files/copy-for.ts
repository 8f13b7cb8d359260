import { stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { type Worker, type Workspace, workerTools } from "../../orchestrator/api/facade-batches.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { readRegularText } from "../../orchestrator/storage/replace-file.ts";
import { isInside, isPattern } from "../../orchestrator/util/file-name.ts";
import { isRecord } from "../../orchestrator/util/values.ts";
import { maxForeignTokens, parseYaml } from "../../orchestrator/util/parse-yaml.ts";
import { type AllowedRoots, findInside, howToAllow, isAllowed } from "./allowed-paths.ts";
import { findRepository } from "./git-repository.ts";
import { type GitOptions, runGit } from "./git-run.ts";
import { type NamedFiles, filesBelow } from "./named-files.ts";
import { createWorkspace } from "./workspace.ts";

const maxListBytes = 4 * 1024 ** 2;
const maxMatches = 5_000;

/** What a refusal makes undefined. */
function unlessRefused(error: unknown): undefined {
  if (!(error instanceof InvalidRequest)) throw error;
}

/** A copy for a worker of the files that `given` names, else of the working directory, or the first root. */
export async function copyFor(
  given: readonly string[] | undefined,
  parts: Omit<Parameters<typeof createWorkspace>[0], "base" | "names"> & {
    readonly roots: AllowedRoots;
    find(name: string, most?: number): Promise<NamedFiles["files"]>;
  },
): Promise<Workspace> {
  const { roots, git, find } = parts;
  const first = roots.workingDirectory ?? roots.folders[0];
  if (first === undefined) throw new InvalidRequest("no folder is allowed yet", { next: howToAllow(undefined, roots) });
  const files: string[] = [];
  const folders: string[] = [];
  for (const name of given ?? [first]) {
    const { real } = (isPattern(name) ? undefined : await findInside(name, roots).catch(unlessRefused)) ?? {};
    if (real !== undefined && (await stat(real)).isDirectory()) folders.push(real);
    else files.push(...(await find(name, maxMatches)).map((file) => file.real));
  }
  const all = [...files, ...folders];
  // What a worker changes is applied to one folder: the root that has all of them, if they are several.
  const base =
    folders.length === all.length && all.length === 1
      ? all[0]
      : roots.folders.find((folder) => all.every((file) => isInside(folder, file)));
  if (base === undefined) {
    throw new InvalidRequest("a worker gets files of one allowed folder, and these are in several", {
      next: advice("name files of one folder"),
    });
  }
  for (const folder of folders) {
    const names = (await ofGit(folder, roots, git).catch(unlessRefused)) ?? (await filesBelow(folder, roots)).names;
    files.push(...names.map((name) => path.join(folder, name)));
  }
  const own = files.filter((file) => isAllowed(file, roots)).map((file) => path.relative(base, file));
  return createWorkspace({ ...parts, base, names: own.map((name) => name.replaceAll(path.sep, "/")) });
}

/** The files of a git work tree that git does not ignore; undefined where git can't tell. */
async function ofGit(folder: string, roots: AllowedRoots, options: GitOptions): Promise<readonly string[] | undefined> {
  if ((await findRepository(folder, roots, options))?.top === undefined) return undefined;
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const variables = { HOME: options.homeDirectory, USERPROFILE: options.homeDirectory };
  const output = await runGit(args, { folder, variables, options, maxBytes: maxListBytes });
  return output?.exitCode === 0
    ? output.stdout
        .toString()
        .split("\0")
        .filter((name) => name !== "")
    : undefined;
}

const maxAgentBytes = 64 * 1024;
const maxInstructions = 8_000;

/** A tool of Claude Code by the name that workers have for it, if they have it. */
const ownName = (tool: string): string =>
  tool
    .trim()
    .toLowerCase()
    .replace(/^(?:glob|ls)$/, "list")
    .replace(/^multiedit$/, "edit");

/**
 * The agent of that name in `.claude/agents` of these folders; the first counts. Its model is as written. Undefined if
 * there is none that can be read.
 */
export async function readAgent(name: string, folders: readonly string[]): Promise<Worker | undefined> {
  if (!/^[A-Za-z][\w-]{0,63}$/.test(name)) return undefined;
  for (const folder of folders) {
    const file = path.join(folder, ".claude", "agents", `${name}.md`);
    const text = await readRegularText(file).catch(() => "");
    const [, front = "", body = ""] = /^---\r?\n(.*?)\r?\n---\r?\n(.*)$/s.exec(text.slice(0, maxAgentBytes)) ?? [];
    const yaml = await parseYaml(front, maxAgentBytes, maxForeignTokens);
    if (body.trim() === "" || "problem" in yaml || !isRecord(yaml.value)) continue;
    const { tools, model } = yaml.value;
    const names = typeof tools === "string" ? tools.split(",") : Array.isArray(tools) ? tools.map(String) : undefined;
    const mapped = names?.map(ownName);
    return {
      instructions: body.trim().slice(0, maxInstructions),
      ...(mapped !== undefined && { tools: workerTools.filter((each) => mapped.includes(each)) }),
      ...(typeof model === "string" && { model }),
    };
  }
  return undefined;
}
