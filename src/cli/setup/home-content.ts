import { lstatSync, readdirSync, type Dirent } from "node:fs";
import { readdir, realpath, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";

/** The files and folders that ollm creates in a home. Nothing else in it is ever deleted. */
const parts: readonly { readonly pattern: RegExp; readonly meaning: string }[] = [
  { pattern: /^models$/, meaning: "models" },
  { pattern: /^engines$/, meaning: "the embedded engine" },
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
      /^\.?(memory|preferences|trust|comparisons|learned|loads|metrics|observations|state|decisions|summary)\.(jsonl?|journal)(\..*)?$/,
    meaning: "memories and statistics",
  },
];

/**
 * Any of these files identifies a home. Folders such as `models` or `app` don't: Ollama's home has `models/manifests`.
 */
const markers = ["run/token", "run/http-token", "logs/daemon.log", "logs/calls.log"];

export interface HomePart {
  readonly path: string;
  readonly meaning: string;
  /** Size on disk; links are not followed. */
  readonly bytes: number;
}

export interface HomeContent {
  readonly parts: readonly HomePart[];
  /** Names that ollm did not create; they are kept. */
  readonly foreign: readonly string[];
}

/**
 * Lists what `deleteHome` would delete; undefined if the folder does not exist. Throws `InvalidRequest` for a drive, the
 * user's home or a folder above it, and a folder without files of ollm.
 */
export async function homeContent(home: string, userHome: string): Promise<HomeContent | undefined> {
  const facts = await stat(home).catch(() => undefined);
  if (facts === undefined) return undefined;
  const real = await realpath(home);
  const realUser = await realpath(userHome).catch(() => userHome);
  const relative = path.relative(real, realUser);
  const isAboveHome = relative === "" || (!path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..");
  if (!facts.isDirectory() || isAboveHome || path.parse(real).root === real) {
    throw new InvalidRequest(`${home} is not a folder of ollm; nothing in it was deleted`, {
      next: { step: "setHome", to: "the folder that ollm used" },
    });
  }
  const names = await readdir(home);
  const isOurs = path.basename(real) === ".ollm" || markers.some((marker) => isThere(path.join(home, marker)));
  if (names.length > 0 && !isOurs) {
    throw new InvalidRequest(`${home} does not look like a home of ollm: it has none of its files`, {
      next: { step: "setHome", to: "the folder that ollm used" },
    });
  }
  return listContent(home);
}

async function listContent(home: string): Promise<HomeContent> {
  const names = await readdir(home);
  const known = names.flatMap((name) => {
    const part = parts.find(({ pattern }) => pattern.test(name));
    return part === undefined ? [] : [{ name, meaning: part.meaning }];
  });
  return {
    parts: known.map(({ name, meaning }) => {
      const at = path.join(home, name);
      return { path: at, meaning, bytes: sizeOf(at) };
    }),
    foreign: names.filter((name) => !known.some((one) => one.name === name)),
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
    if (!(error instanceof Error && "code" in error && error.code === "ENOTEMPTY")) throw error;
  });
  return [];
}

/** Bytes of a file, or of everything in a folder. */
function sizeOf(at: string): number {
  const facts = lstatSync(at, { throwIfNoEntry: false });
  if (facts === undefined) return 0;
  if (!facts.isDirectory()) return facts.size;
  return list(at).reduce((sum, entry) => sum + sizeOf(path.join(at, entry.name)), 0);
}

function list(folder: string): readonly Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // Deleted or not readable: counts as 0 bytes.
    return [];
  }
}

function isThere(at: string): boolean {
  return lstatSync(at, { throwIfNoEntry: false }) !== undefined;
}
