import { lstatSync, readdirSync, type Dirent } from "node:fs";
import { readdir, realpath, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/errors.ts";

/** What a home may hold, and what it is for people. Nothing else in that folder is ever deleted. */
const parts: readonly { readonly pattern: RegExp; readonly meaning: string }[] = [
  { pattern: /^models$/, meaning: "models" },
  { pattern: /^engines$/, meaning: "the embedded engine" },
  { pattern: /^app$/, meaning: "the copy of the program" },
  { pattern: /^run$/, meaning: "what runs, and its token" },
  { pattern: /^logs$/, meaning: "logs" },
  { pattern: /^jobs$/, meaning: "results of jobs" },
  { pattern: /^templates$/, meaning: "prompt templates" },
  { pattern: /^config\.yaml$/, meaning: "settings" },
  {
    // Documents with their journals, what was set aside of them, and what a killed process left half written.
    pattern:
      /^\.?(memory|preferences|trust|comparisons|learned|loads|metrics|observations|state|decisions)\.(jsonl?|journal)(\..*)?$/,
    meaning: "what it remembers",
  },
];

/**
 * Any of these makes a folder one of ours. A `models`, an `app` or a `config.yaml` many programs have: Ollama's own home
 * has `models/manifests`.
 */
const markers = ["run/token", "run/http-token", "logs/daemon.log", "logs/calls.log"];

export interface HomePart {
  readonly path: string;
  readonly meaning: string;
  /** On disk; links are not followed. */
  readonly bytes: number;
}

export interface HomeContent {
  readonly parts: readonly HomePart[];
  /** Names that are not ours and stay. */
  readonly foreign: readonly string[];
}

/**
 * What deleting a home would delete. Undefined when there is no such folder. Throws `InvalidRequest` for one that
 * nobody should delete on our word: a drive, the user's home or what is above it, a folder without our files.
 */
export async function homeContent(home: string, userHome: string): Promise<HomeContent | undefined> {
  const facts = await stat(home).catch(() => undefined);
  if (facts === undefined) return undefined;
  const real = await realpath(home);
  const realUser = await realpath(userHome).catch(() => userHome);
  const relative = path.relative(real, realUser);
  const isAboveHome = relative === "" || (!path.isAbsolute(relative) && relative.split(path.sep)[0] !== "..");
  if (!facts.isDirectory() || isAboveHome || path.parse(real).root === real) {
    throw new InvalidRequest(`${home} is not a folder of ollm's own; nothing in it is deleted`, {
      next: { step: "setHome", to: "the folder that ollm used" },
    });
  }
  const names = await readdir(home);
  const isOurs = path.basename(real) === ".ollm" || markers.some((marker) => isThere(path.join(home, marker)));
  if (names.length > 0 && !isOurs) {
    throw new InvalidRequest(`${home} does not look like a home of ollm: none of its files are in it`, {
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
 * Deletes what is ours in a home that `homeContent` accepted (also what was written since), then the folder if nothing
 * else is in it. Answers the names that stay.
 */
export async function deleteHome(home: string): Promise<readonly string[]> {
  const content = await listContent(home);
  for (const part of content.parts) await rm(part.path, { recursive: true, force: true, maxRetries: 3 });
  if (content.foreign.length > 0) return content.foreign;
  await rmdir(home).catch((error: unknown) => {
    // Something was put there meanwhile: it is not ours.
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
    // Gone, or not ours to read: it counts as nothing.
    return [];
  }
}

function isThere(at: string): boolean {
  return lstatSync(at, { throwIfNoEntry: false }) !== undefined;
}
