import { lstatSync, readdirSync, realpathSync } from "node:fs";
import { readdir, realpath, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { isSameProgram, replaceProgram } from "../../ipc/start-daemon.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { readRegularText } from "../../orchestrator/storage/replace-file.ts";
import { isInside, isTooBroad } from "../../orchestrator/util/file-name.ts";
import { canExecute, findNode, oldestNode } from "../../orchestrator/util/programs.ts";
import type { CommandIo } from "../terminal/io.ts";
import { codeOf, messageOf, orUndefined, undefinedIfMissing } from "../../orchestrator/util/values.ts";

/** `OLLM_HOME/app`: copies of the program that clients start. */
export function programFolder(home: string): string {
  return path.join(home, "app");
}

/**
 * Why a script may be deleted soon: it is in the cache of `npx` and similar tools, or in a temporary folder. Undefined for
 * others (an installation, a checkout), which are used in place, so that upgrading them upgrades what clients start.
 */
function riskOf(script: string, temporaryFolders: readonly string[]): string | undefined {
  if (isInCache(script)) return "the cache of npx or a similar tool";
  const folders = temporaryFolders.flatMap((folder) => [folder, realPath(folder)]);
  const isTemporary = folders.some((folder) => folder !== script && isInside(folder, script));
  return isTemporary ? "a temporary folder" : undefined;
}

/** The caches of npx, pnpm dlx, bunx and yarn dlx. */
function isInCache(script: string): boolean {
  return script.split(/[\\/]/).some((part) => part === "_npx" || /^(dlx|bunx|xfs)(-|$)/.test(part));
}

/** The command that runs this script again, for messages: `ollm` if it was installed. */
export function howToCall(script: string): string {
  if (isInCache(script)) return "npx -y ollm-mcp";
  if (script.split(/[\\/]/).includes("node_modules")) return "ollm";
  return `node ${script.includes(" ") ? `"${script}"` : script}`;
}

/**
 * The script that clients start: itself, or its copy in the home, `app/<build>/cli.mjs`, whether that exists or not. With
 * the folder to copy first (a copy with other content is replaced), and why it is copied (`riskOf`).
 */
export function lastingScript(from: {
  readonly script: string;
  readonly home: string;
  /** Version and hash of the sources; the name of the copy. */
  readonly build: string;
  readonly temporaryFolders: readonly string[];
}): { readonly script: string; readonly copyFrom?: string; readonly risk?: string } {
  const real = realPath(from.script);
  // Setup runs from its own copy (`node ~/.ollm/app/…/cli.mjs setup`) in a temporary home.
  const isOwnCopy = isInside(realPath(programFolder(from.home)), real);
  const risk = isOwnCopy ? undefined : riskOf(real, from.temporaryFolders);
  if (risk === undefined) return { script: from.script };
  const script = path.join(programFolder(from.home), from.build, path.basename(real));
  const copyFrom = path.dirname(real);
  return { script, risk, ...(!isSameProgram(copyFrom, path.dirname(script)) && { copyFrom }) };
}

/** Copies the program (about 4 MB). Throws `OrchestratorError` if it can't be written. */
export function copyProgram(from: string, script: string): void {
  const target = path.dirname(script);
  try {
    replaceProgram(from, target);
  } catch (error) {
    throw new OrchestratorError(`the program can't be copied to ${target}: ${messageOf(error)}`, {
      next: { step: "setHome", to: "a folder with 10 MB of free space that you may write to" },
      cause: error,
    });
  }
}

/**
 * The path of a Node that clients can start, and that survives an upgrade of Node if the installer has a stable path.
 * Throws `OrchestratorError` if this process is not Node (Electron) and no Node is found.
 */
export function lastingNode(
  from: Pick<CommandIo, "node" | "platform" | "environment">,
  real: (file: string) => string | undefined = realExecutable,
): string {
  const { join, basename, dirname } = from.platform === "win32" ? path.win32 : path.posix;
  if (!/^node(js)?\d*(\.exe)?$/i.test(basename(from.node))) {
    const searchPath = from.environment["PATH"] ?? from.environment["Path"] ?? "";
    const program = { execPath: from.node, isElectron: true, platform: from.platform, searchPath };
    const found = findNode(program, (file) => real(file) !== undefined);
    if (found !== undefined) return found;
    throw new OrchestratorError(`${from.node} is not a Node that clients can start`, {
      next: advice(`install Node ${oldestNode} or newer and run setup with it`),
    });
  }
  const target = real(from.node);
  if (target === undefined) return from.node;
  // The link of fnm is deleted with its shell.
  if (from.node.includes("fnm_multishells")) return target;
  const homebrew = /^(.*)\/Cellar\/(node(?:@\d+)?)\/[^/]+\/bin\/node$/.exec(from.node);
  const snap = /^(\/snap\/node)\/\d+\/(.*)$/.exec(from.node);
  const lasting = [
    ...(homebrew === null ? [] : [`${homebrew[1]}/opt/${homebrew[2]}/bin/node`, `${homebrew[1]}/bin/node`]),
    ...(snap === null ? [] : [`${snap[1]}/current/${snap[2]}`]),
  ].find((file) => real(file) === target);
  return lasting ?? join(dirname(from.node), basename(from.node));
}

function realExecutable(file: string): string | undefined {
  return canExecute(file) ? orUndefined(() => realpathSync.native(file)) : undefined;
}

const realPath = (file: string): string => orUndefined(() => realpathSync.native(file)) ?? path.resolve(file);

/** Younger unfinished copies may still be written by another process. */
const minUnfinishedMs = 24 * 60 * 60 * 1_000;

/** The names of the copies in a home's `app` folder that occur in clients' files, even in files that can't be parsed. */
export async function mentionedCopies(home: string, files: readonly string[]): Promise<ReadonlySet<string>> {
  const [copies, texts] = await Promise.all([
    listFolder(programFolder(home)),
    // Files that can't be read don't count.
    Promise.all(files.map((file) => readRegularText(file).catch(() => ""))),
  ]);
  return new Set(copies.filter((name) => texts.some((text) => text.includes(name))));
}

/**
 * Deletes the copies of the program that are not in `kept`. That has the copies in the current entries of clients and in
 * their previous ones, which open clients still use.
 */
export async function tidyCopies(home: string, kept: ReadonlySet<string>, now: number): Promise<void> {
  const folder = programFolder(home);
  for (const name of await listFolder(folder)) {
    if (kept.has(name)) continue;
    const copy = path.join(folder, name);
    const isUnfinished = name.endsWith(".new");
    if (isUnfinished && now - (await stat(copy)).mtimeMs < minUnfinishedMs) continue;
    await rm(copy, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function listFolder(folder: string): Promise<readonly string[]> {
  return (await readdir(folder).catch(undefinedIfMissing)) ?? [];
}

/** The files and folders that ollm creates in a home. Nothing else in it is ever deleted. */
const parts: readonly { readonly pattern: RegExp; readonly meaning: string }[] = [
  { pattern: /^models$/, meaning: "models" },
  { pattern: /^engines$/, meaning: "the embedded engine" },
  { pattern: /^cache$/, meaning: "prompts that were read" },
  { pattern: /^app$/, meaning: "the copy of the program" },
  { pattern: /^run$/, meaning: "run files and tokens" },
  { pattern: /^logs$/, meaning: "logs" },
  { pattern: /^jobs$/, meaning: "results of jobs" },
  { pattern: /^templates$/, meaning: "prompt templates" },
  { pattern: /^config\.yaml$/, meaning: "settings" },
  { pattern: /^\.?bandwidth\.json(\..*)?$/, meaning: "the memory's measured bandwidth" },
  {
    // Documents and their journals, damaged ones that were set aside, and unfinished files of killed processes.
    pattern:
      /^\.?(alerts|comparisons|decisions|evals|learned|loads|memory|metrics|observations|preferences|requests|spending|state|summary|training|trust)\.(jsonl?|journal)(\..*)?$/,
    meaning: "memories and statistics",
  },
];

/**
 * Any of these files identifies a home. Folders such as `models` or `app` don't: Ollama's home has `models/manifests`.
 */
const markers = ["run/token", "run/http-token", "logs/daemon.log", "logs/calls.log"];

/**
 * Lists what `deleteHome` would delete; undefined if the folder does not exist. Throws `InvalidRequest` for a drive, the
 * user's home or a folder above it, and a folder without files of ollm.
 */
export async function homeContent(home: string, userHome: string) {
  const facts = await stat(home).catch(() => undefined);
  if (facts === undefined) return undefined;
  const real = await realpath(home);
  const realUser = await realpath(userHome).catch(() => userHome);
  if (!facts.isDirectory() || isTooBroad(real, realUser)) {
    throw new InvalidRequest(`${home} is not a folder of ollm; nothing in it was deleted`, {
      next: { step: "setHome", to: "the folder that ollm used" },
    });
  }
  const names = await readdir(home);
  const isThere = (name: string): boolean => lstatSync(path.join(home, name), { throwIfNoEntry: false }) !== undefined;
  const isOurs = path.basename(real) === ".ollm" || markers.some(isThere);
  if (names.length > 0 && !isOurs) {
    throw new InvalidRequest(`${home} does not look like a home of ollm: it has none of its files`, {
      next: { step: "setHome", to: "the folder that ollm used" },
    });
  }
  return listContent(home);
}

async function listContent(home: string) {
  const names = await readdir(home);
  const meaningOf = (name: string) => parts.find(({ pattern }) => pattern.test(name))?.meaning;
  return {
    parts: names.flatMap((name) => {
      const [at, meaning] = [path.join(home, name), meaningOf(name)];
      return meaning === undefined ? [] : [{ path: at, meaning, bytes: sizeOf(at) }];
    }),
    /** Names that ollm did not create; they are kept. */
    foreign: names.filter((name) => meaningOf(name) === undefined),
  };
}

/**
 * Deletes the files of ollm in a home that `homeContent` accepted, including those written since, then the folder if it is
 * empty. Returns the names that are kept.
 */
export async function deleteHome(home: string): Promise<readonly string[]> {
  const content = await listContent(home);
  for (const part of content.parts) await rm(part.path, { recursive: true, force: true, maxRetries: 3 });
  if (content.foreign.length > 0) return content.foreign;
  await rmdir(home).catch((error: unknown) => {
    // Another program has created a file there.
    if (codeOf(error) !== "ENOTEMPTY") throw error;
  });
  return [];
}

/** Bytes on disk of a file, or of everything in a folder; links are not followed. */
function sizeOf(at: string): number {
  const facts = lstatSync(at, { throwIfNoEntry: false });
  if (facts === undefined) return 0;
  if (!facts.isDirectory()) return facts.size;
  // A folder that was deleted or is not readable counts as 0 bytes.
  const names = orUndefined(() => readdirSync(at)) ?? [];
  return names.reduce((sum, name) => sum + sizeOf(path.join(at, name)), 0);
}
