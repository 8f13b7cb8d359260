import nodePath, { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { defined, orUndefined } from "./values.ts";

/** The name of something in a git repository in place of a file's: `git:staged`, `app/git:diff:main`. */
export type GitName = NonNullable<ReturnType<typeof splitGitName>>;

/** Splits the name of a git source; undefined for the name of a file. */
export function splitGitName(name: string) {
  // A REF may contain slashes; of other names only the last part may begin with `git:`.
  const found = /^(?:(.*?)[\\/])?(git:(?:(?:staged|diff|log|show)(?::.*)?|[^\\/]*))$/su.exec(name);
  if (found === null) return undefined;
  const [, folder, source = ""] = found;
  return {
    /** The folder before it, for `/git:staged` the root; absent: the caller's repository. */
    ...defined({ folder: folder === "" ? "/" : folder }),
    /** The rest, from `git:` on. */
    source,
  };
}

/** A range of lines, both included, from 1. */
export interface Lines {
  readonly first: number;
  readonly last: number;
}

/**
 * A file's name as assistants write it: `@notes.txt`, `file:///home/ann/notes.txt`, `~/notes.txt`, `docs\notes.txt`,
 * `notes.txt:1-30`, `notes.txt#L5`. Without `homeFolder`, `~` stays.
 */
export function spokenName(
  given: string,
  homeFolder: string | undefined,
): { readonly name: string; readonly lines?: Lines } {
  const [, name = "", from, to] = /^@?(.*?)(?:(?::|#L)([1-9]\d{0,8})(?:-L?([1-9]\d{0,8}))?)?$/s.exec(given) ?? [];
  const first = Number(from ?? 0);
  const lines = from === undefined ? undefined : { first, last: Number(to ?? from) };
  const local = homeFolder !== undefined && /^~[\\/]/.test(name) ? join(homeFolder, name.slice(1)) : fromUri(name);
  return { name: sep === "/" ? local.replaceAll("\\", "/") : local, ...defined({ lines }) };
}

/** The path of a `file:` URI on this machine; other names as they are. */
function fromUri(name: string): string {
  // One of another machine or platform has no path here.
  return /^file:/i.test(name) ? (orUndefined(() => fileURLToPath(name)) ?? name) : name;
}

/** Whether a name is that of a template's or a pipeline's file: in one line, and not an editor's own (`.x.yaml.swp`, `.#x.yaml`). */
export function isPromptFile(name: string): boolean {
  return /^(?!\.).+\.ya?ml$/i.test(name);
}

/** Why a name is invalid for a template or a pipeline and its file; follows the name. Undefined for a valid name. */
export function nameProblem(name: string): string | undefined {
  if (!/^[A-Za-z0-9](?:[\w-]{0,62}[A-Za-z0-9])?$/.test(name)) {
    return "is not a valid name: use 1 to 64 letters, digits, - and _, with a letter or digit first and last";
  }
  // That of another prompt of the server, under which a template could not be offered.
  if (name.toLowerCase() === "memory") return "is the name of another prompt of ollm: choose another name";
  // Windows takes them for devices, with any extension.
  const isDevice = /^(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$/i.test(name);
  return isDevice ? "is the name of a device on Windows: choose another name" : undefined;
}

/** Whether a name is a pattern of files: `*.py`, `docs/**`, `{a,b}.md`. */
export function isPattern(name: string): boolean {
  return /[*?]|\{[^{}]*,[^{}]*\}/.test(name);
}

/** The folder in which a pattern's files are (`docs` of `docs/**` + `/*.md`), and the rest of the pattern. */
export function splitPattern(pattern: string): { readonly folder: string; readonly rest: readonly string[] } {
  const parts = pattern.split(/[\\/]/);
  // A brace may span a slash: `{docs/a,b}.md`.
  const at = parts.findIndex((part) => isPattern(part) || /\{[^}]*$/.test(part));
  const folder = parts.slice(0, at).join("/");
  return {
    folder: folder === "" && at > 0 ? "/" : folder,
    rest: parts.slice(at).filter((part) => part !== "" && part !== "."),
  };
}

/** Words of a prompt that look like names of files; few prompts have any. */
const fileLike =
  /(?<![\w@./\\-])(?:[\w-]+[\\/])*[\w-]+\.(?:txt|md|pdf|csv|tsv|json|ya?ml|toml|xml|html?|css|log|sql|sh|py|ipynb|[cm]?[jt]sx?|rs|go|java|kt|rb|php|cs?|cpp|h|swift|png|jpe?g|webp|gif)\b/g;
const maxLooks = 5;

/** The first few names of files in a prompt, whether there are such files or not. */
export function filesNamedIn(prompt: string): readonly string[] {
  return prompt.length > 8_000 ? [] : [...new Set(prompt.match(fileLike))].slice(0, maxLooks);
}

/** A file's text as it appears in a prompt, in a fence that is longer than any in the text. */
export function frameFile({ path, text }: { readonly path: string; readonly text: string }): string {
  const longest = Math.max(0, ...Array.from(text.matchAll(/`{3,}/g), ([run]) => run.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  // Without line breaks, which could forge a frame.
  const name = path.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
  return `File ${name}:\n${fence}\n${text}${text.endsWith("\n") ? "" : "\n"}${fence}\n\n`;
}

/** Files and prompt as one text. */
export function questionOf({
  files,
  prompt,
}: {
  readonly files?: readonly { readonly path: string; readonly text: string }[] | undefined;
  readonly prompt: string;
}): string {
  return files === undefined ? prompt : files.map(frameFile).join("") + prompt;
}

/** Whether `file` is `folder` or inside it. Both must be absolute and resolved (`realpath`); the disk is not accessed. */
export function isInside(folder: string, file: string, platform = nodePath): boolean {
  const relative = platform.relative(folder, file);
  if (relative === "") return true;
  // On Windows a path on another drive stays absolute.
  return !platform.isAbsolute(relative) && relative !== ".." && !relative.startsWith(`..${platform.sep}`);
}

/** Whether `file` is inside `folder`, and not the folder itself. */
export const isWithin = (folder: string, file: string): boolean =>
  nodePath.relative(folder, file) !== "" && isInside(folder, file);

/** Whether a folder is too broad to be a project: a drive's root, the home folder, or a folder above it. */
export function isTooBroad(folder: string, homeDirectory: string, platform = nodePath): boolean {
  return platform.parse(folder).root === folder || isInside(folder, homeDirectory, platform);
}
