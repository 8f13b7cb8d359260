import { Option } from "commander";
import { stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { taskNames } from "../../orchestrator/api/types.ts";
import { counted, formatBytes } from "../../orchestrator/util/format-bytes.ts";
import { defined, messageOf, parseJson } from "../../orchestrator/util/values.ts";
import type { ToolInputs } from "../../tools/index.ts";
import { createAnswerStream, type Generated, isUnreliable, noteLines, renderDryRun } from "../terminal/answer.ts";
import { show, hanging } from "../terminal/terminal-text.ts";
import type { CommandIo, Options } from "../terminal/io.ts";
import { orPull } from "../terminal/offer-pull.ts";
import { type Session, withSession } from "../terminal/session.ts";
import {
  foldersOf,
  isFileIn,
  located,
  meaningsIn,
  notesOnFiles,
  textOf,
  withInput,
  writeOutput,
} from "./prompt-words.ts";
import { shellAnswers } from "./rate.ts";
import { missingVariable, pipedInto, variablesOf } from "./template.ts";
import { type ShellCommand, checkOf, numberBetween, repeated } from "./options.ts";

/** `ollm run` and `ollm chat`. */
export function addGeneration(program: ShellCommand): void {
  program.commandsGroup("Ask:");
  program
    .command("run")
    .argument("[model]", "a model; a first word that names none belongs to the prompt")
    .argument("[prompt...]", "the prompt; piped input is put before it")
    .option("-m, --model <model>", "model to use (default: the best that fits)")
    .option("-f, --file <path>", "text files, or git:staged and the like, to add to the prompt; repeatable", repeated)
    .option("--image <path>", "images, for models with vision; repeatable", repeated)
    .option("-s, --system <text>", "system prompt")
    .addOption(
      new Option("--task <task>", "kind of task (default: guessed from the prompt)").choices(
        taskNames.filter((task) => task !== "embedding"),
      ),
    )
    .option("--profile <profile>", "a name from ollm profiles: vision, swarm, code, ...")
    .option("-t, --template <name>", "prompt template; --file or piped input is its text, and the prompt follows it")
    .option("--var <name=value>", "variable of the template; repeatable", repeated)
    .option("--format <format>", "json, or a JSON Schema for the answer, or a file with one")
    .option("--max-tokens <number>", "limit of tokens of the answer", numberBetween(1, 10_000_000, "whole"))
    .option("--temperature <number>", "sampling temperature, 0 to 2", numberBetween(0, 2))
    .option("--context-size <tokens>", "minimum context window", numberBetween(1, 100_000_000, "whole"))
    .option("--think", "let the model think first if it can; thoughts are shown dim")
    .addOption(
      new Option(
        "--check <check>",
        "quotes: show each statement with the line of the files it quotes; judged: a local model judges them, too; agree: the majority of 3 short answers; agree:MODEL: that model answers the same; command:NAME: one of the setting checks",
      ).argParser(checkOf),
    )
    .addOption(
      new Option(
        "--split <split>",
        "auto: read a long text in parts (the default for --file); none: refuse it",
      ).choices(["auto", "none"]),
    )
    .option("--no-grounded", "with --file and --format: keep values that don't stand in the files")
    .option("--no-memory", "don't add remembered facts to the prompt")
    .option(
      "--for-each <path>",
      "ask about each of these files, and print a summary; patterns in quotes; repeatable",
      repeated,
    )
    .addOption(
      new Option("--each <unit>", "with --for-each: files, or parts or rows of them").choices(["file", "part", "row"]),
    )
    .option("--question <text>", "with --for-each: in place of the prompt; repeatable", repeated)
    .option("--sample <number>", "with --for-each: only so many, spread over all", numberBetween(1, 10_000, "whole"))
    .option("--limit <number>", "with --for-each: only the first ones", numberBetween(1, 10_000, "whole"))
    .option("--reduce <prompt>", "with --for-each: then ask this about all answers")
    .option("--when <time>", "with --for-each: now, idle, or hours such as 22:00-06:00")
    .option("--explain", "show which models were considered, and timing")
    .option("--dry-run", "only say which model would answer, and rank the others")
    .addOption(new Option("--verbose", "Ollama's name of --explain").hideHelp().implies({ explain: true }))
    .option("-o, --output <file>", "write the answer to this file, overwriting it")
    .does((model: string | undefined, prompt: readonly string[], flags: RunFlags, io: CommandIo) =>
      askOnce(model === undefined ? [] : [model, ...prompt], flags, io),
    );

  program
    .command("chat")
    .argument("[model]", "model to use (default: the best that fits)")
    .option("-s, --system <text>", "system prompt")
    .option("--max-tokens <number>", "limit of tokens per answer", numberBetween(1, 10_000_000, "whole"))
    .option("--no-memory", "don't add remembered facts to the prompt")
    .loads(async () => (await import("./chat.ts")).chat);
}

/** Options of `ollm run`. `format` is `json`, a JSON Schema, or a file with one; `memory` is false with `--no-memory`. */
type RunFlags = Pick<
  GenerateInput,
  "model" | "system" | "task" | "profile" | "template" | "temperature" | "think" | "check" | "split" | "explain"
> &
  Pick<NonNullable<GenerateInput["for_each"]>, "each" | "sample" | "limit" | "reduce" | "when"> &
  Options<{
    switch: "json" | "grounded" | "memory" | "dryRun";
    text: "format" | "output";
    number: "maxTokens" | "contextSize";
    list: "file" | "image" | "var" | "forEach" | "question";
  }>;

type GenerateInput = ToolInputs["route_and_generate"];

/** The exit code of an answer that is printed, but that scripts must not take for granted. */
const unreliableExit = 3;

/** `ollm run [model] prompt...`: streams the answer to stdout, or writes it to a file. Only a model, in a terminal, opens a chat. */
async function askOnce(words: readonly string[], flags: RunFlags, io: CommandIo): Promise<number> {
  const isBare = words.length === 0 && flags.model === undefined && flags.template === undefined;
  // At a terminal there is no input to wait for, so the daemon isn't needed either.
  if (isBare && io.isTerminal) throw noPrompt(undefined);
  const named = await locateFiles(flags, io);
  let chatModel: string | undefined;
  const onInterrupt = flags.forEach && "interrupted; the same command continues";
  const options = { roots: named.roots, noTerminal: missingVariable, ...defined({ onInterrupt }) };
  const exitCode = await withSession(io, options, async (session) => {
    const input = checkedInput(await io.readInput?.(session.signal));
    const split = await splitWords(words, flags, session);
    const given = flags.var === undefined ? undefined : variablesOf(flags.var);
    // The input fills a variable of the template; the prompt then has the user's words only.
    const filled = flags.template && input ? await pipedInto(flags.template, given ?? {}, input, session) : undefined;
    const variables = filled === undefined ? given : { ...given, ...filled };
    const prompt = filled === undefined ? withInput(split.prompt, input) : split.prompt;
    if (prompt === undefined && flags.template === undefined && flags.question === undefined) {
      chatModel = io.isTerminal ? split.model : undefined;
      if (chatModel !== undefined) return 0;
      throw noPrompt(split.model);
    }
    const request = { ...requestOf(flags, named), model: split.model, prompt, variables };
    if (request.for_each === undefined || flags.dryRun === true) return generate(request, flags, named.output, session);
    return (await import("./run-pipeline.ts")).askForEach(request, flags, named.output, session);
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

/** The files with their folders: naming a file on the command line allows reading it. */
async function locateFiles(flags: RunFlags, io: CommandIo) {
  const files = await Promise.all((flags.file ?? []).map((file) => located(file, io)));
  const images = await Promise.all((flags.image ?? []).map((file) => located(file, io)));
  const each = await Promise.all((flags.forEach ?? []).map((file) => located(file, io)));
  const output = flags.output === undefined ? undefined : path.resolve(io.workingDirectory, flags.output);
  if (output !== undefined) await checkTarget(output, io);
  const given = flags.format;
  const format: GenerateInput["format"] = given === undefined || given === "json" ? given : await readSchema(given, io);
  return {
    files,
    images,
    each,
    roots: await foldersOf([...files, ...images, ...each], io),
    format,
    output,
  };
}

/** Checks the output file before a model works for minutes. Throws `InvalidRequest`. */
async function checkTarget(output: string, io: CommandIo): Promise<void> {
  await located(path.dirname(output), io);
  const found = await stat(output).catch(() => undefined);
  if (found?.isDirectory() === true)
    throw new InvalidRequest(`${output} is a folder`, { next: advice("name a file: --output answer.txt") });
}

/** The JSON Schema of `--format`: the JSON itself, or a file's. */
async function readSchema(given: string, io: CommandIo): Promise<Readonly<Record<string, unknown>>> {
  const isInline = given.trimStart().startsWith("{");
  const text = isInline
    ? given
    : await textOf(given, io, advice("--format takes json, a JSON Schema, or a file with one"));
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

/** Splits `qwen:7b summarise this` into model and prompt, if the first word names a model. Says what is in doubt. */
async function splitWords(
  words: readonly string[],
  { model, file, image }: RunFlags,
  session: Session,
): Promise<{ readonly model?: string | undefined; readonly prompt?: string | undefined }> {
  const { io } = session;
  const [first = "", ...rest] = words;
  const note = (text: string) => io.stderr(`${hanging("", `ollm: ${text}`, { columns: io.errorColumns })}\n`);
  const isThere = (name: string) => isFileIn(name, io.workingDirectory);
  const promptOf = (parts: readonly string[]): string | undefined => {
    const others = parts.filter((word) => !(file ?? []).includes(word));
    notesOnFiles(others, isThere, file !== undefined || image !== undefined).forEach(note);
    return parts.length === 0 ? undefined : parts.join(" ");
  };
  if (model !== undefined || isThere(first)) return { model, prompt: promptOf(words) };
  const meaning = await meaningsIn(session)(first, rest);
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

function requestOf(flags: RunFlags, named: Awaited<ReturnType<typeof locateFiles>>): GenerateInput {
  const { forEach, each, question: questions, sample, limit, reduce, when } = flags;
  const { system, task, profile, template, temperature, think, check, split, explain } = flags;
  const same = { system, task, profile, template, temperature, think, check, split, explain };
  return {
    ...same,
    for_each: forEach && defined({ of: named.each, each, questions, sample, limit, reduce, when }),
    files: named.files.length === 0 ? undefined : named.files,
    images: named.images.length === 0 ? undefined : named.images,
    format: named.format,
    max_tokens: flags.maxTokens,
    context_tokens: flags.contextSize,
    use_memory: flags.memory === false ? false : undefined,
    grounded: flags.grounded === false ? false : undefined,
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
  const answers = flags.dryRun === true ? undefined : await shellAnswers(io);
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
    await writeOutput(target, text.endsWith("\n") ? text : `${text}\n`);
    io.stderr(`wrote ${counted(text.length, "character")} to ${target}\n`);
  }
  if (flags.json === true) show(answer, flags, io, () => "");
  else io.stderr(noteLines(answer, flags.explain === true, io));
  return isUnreliable(answer) ? unreliableExit : 0;
}
