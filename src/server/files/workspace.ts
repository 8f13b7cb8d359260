/** A copy of files of the user that a worker changes: `OLLM_HOME/work/ID`, with `b` as it is, and `a` as what it changed was. */
import { constants } from "node:fs";
import { copyFile, cp, lstat, mkdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { devNull } from "node:os";
import path from "node:path";
import { Cancelled, InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { Delegated, Verdict, Worker, Workspace } from "../../orchestrator/api/facade-batches.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { withoutControls } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes, shortened } from "../../orchestrator/util/format-bytes.ts";
import { codeOf, orUndefined } from "../../orchestrator/util/values.ts";
import { isStarted, keepWork, refusedName } from "./apply-work.ts";
import { type GitOptions, runGit } from "./git-run.ts";
import { runSandboxed } from "./sandbox.ts";

const most = { files: 5_000, bytes: 256 * 1024 ** 2, fileBytes: 8 * 1024 ** 2, diffBytes: 4 * 1024 ** 2 };
const shown = { characters: 6_000, lines: 400, found: 50, lineCharacters: 200, names: 400 };

interface CopyParts {
  readonly home: string;
  readonly id: string;
  /** The user's folder, resolved. */
  readonly base: string;
  /** Relative to it, with `/`. */
  readonly names: readonly string[];
  readonly git: GitOptions;
  /** What it consists of is not changed. */
  readonly verifier?: Worker["verifier"];
}

/** Makes the copy, which no other user may read. Throws `InvalidRequest` when there is too much to copy. */
export async function createWorkspace(parts: CopyParts): Promise<Workspace> {
  const folder = path.join(parts.home, "work", parts.id);
  await mkdir(path.dirname(folder), { recursive: true, mode: 0o700 });
  await mkdir(folder, { mode: 0o700 });
  try {
    await mkdir(path.join(folder, "b"));
    const { copied, left } = await copyAll(parts, folder);
    return new Copy(parts, await realpath(folder), copied, left);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (error instanceof InvalidRequest) throw error;
    throw new InvalidRequest(`the files can't be copied to ${folder} (${codeOf(error) ?? "unknown error"})`, {
      next: advice("check the free space of the disk"),
      cause: error,
    });
  }
}

/** Copies regular files; links, secrets and files that are too large stay out. */
async function copyAll({ base, names }: CopyParts, folder: string) {
  const next = advice("name a folder or patterns");
  const copied: string[] = [];
  const left: string[] = [];
  const all = new Set(names);
  if (all.size > most.files)
    throw new InvalidRequest(`${counted(all.size, "file")} would be copied; at most ${most.files} are`, { next });
  let bytes = 0;
  for (const name of all) {
    const from = path.join(base, name);
    const above = path.dirname(from);
    const facts = await lstat(from).catch(() => undefined);
    // A file of the index may be gone, a submodule is a folder, and what is below a link is elsewhere.
    if (facts?.isFile() !== true || (await realpath(above).catch(() => undefined)) !== above) continue;
    if (refusedName(name) !== undefined || isSecret(name) || facts.size > most.fileBytes) {
      left.push(name);
      continue;
    }
    bytes += facts.size;
    if (bytes > most.bytes) throw new InvalidRequest(`more than ${formatBytes(most.bytes)} would be copied`, { next });
    await copyInto(path.join(folder, "b"), name, from);
    copied.push(name);
  }
  return { copied, left };
}

async function copyInto(folder: string, name: string, from: string): Promise<void> {
  const to = path.join(folder, name);
  await mkdir(path.dirname(to), { recursive: true });
  await copyFile(from, to, constants.COPYFILE_FICLONE);
}

/** A name without `./` before it and `/` behind it, as models write those of folders. */
const plainName = (name: string): string => name.replace(/^(?:\.\/)+/, "");

const testFile = /(?:^|\/)(?:tests?|__tests__|specs?|fixtures?)\/|[._-](?:test|spec)s?\.\w+$|(?:^|\/)test_[^/]*$/i;
const scriptFile = /\.(?:[cm]?[jt]sx?|py|rb|pl|php|sh|bash|ps1|bat|cmd)$/i;
const testSettings =
  /^(?:package\.json|makefile|justfile|conftest\.py|pyproject\.toml|pytest\.ini|tox\.ini|setup\.(?:cfg|py)|sitecustomize\.py|usercustomize\.py|build\.rs|[\w.-]+\.config\.[cm]?[jt]s|\.\w+rc(?:\.\w+)?)$/i;

/**
 * Whether a change of this file may make the verifier pass without the work: a script that its command names, a file that
 * says how tests are run, or a test that there is (a new one takes none away). Data that a command names is its subject.
 */
function isPartOfCheck(name: string, verify: readonly string[], exists: boolean): boolean {
  const words = verify.flatMap((word) => word.split(/[\s;&|()'"=]+/)).map(plainName);
  if (exists && words.includes(name) && scriptFile.test(name)) return true;
  return testSettings.test(path.posix.basename(name)) || (exists && testFile.test(name));
}

/** Files with keys, which are not copied. */
function isSecret(name: string): boolean {
  const base = path.posix.basename(name);
  return (
    /^(?:id_(?:rsa|dsa|ecdsa|ed25519)|credentials|\.netrc|\.pypirc)$|\.(?:pem|key|p12|pfx|keystore)$/i.test(base) ||
    /^\.env(?:\.(?!example$|sample$|template$).*)?$/i.test(base)
  );
}

class Copy implements Workspace {
  readonly id: string;
  readonly notes: readonly string[];
  readonly #parts: CopyParts;
  /** Resolved. */
  readonly #folder: string;
  /** The copied files. */
  readonly #before: ReadonlySet<string>;
  readonly #touched = new Set<string>();
  /** By lower-case names: two that differ in case are one file on some systems. */
  readonly #spelled: Map<string, string>;

  constructor(parts: CopyParts, folder: string, copied: readonly string[], left: readonly string[]) {
    this.id = parts.id;
    this.#parts = parts;
    this.#folder = folder;
    this.#before = new Set(copied);
    this.#spelled = new Map(copied.map((name) => [name.toLowerCase(), name]));
    const names = left.slice(0, 5).join(", ");
    const rest = left.length > 5 ? ` and ${left.length - 5} more` : "";
    this.notes = left.length === 0 ? [] : [`not copied, as a key, too large or unusable in name: ${names}${rest}`];
  }

  #names(folder = ""): readonly string[] {
    const name = plainName(folder).replace(/\/+$/, "");
    const below = name === "" || name === "." ? "" : `${name}/`;
    return [...this.#spelled.values()].filter((each) => each.startsWith(below)).toSorted();
  }

  list(folder?: string): Promise<readonly string[]> {
    const names = this.#names(folder);
    const more = names.length - shown.names;
    return Promise.resolve(more > 0 ? [...names.slice(0, shown.names), `... and ${more} more`] : names);
  }

  async read(given: string, firstLine = 1): Promise<string> {
    const lines = (await this.#textOf(given)).split("\n");
    const kept: string[] = [];
    let characters = 0;
    for (const line of lines.slice(firstLine - 1, firstLine - 1 + shown.lines)) {
      characters += line.length + 1;
      if (characters > shown.characters && kept.length > 0) break;
      kept.push(shortened(line, shown.characters));
    }
    const last = firstLine - 1 + kept.length;
    if (firstLine === 1 && last >= lines.length) return kept.join("\n");
    return `${kept.join("\n")}\n(lines ${firstLine} to ${last} of ${lines.length})`;
  }

  async grep(text: string, folder?: string): Promise<readonly string[]> {
    if (text === "") throw new InvalidRequest("the text to look for is empty");
    const found: string[] = [];
    for (const name of this.#names(folder)) {
      const whole = (await this.text(name).catch(() => undefined)) ?? "";
      for (const [at, line] of whole.includes(text) ? whole.split("\n").entries() : []) {
        if (!line.includes(text)) continue;
        if (found.length === shown.found) return [...found, "... and more"];
        found.push(`${name}:${at + 1}: ${shortened(line, shown.lineCharacters)}`);
      }
    }
    return found;
  }

  async edit(given: string, before: string, after: string): Promise<number> {
    const text = await this.#textOf(given);
    if (before === "") throw new InvalidRequest("the text to replace is empty; use write for a new file");
    // Models write the line ends of Unix.
    const isDos = text.includes("\r\n") && !before.includes("\r\n");
    const [from = "", to] = [before, after].map((each) => (isDos ? each.replaceAll("\n", "\r\n") : each));
    const places = text.split(from);
    if (places.length === 1)
      throw new InvalidRequest(`that text is not in ${given}: read it, and copy the text exactly`);
    if (places.length > 2)
      throw new InvalidRequest(`that text is ${places.length - 1} times in ${given}: add lines before or after it`);
    return this.write(given, places.join(to));
  }

  async write(given: string, text: string): Promise<number> {
    const { verify } = this.#parts.verifier ?? {};
    const name = this.#nameOf(given);
    const exists = this.#spelled.has(name.toLowerCase());
    if (isStarted(name)) throw new InvalidRequest(`${name} is obeyed by other programs, so a worker does not write it`);
    if (verify !== undefined && isPartOfCheck(name, verify, this.#before.has(name)))
      throw new InvalidRequest(`${name} belongs to the check, which a worker does not change`);
    const content = Buffer.from(text, "utf8");
    if (content.length > most.fileBytes)
      throw new InvalidRequest(`${name} would have more than ${formatBytes(most.fileBytes)}`);
    const file = this.#file("b", name);
    try {
      await mkdir(path.dirname(file), { recursive: true });
      await this.#checkPlace(name, exists);
      if (exists && !this.#touched.has(name)) await copyInto(this.#file("a"), name, file);
      await writeFile(file, content);
    } catch (error) {
      if (error instanceof InvalidRequest) throw error;
      throw new InvalidRequest(`${name} can't be written (${codeOf(error) ?? "unknown error"})`, { cause: error });
    }
    this.#spelled.set(name.toLowerCase(), name);
    this.#touched.add(name);
    return content.length;
  }

  async text(given: string): Promise<string | undefined> {
    const name = this.#nameOf(given);
    if (!this.#spelled.has(name.toLowerCase())) return undefined;
    await this.#checkPlace(name, true);
    const content = await readFile(this.#file("b", name));
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const text = orUndefined(() => decoder.decode(content));
    if (text?.includes("\0") === false) return text;
    throw new InvalidRequest(`${name} is no text in UTF-8`);
  }

  async #textOf(given: string): Promise<string> {
    const text = await this.text(given);
    if (text !== undefined) return text;
    throw new InvalidRequest(`there is no file ${shortened(JSON.stringify(given), shown.lineCharacters)}`);
  }

  /** Throws `InvalidRequest` for a name that no worker uses, or that differs in case from that of a file. */
  #nameOf(given: string): string {
    const name = plainName(given);
    const problem = refusedName(name);
    if (problem !== undefined)
      throw new InvalidRequest(`the name ${shortened(JSON.stringify(given), shown.lineCharacters)} ${problem}`);
    const known = this.#spelled.get(name.toLowerCase());
    if (known === undefined || known === name) return name;
    throw new InvalidRequest(`${name} is written ${known}`);
  }

  #file(...parts: readonly string[]): string {
    return path.join(this.#folder, ...parts);
  }

  /** The copy has no links. Should there be one after all, nothing is read or written through it. */
  async #checkPlace(name: string, exists: boolean): Promise<void> {
    const file = this.#file("b", name);
    const isFile = !exists || (await lstat(file)).isFile();
    if (!isFile || (await realpath(path.dirname(file))) !== path.dirname(file))
      throw new InvalidRequest(`${name} is not a file of the copy`);
  }

  async run(signal: AbortSignal): Promise<Verdict> {
    const { git, base: installedIn, verifier } = this.#parts;
    const { homeDirectory } = git;
    const { verify: command = [], timeout = 0 } = verifier ?? {};
    const folder = this.#file("v");
    await rm(folder, { recursive: true, force: true });
    try {
      await cp(this.#file("b"), folder, { recursive: true, mode: constants.COPYFILE_FICLONE });
      const asked = { command, folder, installedIn, homeDirectory, timeout };
      const { failure, how, output } = await runSandboxed(asked, signal);
      if (signal.aborted) throw new Cancelled("the check was cancelled", { cause: signal.reason });
      if (failure !== undefined) throw new InvalidRequest(`the check could not be started (${failure})`);
      // The lines of a stack say less than the message before them.
      const printed = withoutControls(output).replaceAll(/^\s+at .*\n?/gm, "");
      return { passed: how === undefined, how: how ?? "exit code 0", output: printed };
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async keep(signal: AbortSignal): Promise<Delegated["files"]> {
    const files: Delegated["files"][number][] = [];
    const changes: Parameters<typeof keepWork>[2][number][] = [];
    let maxBytes: number = most.diffBytes;
    for (const name of [...this.#touched].toSorted()) {
      const before = this.#before.has(name) ? await readFile(this.#file("a", name)) : undefined;
      const after = await readFile(this.#file("b", name));
      if (before?.equals(after) === true) continue;
      const kind = before === undefined ? "added" : "changed";
      changes.push({ path: name, before, after });
      const diff = await this.#diff(name, kind, signal, maxBytes);
      files.push({ path: name, kind, diff });
      maxBytes = Math.max(0, maxBytes - Buffer.byteLength(diff));
    }
    if (changes.length > 0) await keepWork(this.#folder, this.#parts.base, changes);
    await Promise.all(["a", "b"].map((each) => rm(this.#file(each), { recursive: true, force: true })));
    return files;
  }

  async #diff(name: string, kind: "added" | "changed", signal: AbortSignal, maxBytes: number): Promise<string> {
    const args = "-c core.quotepath=false diff --no-index --no-ext-diff --no-textconv --no-color --no-prefix --text --";
    const names = [kind === "added" ? "/dev/null" : `a/${name}`, `b/${name}`];
    // No repository around the home, and no settings of the user, take part.
    const variables = {
      HOME: this.#folder,
      USERPROFILE: this.#folder,
      GIT_CEILING_DIRECTORIES: path.dirname(this.#folder),
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: devNull,
    };
    try {
      const options = { ...this.#parts.git, signal };
      const run = { folder: this.#folder, variables, options, maxBytes };
      const output = await runGit([...args.split(" "), ...names], run);
      return output?.stdout.toString() ?? `(the diffs have more than ${formatBytes(most.diffBytes)})\n`;
    } catch (error) {
      if (error instanceof InvalidRequest) return `(no diff: ${error.message})\n`;
      throw error;
    }
  }

  remove(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
