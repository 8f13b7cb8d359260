import { readFile, readdir, realpath, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { workTreeAbove } from "../../orchestrator/storage/work-tree.ts";
import { counted, formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { isPattern, spokenName, splitGitName, splitPattern } from "../../orchestrator/util/file-name.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import { openVariable } from "../../orchestrator/util/open-variable.ts";
import { parseJson } from "../../orchestrator/util/parse-json.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolInputs } from "../../tools/index.ts";
import { createAnswerStream } from "../terminal/answer-stream.ts";
import { type CommandIo, inTerminal } from "../terminal/io.ts";
import { orPull } from "../terminal/offer-pull.ts";
import { type Session, report, withSession } from "../terminal/session.ts";
import { hanging } from "../terminal/terminal-text.ts";
import { allModels, show } from "./models.ts";
import { isFileIn, mayBeName, meaningOf, notesOnFiles } from "./prompt-words.ts";
import { ShellAnswers } from "./rate.ts";
import { type Generated, isUnreliable, noteLines, renderDryRun } from "./run-notes.ts";
import { messageOf } from "../../orchestrator/util/message-of.ts";
import { defined } from "../../orchestrator/util/defined.ts";

/** Options of `ollm run`. */
export interface RunFlags {
  readonly model?: string;
  readonly file?: readonly string[];
  readonly image?: readonly string[];
  readonly system?: string;
  readonly task?: NonNullable<GenerateInput["task"]>;
  readonly profile?: string;
  readonly template?: string;
  readonly var?: readonly string[];
  /** `json`, a JSON Schema, or a file with one. */
  readonly format?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly contextSize?: number;
  readonly think?: boolean;
  readonly check?: GenerateInput["check"];
  readonly split?: GenerateInput["split"];
  /** False with `--no-memory`. */
  readonly memory?: boolean;
  readonly explain?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly output?: string;
}

type GenerateInput = ToolInputs["route_and_generate"];

/** The exit code of an answer that is printed, but that scripts must not take for granted. */
const unreliableExit = 3;

/** `ollm run [model] prompt...`: streams the answer to stdout, or writes it to a file. Only a model, in a terminal, opens a chat. */
export async function run(words: readonly string[], flags: RunFlags, io: CommandIo): Promise<number> {
  let named: NamedFiles;
  try {
    const isBare = words.length === 0 && flags.model === undefined && flags.template === undefined;
    // At a terminal there is no input to wait for, so the daemon isn't needed either.
    if (isBare && io.isTerminal) throw noPrompt(undefined);
    named = await locateFiles(flags, io);
  } catch (error) {
    return report(error, io);
  }
  let chatModel: string | undefined;
  const options = { roots: named.roots, noTerminal: missingVariable };
  const exitCode = await withSession(io, options, async (session) => {
    const input = checkedInput(await io.readInput?.(session.signal));
    const split = await splitWords(words, flags, session);
    const given = flags.var === undefined ? undefined : variablesOf(flags.var);
    // The input fills a variable of the template; the prompt then has the user's words only.
    const filled = flags.template && input ? await pipedInto(flags.template, given ?? {}, input, session) : undefined;
    const variables = filled === undefined ? given : { ...given, ...filled };
    const prompt = filled === undefined ? withInput(split.prompt, input) : split.prompt;
    if (prompt === undefined && flags.template === undefined) {
      chatModel = io.isTerminal ? split.model : undefined;
      if (chatModel !== undefined) return 0;
      throw noPrompt(split.model);
    }
    return generate(
      { ...requestOf(flags, named), model: split.model, prompt, variables },
      flags,
      named.output,
      session,
    );
  });
  if (chatModel === undefined || exitCode !== 0) return exitCode;
  return (await import("./chat.ts")).chat(chatModel, { system: flags.system }, io);
}

/** The error of a call without a prompt; cron and CI have an empty stdin and no terminal to chat in. */
function noPrompt(model: string | undefined): InvalidRequest {
  const given = model === undefined ? "" : ` ${model}`;
  return new InvalidRequest(`run needs a prompt${model === undefined ? "" : ` for ${model}`}`, {
    next: [
      advice(`try \`ollm run${given} "Why is the sky blue?"\``),
      advice(`run \`ollm ${model === undefined ? "chat" : `run ${model}`}\` in a terminal to chat`),
    ],
  });
}

/** Next steps for a template's missing variable without a terminal. */
export function missingVariable(): NextSteps {
  return [advice("give it with --var NAME=VALUE, a text also with --file"), inTerminal];
}

/** A message to the daemon is limited to 4 MiB; a file is read by the daemon and is not. */
const maxInputBytes = 3 * 1024 * 1024;

/** Returns `input`. Throws `InvalidRequest` if it is binary or too large. */
function checkedInput(input: string | undefined): string | undefined {
  if (input === undefined) return undefined;
  if (input.includes("\0")) {
    throw new InvalidRequest("stdin is binary; text expected", { next: advice("convert it to text first") });
  }
  const bytes = Buffer.byteLength(input);
  if (bytes <= maxInputBytes) return input;
  throw new InvalidRequest(`stdin has ${formatBytes(bytes)}; at most ${formatBytes(maxInputBytes)} are allowed`, {
    next: advice('save it to a file: ollm run --file FILE "Summarise this"'),
  });
}

interface NamedFiles {
  readonly files: readonly string[];
  readonly images: readonly string[];
  /** The folders of the files: naming a file on the command line allows reading it. */
  readonly roots: readonly string[];
  /** A JSON Schema, or `json`. */
  readonly format: GenerateInput["format"];
  readonly output: string | undefined;
}

async function locateFiles(flags: RunFlags, io: CommandIo): Promise<NamedFiles> {
  const files = await Promise.all((flags.file ?? []).map((file) => located(file, io)));
  const images = await Promise.all((flags.image ?? []).map((file) => located(file, io)));
  const output = flags.output === undefined ? undefined : path.resolve(io.workingDirectory, flags.output);
  if (output !== undefined) await checkTarget(output, io);
  const { format } = flags;
  return {
    files,
    images,
    roots: await foldersOf([...files, ...images], io),
    format: format === undefined || format === "json" ? format : await readSchema(format, io),
    output,
  };
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

/** Checks the output file before a model works for minutes. Throws `InvalidRequest`. */
async function checkTarget(output: string, io: CommandIo): Promise<void> {
  await located(path.dirname(output), io);
  const isFolder = await stat(output).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) throw new InvalidRequest(`${output} is a folder`, { next: advice("name a file: --output answer.txt") });
}

/** The JSON Schema of `--format`: the JSON itself, or a file's. */
async function readSchema(given: string, io: CommandIo): Promise<Readonly<Record<string, unknown>>> {
  const isInline = given.trimStart().startsWith("{");
  const text = isInline
    ? given
    : await readFile(path.resolve(io.workingDirectory, given), "utf8").catch((error: unknown) => {
        throw unreadable(given, error, advice("--format takes json, a JSON Schema, or a file with one"));
      });
  try {
    return parseJson(text) as Readonly<Record<string, unknown>>;
  } catch (error) {
    const reason = messageOf(error);
    throw new InvalidRequest(`${isInline ? "--format" : given} is not a JSON Schema: ${reason}`, {
      next: [
        advice(isInline ? "correct the JSON" : "correct the file"),
        { step: "setArgument", argument: "format", to: "json" },
      ],
      cause: error,
    });
  }
}

function unreadable(file: string, cause: unknown, next?: NextSteps): InvalidRequest {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
  const message = code === "ENOENT" ? `${file} was not found` : `${file} can't be read (${code})`;
  return new InvalidRequest(message, { cause, ...defined({ next }) });
}

/** Splits `qwen:7b summarise this` into model and prompt, if the first word names a model. Says what is in doubt. */
async function splitWords(
  words: readonly string[],
  { model, file, image }: RunFlags,
  { call, read, io }: Session,
): Promise<{ readonly model?: string | undefined; readonly prompt?: string | undefined }> {
  const [first = "", ...rest] = words;
  const note = (text: string) => io.stderr(`${hanging("", `ollm: ${text}`, { columns: io.errorColumns })}\n`);
  const isThere = (name: string) => isFileIn(name, io.workingDirectory);
  const promptOf = (parts: readonly string[]): string | undefined => {
    const others = parts.filter((word) => !(file ?? []).includes(word));
    notesOnFiles(others, isThere, file !== undefined || image !== undefined).forEach(note);
    return parts.length === 0 ? undefined : parts.join(" ");
  };
  if (model !== undefined || !mayBeName(first) || isThere(first)) return { model, prompt: promptOf(words) };
  const [{ structured }, { entries }] = await Promise.all([
    call("list_models", { limit: allModels }),
    read("ollm://models/database"),
  ]);
  const installed = structured.models.map(({ name }) => name);
  const families = [...new Set(entries.map(({ pattern }) => pattern.replace(/:.*/, "")))];
  const meaning = meaningOf(first, rest, { installed, families });
  if (meaning.kind === "model") return { model: first, prompt: promptOf(rest) };
  if (meaning.kind === "unknown") throw noModel(first, rest, meaning.near);
  if (meaning.note !== undefined) note(meaning.note);
  return { prompt: promptOf(words) };
}

/** The error for a name that is nearly that of a model. The words may have been a prompt, which quotes make clear. */
function noModel(first: string, rest: readonly string[], near: readonly string[]): OrchestratorError {
  const words = [first, ...rest].join(" ");
  const isPlain = /^[\w .,:/?-]{1,60}$/.test(words);
  const [name = ""] = near;
  const asPrompt = rest.length === 0 ? `ollm run ${name} ${first}` : `ollm run "${words}"`;
  return new OrchestratorError(`no model is called ${first}`, {
    next: [
      { step: "didYouMean", names: near },
      advice(isPlain ? `if it is a prompt: \`${asPrompt}\`` : "quote the whole of it if it is a prompt"),
    ],
  });
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

function requestOf(flags: RunFlags, { files, images, format }: NamedFiles): GenerateInput {
  return {
    files: files.length === 0 ? undefined : files,
    images: images.length === 0 ? undefined : images,
    format,
    system: flags.system,
    task: flags.task,
    profile: flags.profile,
    template: flags.template,
    max_tokens: flags.maxTokens,
    temperature: flags.temperature,
    context_tokens: flags.contextSize,
    think: flags.think,
    use_memory: flags.memory === false ? false : undefined,
    check: flags.check,
    split: flags.split,
    explain: flags.explain,
    dry_run: flags.dryRun,
  };
}

async function generate(
  request: GenerateInput,
  flags: RunFlags,
  target: string | undefined,
  { call, io }: Session,
): Promise<number> {
  const isStreamed = flags.json !== true && flags.dryRun !== true && target === undefined;
  const stream = isStreamed ? createAnswerStream(io) : undefined;
  const answers = flags.dryRun === true ? undefined : await ShellAnswers.of(io);
  await answers?.forget();
  let answer: Generated;
  try {
    const result = await orPull({ call, io }, request.model, () =>
      call("route_and_generate", request, { ...(stream && { onText: (note) => stream.onText(note) }) }),
    );
    answer = result.structured;
  } catch (error) {
    stream?.cut();
    throw error;
  }
  if (flags.dryRun === true) {
    show(answer, flags, io, (planned) => renderDryRun(planned, io));
    return answer.plan?.fits === false ? 1 : 0;
  }
  const { text = "" } = answer;
  stream?.end(text);
  await answers?.note(answer);
  if (target !== undefined) {
    await writeFile(target, text.endsWith("\n") ? text : `${text}\n`).catch((error: unknown) => {
      throw new OrchestratorError(`${target} could not be written (${String(error)})`, { cause: error });
    });
    io.stderr(`wrote ${counted(text.length, "character")} to ${target}\n`);
  }
  if (flags.json === true) show(answer, flags, io, () => "");
  else io.stderr(noteLines(answer, flags.explain === true, io));
  return isUnreliable(answer) ? unreliableExit : 0;
}

export type TemplateData = ResourceData["ollm://templates/{name}"];

/** The template as the daemon has read it. */
export function readTemplate(name: string, { read }: Session): Promise<TemplateData> {
  return read("ollm://templates/{name}", name);
}

/** Parses `name=value` pairs. Throws `InvalidRequest`. */
export function variablesOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new InvalidRequest(`--var ${pair} is not NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/**
 * The piped input under the name of the variable that it fills: `text`, else the only required variable without a
 * value; undefined if there is none. Throws `InvalidRequest` if there are several.
 */
export async function pipedInto(
  name: string,
  given: Readonly<Record<string, string>>,
  piped: string,
  session: Session,
): Promise<Readonly<Record<string, string>> | undefined> {
  const { variables } = await readTemplate(name, session);
  const fillable = openVariable(
    variables.map(({ required: isRequired, ...variable }) => ({ ...variable, isRequired })),
    given,
  );
  if (fillable !== undefined) return { [fillable]: piped };
  const open = variables.filter((variable) => variable.required && !Object.hasOwn(given, variable.name));
  const [first] = open;
  if (first === undefined) return undefined;
  if (open.length === 1) return { [first.name]: piped };
  throw new InvalidRequest(`stdin could fill any of ${open.map((variable) => variable.name).join(", ")}`, {
    next: advice("give all but one of them with --var NAME=VALUE"),
  });
}
