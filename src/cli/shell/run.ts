import { realpath, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/errors.ts";
import { formatDuration } from "../../orchestrator/text/format-duration.ts";
import { formatBytes } from "../../orchestrator/text/format-bytes.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import type { CommandIo } from "../commands/io.ts";
import { createAnswerStream } from "./answer-stream.ts";
import { report, withSession, type Session } from "./session.ts";
import { inShellWords } from "./shell-words.ts";
import { show } from "./show.ts";
import { styled } from "./table.ts";
import { pipedInto, variablesOf } from "./template-input.ts";
import { parseJson } from "../../orchestrator/text/parse-json.ts";
import { oneLine } from "../../orchestrator/text/control-characters.ts";

/** Of `ollm run`, under the names of its flags. */
export interface RunFlags {
  readonly model?: string;
  readonly file?: readonly string[];
  readonly image?: readonly string[];
  readonly system?: string;
  readonly task?: NonNullable<GenerateInput["task"]>;
  readonly profile?: string;
  readonly template?: string;
  readonly var?: readonly string[];
  /** `json`, or the file of a JSON Schema. */
  readonly format?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly contextSize?: number;
  readonly think?: boolean;
  /** False with `--no-memory`. */
  readonly memory?: boolean;
  readonly explain?: boolean;
  readonly json?: boolean;
  readonly output?: string;
}

type GenerateInput = ToolInputs["route_and_generate"];
export type Generated = ToolAnswers["route_and_generate"];

/** `ollm run [model] prompt...`: the answer to stdout as it comes, or to a file. A model alone, at a terminal, is a chat. */
export async function run(words: readonly string[], flags: RunFlags, io: CommandIo): Promise<number> {
  let named: NamedFiles;
  try {
    named = await locateFiles(flags, io);
  } catch (error) {
    return report(error, io);
  }
  let chatModel: string | undefined;
  const options = { roots: named.roots, noTerminalHint: missingVariableHint };
  const exitCode = await withSession(io, options, async (session) => {
    const input = checkedInput(await io.readInput?.(session.signal));
    const split = await splitWords(words, flags, input, session);
    const given = flags.var === undefined ? undefined : variablesOf(flags.var);
    // A template's text is what its variable is for; behind it stands only what was asked beside.
    const filled = flags.template && input ? await pipedInto(flags.template, given ?? {}, input, session) : undefined;
    const variables = filled === undefined ? given : { ...given, ...filled };
    const prompt = filled === undefined ? withInput(split.prompt, input) : split.prompt;
    if (prompt === undefined && flags.template === undefined) {
      chatModel = io.isTerminal ? split.model : undefined;
      if (chatModel !== undefined) return 0;
      throw new InvalidRequest("run needs a prompt", { hint: 'ollm run "Why is the sky blue?"' });
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

/** The hint for a template's missing variable where the user can't be asked. */
export const missingVariableHint =
  "Give it with --var name=value (a text also with --var text=... or --file), or run this in a terminal.";

/** A message to the daemon has at most 4 MiB; a file is read there, and has no such bound. */
const maxInputBytes = 3 * 1024 * 1024;

/** What was piped in. Throws `InvalidRequest` for what no model reads. */
function checkedInput(input: string | undefined): string | undefined {
  if (input === undefined) return undefined;
  if (input.includes("\0")) {
    throw new InvalidRequest("what is piped in is no text: binary data", { hint: "convert it to text first" });
  }
  const bytes = Buffer.byteLength(input);
  if (bytes <= maxInputBytes) return input;
  throw new InvalidRequest(`what is piped in is ${formatBytes(bytes)}, more than ${formatBytes(maxInputBytes)}`, {
    hint: 'put it into a file: ollm run --file FILE "Summarise this"',
  });
}

interface NamedFiles {
  readonly files: readonly string[];
  readonly images: readonly string[];
  /** Their folders: naming a file allows it. */
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
    roots: foldersOf([...files, ...images]),
    format: format === undefined || format === "json" ? format : await readSchema(format, io),
    output,
  };
}

/** The folders of files, each once: naming a file on the command line allows it. */
export function foldersOf(files: readonly string[]): readonly string[] {
  return [...new Set(files.map((file) => path.dirname(file)))];
}

/** Absolute and resolved. Throws `InvalidRequest`. */
export async function located(file: string, io: CommandIo): Promise<string> {
  try {
    return await realpath(path.resolve(io.workingDirectory, file));
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** Before a model works for minutes. Throws `InvalidRequest`. */
async function checkTarget(output: string, io: CommandIo): Promise<void> {
  await located(path.dirname(output), io);
  const isFolder = await stat(output).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) throw new InvalidRequest(`${output} is a folder`, { hint: "name a file: --output answer.txt" });
}

async function readSchema(file: string, io: CommandIo): Promise<Readonly<Record<string, unknown>>> {
  const text = await readFile(path.resolve(io.workingDirectory, file), "utf8").catch((error: unknown) => {
    throw unreadable(file, error);
  });
  try {
    return parseJson(text) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new InvalidRequest(`${file} is no JSON Schema (${String(error)})`, { hint: "--format json needs no file" });
  }
}

function unreadable(file: string, cause: unknown): InvalidRequest {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
  return new InvalidRequest(code === "ENOENT" ? `${file} was not found` : `${file} can't be read (${code})`, { cause });
}

/** `qwen:7b summarise this`: a first word that is a model's name is one, where something is left to ask it. */
async function splitWords(
  words: readonly string[],
  { model, template }: RunFlags,
  input: string | undefined,
  session: Session,
): Promise<{ readonly model?: string | undefined; readonly prompt?: string | undefined }> {
  const [first = "", ...rest] = words;
  const prompt = words.length === 0 ? undefined : words.join(" ");
  const mayBeModel = rest.length > 0 || Boolean(input) || template !== undefined || session.io.isTerminal;
  if (model !== undefined || !mayBeModel || !/^[\w./:-]+$/.test(first)) return { model, prompt };
  return (await namesModel(first, rest, session))
    ? { model: first, prompt: rest.length === 0 ? undefined : rest.join(" ") }
    : { prompt };
}

/** Also one that isn't there, where it can hardly mean anything else: the answer names the nearest, or how to pull it. */
async function namesModel(first: string, rest: readonly string[], { call, read }: Session): Promise<boolean> {
  if (/^[\w.-]+(\/[\w.-]+)*:[\w.-]+$/.test(first)) return true;
  const { structured } = await call("list_models", { query: first, limit: 1_000 });
  const held = structured.models.map(({ name }) => name);
  if (held.includes(first) || held.includes(`${first}:latest`)) return true;
  // "solar" may begin a sentence; "llama3.2" doesn't, nor does a word alone or before a prompt in quotes.
  const isApart = rest.length === 0 || rest.some((word) => /\s/.test(word)) || /\d/.test(first);
  if (!isApart) return false;
  const { entries } = await read("ollm://models/database");
  const families = [...held, ...entries.map(({ pattern }) => pattern)].map((name) => name.replace(/:.*/, ""));
  return families.includes(first.toLowerCase());
}

/** What was piped in stands before the question, as files do; alone it is the question. */
export function withInput(prompt: string | undefined, input: string | undefined): string | undefined {
  const text = input?.trimEnd() ?? "";
  if (text === "") return prompt;
  if (prompt === undefined) return text;
  // No backticks, which would make every text program text to routing; and longer than any fence in it.
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
    explain: flags.explain,
  };
}

async function generate(
  request: GenerateInput,
  flags: RunFlags,
  target: string | undefined,
  { call, io }: Session,
): Promise<number> {
  const stream = flags.json === true || target !== undefined ? undefined : createAnswerStream(io);
  let answer: Generated;
  try {
    const result = await call("route_and_generate", request, {
      ...(stream && { onText: (note) => stream.onText(note) }),
    });
    answer = result.structured;
  } catch (error) {
    stream?.cut();
    throw error;
  }
  const { text = "" } = answer;
  stream?.end(text);
  if (target !== undefined) {
    await writeFile(target, text.endsWith("\n") ? text : `${text}\n`).catch((error: unknown) => {
      throw new OrchestratorError(`${target} could not be written (${String(error)})`, { cause: error });
    });
    io.stderr(`wrote ${text.length} characters to ${target}\n`);
  }
  if (flags.json === true) show(answer, flags, io, () => "");
  else io.stderr(noteLines(answer, flags.explain === true, io));
  return 0;
}

/** What is said of an answer, on stderr: what we did otherwise always, the rest at a terminal or when asked for. */
function noteLines(answer: Generated, isExplained: boolean, io: CommandIo): string {
  const lines = [
    ...said(answer, "--max-tokens sets how many"),
    ...(isExplained ? explanation(answer) : io.errorColumns === undefined ? [] : [summary(answer)]),
  ];
  return lines.map((line) => `${styled(oneLine(line), "dim", io)}\n`).join("");
}

/** What everybody is told of an answer: that it is empty or cut off, and where, and what was done otherwise than asked. */
export function said(
  answer: Pick<Generated, "text" | "finish_reason" | "completion_tokens" | "notes">,
  advice: string,
): readonly string[] {
  const { text = "", finish_reason, completion_tokens, notes = [] } = answer;
  const empty = text.trim() === "" ? ["the model answered with nothing"] : [];
  const cut = `cut${completion_tokens === undefined ? "" : ` after ${completion_tokens} tokens`}; ${advice}`;
  return [...empty, ...(finish_reason === "length" ? [cut] : []), ...notes.map((note) => inShellWords(note))];
}

/** `smollm2:135m, 41 tokens/s: smallest that fits` */
export function summary({ model, tokens_per_second, reason }: Generated): string {
  return `${model}${tokens_per_second === undefined ? "" : `, ${tokens_per_second} tokens/s`}: ${reason}`;
}

function profileWords({ profile, fallback }: NonNullable<Generated["route"]>): string {
  return `profile ${profile}${fallback === undefined ? "" : `, served by ${fallback}`}`;
}

function explanation(answer: Generated): readonly string[] {
  const { route, timing, memory_used } = answer;
  return [
    summary(answer),
    ...(route === undefined ? [] : [`task ${route.task}: ${route.because}; ${profileWords(route)}`]),
    ...(route?.considered ?? []).map(({ model, rejected }) => `  ${model}: ${rejected ?? "candidate"}`),
    ...(route?.attempts ?? []).map(({ model, outcome }) => `  tried ${model}: ${outcome}`),
    ...(timing === undefined
      ? []
      : [
          `waited ${formatDuration(timing.queue_ms)}, loaded ${formatDuration(timing.load_ms)}, ` +
            `first token after ${formatDuration(timing.first_token_ms)}`,
        ]),
    ...(memory_used === undefined ? [] : [`remembered: ${memory_used.keys.join(", ")} (${memory_used.tokens} tokens)`]),
  ];
}
