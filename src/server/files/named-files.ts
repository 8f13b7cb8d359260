import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type Lines, isPattern, spokenName, splitPattern } from "../../orchestrator/util/file-name.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import {
  type AllowedPath,
  type AllowedRoots,
  candidatesOf,
  isAllowed,
  lookUp,
  notFound,
  nameInRoots,
} from "./allowed-paths.ts";

/** The files that one name means. */
export interface NamedFiles {
  readonly files: readonly (AllowedPath & { readonly lines?: Lines })[];
  /** What the name was taken for, where that may surprise. */
  readonly note?: string;
}

/**
 * Finds what a name means inside the roots: a file under exactly this name; the same in one of the forms in which
 * assistants write names; the files of a pattern; the only file of that name in a folder below. Throws `InvalidRequest`.
 */
export async function findFiles(
  name: string,
  roots: AllowedRoots,
  homeFolder: string | undefined,
  /** The most that one pattern may match. */
  most = 64,
): Promise<NamedFiles> {
  if (/^https?:\/\//i.test(name)) {
    throw new InvalidRequest(`${name} is an address: this server fetches nothing`, {
      next: advice("save the page to a file and name that, or put its text into the prompt"),
    });
  }
  const spoken = spokenName(name, homeFolder);
  // Never the names of files in a root; on Windows a colon is no part of a name.
  const isSpoken = /^(?:~[\\/]|file:)/i.test(name) || (path.sep === "\\" && spoken.lines !== undefined);
  const exact = isSpoken ? undefined : await lookUp(name, roots);
  if (exact !== undefined) return { files: [exact] };
  const found = spoken.name === name ? undefined : await lookUp(spoken.name, roots);
  if (found !== undefined) return { files: [{ ...found, ...(spoken.lines && { lines: spoken.lines }) }] };
  if (isPattern(spoken.name)) return matching(name, spoken.name, roots, most);
  return below(name, spoken, roots);
}

async function matching(name: string, pattern: string, roots: AllowedRoots, most: number): Promise<NamedFiles> {
  const { folder, rest } = splitPattern(pattern);
  if (rest.includes("..")) throw new InvalidRequest(`${name}: a pattern can't have .. after its first wildcard`);
  const alternatives = alternativesOf(rest.join("/")).map((each) => each.split("/"));
  const bases = path.isAbsolute(folder) || folder !== "" ? [folder] : candidatesOf(".", roots);
  const found = new Map<string, AllowedPath>();
  let isCut = false;
  for (const base of bases) {
    const real = (await lookUp(base, roots))?.real;
    if (real === undefined) continue;
    const files = await filesBelow(real, roots);
    isCut ||= files.isCut;
    for (const relative of files.names) {
      const parts = relative.split("/");
      if (!alternatives.some((each) => matchesAll(each, parts, (one, part) => one === "**" || matchesText(one, part))))
        continue;
      const file = path.join(real, relative);
      found.set(file, { real: file, named: nameInRoots(file, roots.folders, path) });
    }
  }
  if (isCut) {
    throw new InvalidRequest(`${name}: there are more than ${maxEntries} files to search`, {
      next: advice("begin the pattern with a folder, such as docs/*.md"),
    });
  }
  if (found.size === 0)
    throw new InvalidRequest(`${name} matches no file in ${folder === "" ? roots.folders.join(", ") : folder}`);
  if (found.size > most) {
    throw new InvalidRequest(`${name} matches ${found.size} files; at most ${most} are read`, {
      next: advice("use a narrower pattern"),
    });
  }
  return { files: [...found.values()], note: `${name}: read ${found.size} ${found.size === 1 ? "file" : "files"}` };
}

/** The only file of this name in a folder below the roots; otherwise an error with near names. */
async function below(name: string, { name: wanted, lines }: ReturnType<typeof spokenName>, roots: AllowedRoots) {
  if (path.isAbsolute(wanted) || wanted.split(/[\\/]/).includes("..")) throw await missing(name, wanted, roots);
  const tail = `/${path.posix.normalize(wanted.replaceAll("\\", "/"))}`;
  const found = new Set<string>();
  let isCut = false;
  for (const root of roots.folders) {
    const files = await filesBelow(root, roots);
    isCut ||= files.isCut;
    for (const relative of files.names) if (`/${relative}`.endsWith(tail)) found.add(path.join(root, relative));
  }
  const [only, ...more] = found;
  // In a part of the folders it would only seem to be the only one.
  if (only === undefined || more.length > 0 || isCut) {
    const names = [...found].map((file) => nameInRoots(file, roots.folders, path));
    if (names.length > 1) {
      throw new InvalidRequest(`${name} is in ${names.length} folders`, {
        next: { step: "didYouMean", names: names.toSorted().slice(0, 3) },
      });
    }
    throw await missing(name, wanted, roots);
  }
  const named = nameInRoots(only, roots.folders, path);
  return { files: [{ real: only, named, ...(lines && { lines }) }], note: `${name} was found as ${named}` };
}

async function missing(name: string, wanted: string, roots: AllowedRoots): Promise<InvalidRequest> {
  const near = new Map<string, string>();
  for (const root of roots.folders) {
    for (const relative of (await filesBelow(root, roots)).names) {
      const base = path.posix.basename(relative);
      if (!near.has(base)) near.set(base, nameInRoots(path.join(root, relative), roots.folders, path));
    }
  }
  const names = nearestNames(path.basename(wanted), [...near.keys()], 3).flatMap((base) => near.get(base) ?? []);
  return notFound(name, roots, names);
}

/** Far more than a project has beside what is skipped. */
const maxEntries = 20_000;
const maxLevels = 16;
/** Files that hold keys, and folders of tools: a search leaves them out, and names that begin with a dot. */
const skipped = /^(?:\.|node_modules$|id_(?:rsa|dsa|ecdsa|ed25519)|credentials)|\.(?:pem|key|p12|pfx|keystore)$/i;

/** Regular files below a resolved folder, relative to it with `/`, sorted. Links are not followed. */
export async function filesBelow(folder: string, roots: AllowedRoots) {
  const names: string[] = [];
  const waiting: { readonly name: string; readonly level: number }[] = [{ name: "", level: 0 }];
  let count = 0;
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { name, level } = next;
    const entries = await readdir(path.join(folder, name), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (skipped.test(entry.name)) continue;
      count += 1;
      if (count > maxEntries) return { names: names.toSorted(), isCut: true };
      const relative = name === "" ? entry.name : `${name}/${entry.name}`;
      // The home of ollm is closed, even inside a root.
      if (!isAllowed(path.join(folder, relative), roots)) continue;
      if (entry.isFile()) names.push(relative);
      else if (entry.isDirectory() && level < maxLevels) waiting.push({ name: relative, level: level + 1 });
    }
  }
  return { names: names.toSorted(), isCut: false };
}

const maxAlternatives = 32;

/** `{a,b}.md` as `a.md` and `b.md`. */
function alternativesOf(pattern: string): readonly string[] {
  const made = [pattern];
  for (let at = 0; at < made.length; at += 1) {
    const [, before = "", inside, after = ""] = /^(.*?)\{([^{}]*,[^{}]*)\}(.*)$/s.exec(made[at] ?? "") ?? [];
    if (inside === undefined) continue;
    made.splice(at, 1, ...inside.split(",").map((each) => `${before}${each}${after}`));
    if (made.length > maxAlternatives)
      throw new InvalidRequest(`the pattern has more than ${maxAlternatives} alternatives`);
    at -= 1;
  }
  return made;
}

/** `*` is any text and `?` one character; takes no more than the product of the lengths. */
function matchesText(pattern: string, text: string): boolean {
  const isMatch = (one: string, character: string): boolean => one === "*" || one === "?" || one === character;
  return matchesAll(pattern.split(""), text.split(""), isMatch, "*");
}

/** Whether a row of patterns matches all items; `star` matches any number of them. */
function matchesAll(
  patterns: readonly string[],
  items: readonly string[],
  isMatch: (pattern: string, item: string) => boolean,
  star = "**",
): boolean {
  let [at, item, lastStar, afterStar] = [0, 0, -1, 0];
  while (item < items.length) {
    const one = patterns[at];
    if (one === star) {
      [lastStar, afterStar] = [at, item];
      at += 1;
    } else if (one !== undefined && isMatch(one, items[item] ?? "")) {
      at += 1;
      item += 1;
    } else if (lastStar >= 0) {
      afterStar += 1;
      [at, item] = [lastStar + 1, afterStar];
    } else return false;
  }
  return patterns.slice(at).every((one) => one === star);
}

/** Those of the names that a file inside the roots has. */
export async function existing(words: readonly string[], roots: AllowedRoots): Promise<readonly string[]> {
  if (roots.folders.length === 0) return [];
  const found = await Promise.all(
    words.map(async (word) => {
      const real = (await lookUp(word, roots).catch(() => undefined))?.real;
      const isFile = real !== undefined && (await stat(real).catch(() => undefined))?.isFile() === true;
      return isFile ? [word] : [];
    }),
  );
  return found.flat();
}

/** The wanted lines of a text. */
export function linesOf(named: string, text: string, lines: Lines): { path: string; text: string } {
  const all = text.split(/(?<=\n)/);
  const { first, last } = lines;
  if (first > all.length || last < first) {
    throw new InvalidRequest(`${named} has ${all.length} lines, and lines ${first} to ${last} were named`);
  }
  const end = Math.min(last, all.length);
  return { path: `${named}:${first === end ? first : `${first}-${end}`}`, text: all.slice(first - 1, end).join("") };
}
