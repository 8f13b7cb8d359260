import { codeOf, defined, messageOf, orUndefined } from "../../orchestrator/util/values.ts";
import { statSync } from "node:fs";
import { readdir, realpath, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { NextSteps } from "../../orchestrator/api/next-step.ts";
import { workTreeAbove } from "../../orchestrator/storage/work-tree.ts";
import { editDistance, nearestNames } from "../../orchestrator/util/nearest.ts";
import { isPattern, spokenName, splitGitName, splitPattern } from "../../orchestrator/util/file-name.ts";
import type { CommandIo } from "../terminal/io.ts";
import type { Session } from "../terminal/session.ts";
import { allModels } from "./models.ts";

/**
 * Decides between `ollm run MODEL PROMPT...` and `ollm run PROMPT...`. A name that no model has is refused where it can
 * hardly begin a prompt: it is a letter away from a name, and one argument follows. A sentence is never refused.
 */
export function meaningOf(
  first: string,
  rest: readonly string[],
  {
    installed,
    families,
  }: {
    readonly installed: readonly string[];
    /** The names of models that can be pulled, without tags. */
    readonly families: readonly string[];
  },
):
  | { readonly kind: "model" }
  | { readonly kind: "unknown"; readonly near: readonly string[] }
  | { readonly kind: "prompt"; readonly note?: string } {
  if (!mayBeName(first)) return { kind: "prompt" };
  const word = first.toLowerCase();
  if (installed.includes(first) || installed.includes(`${first}:latest`) || hasSyntaxOfName(first))
    return { kind: "model" };
  const hasDigit = /\d/.test(word) && /[a-z]/.test(word);
  const isQuoted = rest.some((each) => /\s/.test(each));
  const isSentence = rest.length > 1 && !isQuoted;
  const bases = installed.map((name) => name.replace(/:[^:]*$/, ""));
  if (bases.includes(word) && (!isSentence || hasDigit)) return { kind: "model" };
  // "solar" may begin a sentence; "llama3.2", a single word, and a word before a quoted prompt do not.
  if (families.includes(word) && (rest.length === 0 || isQuoted || hasDigit)) return { kind: "model" };
  const near = installed.filter((name, at) => isTypo(word, name) || isTypo(word, bases[at] ?? name)).slice(0, 3);
  if (near.length > 0 && !isSentence) return { kind: "unknown", near };
  const pullable = hasDigit && !isSentence ? families.filter((family) => isTypo(word, family)).slice(0, 3) : [];
  if (pullable.length > 0) return { kind: "unknown", near: pullable };
  const isLikeName = near.length > 0 || hasDigit || families.includes(word);
  // Models have lower case names: `ollm run Translate "guten Morgen"` is a prompt.
  if (!isLikeName && !(isQuoted && rest.length === 1 && first === word)) return { kind: "prompt" };
  const meant = near.length > 0 ? ` (${near.join(", ")} is installed)` : "";
  return { kind: "prompt", note: `no model is called ${first}${meant}; it is part of the prompt` };
}

/** `meaningOf` with the models that there are, which are asked for once, when a word may be a name. */
export function meaningsIn({ call, read }: Pick<Session, "call" | "read">) {
  const load = async () => {
    const [{ structured }, { entries }] = await Promise.all([
      call("list_models", { limit: allModels }),
      read("ollm://models/database"),
    ]);
    const installed = structured.models.map(({ name }) => name);
    return { installed, families: entries.map(({ pattern }) => pattern.replace(/:.*/, "")) };
  };
  let known: ReturnType<typeof load> | undefined;
  return async (first: string, rest: readonly string[]): Promise<ReturnType<typeof meaningOf>> =>
    mayBeName(first) ? meaningOf(first, rest, await (known ??= load())) : { kind: "prompt" };
}

/** Whether a word has only the characters of models' names. */
function mayBeName(word: string): boolean {
  return /^[\w./:-]+$/.test(word) && /[a-z]/i.test(word);
}

/** `name:tag`, `namespace/name:tag`, `hf.co/OWNER/REPOSITORY`; not `12:30`. */
function hasSyntaxOfName(word: string): boolean {
  return /^(?=[^:]*[a-z])[\w.-]+(?:\/[\w.-]+)*:[\w.-]+$/i.test(word) || /^(?:hf\.co|huggingface\.co)\//i.test(word);
}

/** One letter in short names, two in longer ones. Names of three letters are too near to words. */
function isTypo(word: string, name: string): boolean {
  const length = Math.min(word.length, name.length);
  if (length < 4 || Math.abs(word.length - name.length) > 2) return false;
  return editDistance(word, name.toLowerCase()) <= (length < 8 ? 1 : 2);
}

/**
 * `--file a.py b.py "Explain"` means two files, as a shell's `*.py` writes them: repeats the option before each existing
 * file that follows one. A last word without a dot or a slash is the prompt, whatever files there are.
 */
export function withRepeatedFiles(words: readonly string[], isFile: (name: string) => boolean): readonly string[] {
  const isRead = words[0] === "run" || words[0] === "compare" || (words[0] === "template" && words[1] === "render");
  if (!isRead) return words;
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  const result: string[] = [];
  let flag: string | undefined;
  for (let at = 0; at < end; at += 1) {
    const word = words[at] ?? "";
    const isBareEnd = at === words.length - 1 && !/[./\\]/.test(word);
    const [, given] = /^(-f|--file|--image|--for-each)(?:$|=)/.exec(word) ?? /^(-f)(?!-)/.exec(word) ?? [];
    if (given !== undefined) {
      flag = given;
      result.push(word);
      // The option's own value.
      if (word === given && at + 1 < end) result.push(words[(at += 1)] ?? "");
    } else if (flag !== undefined && !word.startsWith("-") && !isBareEnd && (isFile(word) || isGit(word, flag))) {
      result.push(flag, word);
    } else {
      flag = undefined;
      result.push(word);
    }
  }
  return [...result, ...words.slice(end)];
}

function isGit(word: string, flag: string): boolean {
  return flag !== "--image" && splitGitName(word) !== undefined;
}

/**
 * What to say of words of a prompt that name files: `ollm run app.py "Explain"` sends a model the name alone. `isAfterFile`:
 * other files were given, so that a first word like a path was probably meant as one of them.
 */
export function notesOnFiles(
  words: readonly string[],
  isFile: (name: string) => boolean,
  isAfterFile: boolean,
): readonly string[] {
  const isPath = (word: string) => /^\S+$/.test(word) && /[/\\]|\.\w{1,6}$/.test(word);
  const found = words.filter((word) => isPath(word) && isFile(word));
  const [first = ""] = words;
  const isMissing = isAfterFile && isPath(first) && !isFile(first) && /\.\w{1,6}$/.test(first) && words.length > 1;
  return [
    ...found.map((word) => `${word} is part of the prompt; to add the file's text: --file ${word}`),
    ...(isMissing ? [`${first} was not found; it is part of the prompt`] : []),
  ];
}

/** Whether a word names a file in `folder`. */
export function isFileIn(name: string, folder: string): boolean {
  return orUndefined(() => statSync(path.resolve(folder, name)).isFile()) === true;
}

/** The folders of files, without duplicates; of `git:staged` and the like the whole work tree. */
export async function foldersOf(files: readonly string[], { userHome }: CommandIo): Promise<readonly string[]> {
  const folders = files.map(async (file) => {
    const { folder } = splitGitName(file) ?? {};
    if (folder === undefined && isPattern(file)) return splitPattern(file).folder;
    return folder === undefined ? path.dirname(file) : ((await workTreeAbove(folder, userHome)) ?? folder);
  });
  return [...new Set(await Promise.all(folders))];
}

/**
 * The real absolute path of a file; `git:staged` and the like follow the folder. Throws `InvalidRequest` if it can't be
 * resolved.
 */
export async function located(file: string, io: CommandIo): Promise<string> {
  const git = splitGitName(file);
  const name = git === undefined ? file : (git.folder ?? ".");
  try {
    const real = await realpath(path.resolve(io.workingDirectory, name));
    return git === undefined ? real : `${real}/${git.source}`;
  } catch (error) {
    const spoken = git === undefined ? await locatedAs(file, io) : undefined;
    if (spoken !== undefined) return spoken;
    if (/^https?:/i.test(file)) throw new InvalidRequest(`${file} is an address: nothing is fetched`);
    const others = await readdir(path.dirname(path.resolve(io.workingDirectory, name))).catch(() => []);
    const names = nearestNames(path.basename(name), others, 3);
    throw unreadable(file, error, names.length === 0 ? undefined : { step: "didYouMean", names });
  }
}

/** A file under a name as assistants write it, or a pattern of files: an absolute name that the daemon understands. */
async function locatedAs(file: string, { workingDirectory, userHome }: CommandIo): Promise<string | undefined> {
  const { name, lines } = spokenName(file, userHome);
  const { folder, rest } = isPattern(name) ? splitPattern(name) : { folder: name, rest: [] };
  const real = await realpath(path.resolve(workingDirectory, folder)).catch(() => undefined);
  if (real === undefined) return undefined;
  return `${[real, ...rest].join(path.sep)}${lines === undefined ? "" : `:${lines.first}-${lines.last}`}`;
}

/** The text of a file that the user named. Throws `InvalidRequest` with `next`. */
export function textOf(file: string, io: CommandIo, next?: NextSteps): Promise<string> {
  return readFile(path.resolve(io.workingDirectory, file), "utf8").catch((error: unknown) => {
    throw unreadable(file, error, next);
  });
}

/** Writes what the user wants in a file. Throws an error that ends with `more`. */
export async function writeOutput(file: string, text: string, more = ""): Promise<void> {
  await writeFile(file, text).catch((cause: unknown) => {
    throw new OrchestratorError(`${file} could not be written (${messageOf(cause)})${more}`, { cause });
  });
}

/** The error of a file that can't be read. */
function unreadable(file: string, cause: unknown, next?: NextSteps): InvalidRequest {
  const code = codeOf(cause) ?? String(cause);
  const message = code === "ENOENT" ? `${file} was not found` : `${file} can't be read (${code})`;
  return new InvalidRequest(message, { cause, ...defined({ next }) });
}

/** The prompt with the piped input before it, as files are; without a prompt, the input itself. */
export function withInput(prompt: string | undefined, input: string | undefined): string | undefined {
  const text = input?.trimEnd() ?? "";
  if (text === "") return prompt;
  if (prompt === undefined) return text;
  // Routing takes text in backticks for code. The fence is longer than any in the input.
  const fence = '"'.repeat(Math.max(3, ...[...text.matchAll(/"{3,}/g)].map(([quotes]) => quotes.length + 1)));
  return `Input:\n${fence}\n${text}\n${fence}\n\n${prompt}`;
}
