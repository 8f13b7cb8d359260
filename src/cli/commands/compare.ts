import { Option } from "commander";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { tasks } from "../../orchestrator/api/types.ts";
import { plain, sideBySide, wrap } from "../../orchestrator/util/columns.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { formatBytes, formatDuration, localTime } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import type { CommandIo, JsonOption, Options } from "../terminal/io.ts";
import { createLiveColumns } from "../terminal/progress-line.ts";
import { type Session, withSession } from "../terminal/session.ts";
import { type Column, renderTable, show, styled } from "../terminal/terminal-text.ts";
import { foldersOf, located, meaningsIn, withInput } from "./prompt-words.ts";
import { type ShellCommand, repeated, numberBetween } from "./options.ts";

/** `ollm compare` and `ollm winners`, in the group of the commands that ask models. */
export function addCompare(program: ShellCommand): void {
  program
    .command("compare")
    .argument("<prompt>", "the prompt; piped input is put before it; may be last, if quoted")
    .argument("[models...]", "two to five models (default: the three that routing ranks highest)")
    .option("-f, --file <path>", "text files, or git:staged and the like, to add to the prompt; repeatable", repeated)
    .option("-s, --system <text>", "system prompt")
    .option("--judge <model>", "local model that ranks the answers blind (auto: the largest that is not compared)")
    .option("--runs <n>", "ask each model N times and show medians", numberBetween(1, 9, "whole"))
    .option("--max-tokens <number>", "limit of tokens per answer", numberBetween(1, 10_000_000, "whole"))
    .does(compare);

  program
    .command("winners")
    .option("--pick <model>", "pick this model")
    .option("--comparison <id>", "with --pick: the comparison (default: the newest)")
    .addOption(
      new Option(
        "--task <task>",
        "with --pick and --undo: the kind of task; with --pick alone, no comparison is needed (default: that of the comparison, or of the newest pick)",
      ).choices(tasks),
    )
    .option("--undo", "undo the newest pick and restore the one before")
    .does(winners);
}

type ComparisonData = ResourceData["ollm://comparisons/{id}"];
type ResultData = ComparisonData["results"][number];
type CompareInput = ToolInputs["compare"];

/** Longer answers are truncated in a terminal; `--json` prints them whole. */
const shownLines = 60;

const quoted = /^(?:"(.+)"|'(.+)'|“(.+)”)$/s;

/**
 * What is asked of which models: a quoted prompt beside names, names before a prompt, or a prompt of one word before names.
 * The quotes are those of the words, or a shell took them off. No `prompt`: that of before is meant.
 */
export async function promptAndModels(
  words: readonly string[],
  meaning: ReturnType<typeof meaningsIn>,
): Promise<{ readonly prompt?: string; readonly models: readonly string[] }> {
  const at = words.findIndex((word) => /\s/.test(word) || quoted.test(word));
  const others = words.toSpliced(at, 1);
  const isName = async (word: string, rest: readonly string[]) => (await meaning(word, rest)).kind !== "prompt";
  const areNames = (candidates: readonly string[], rest: readonly string[]) =>
    Promise.all(candidates.map((word) => isName(word, rest)));
  const whole = words[at]?.replace(quoted, "$1$2$3");
  if (whole !== undefined && (others.length === 0 || (await areNames(others, [" "])).includes(true)))
    return { prompt: whole, models: others };
  let count = 0;
  while (count < words.length && (await isName(words[count] ?? "", words.slice(count + 1)))) count += 1;
  const [models, rest] = [words.slice(0, count), words.slice(count)];
  const [first = "", ...last] = rest;
  if (count === 0 && last.length > 0 && !(await areNames(last, rest)).includes(false))
    return { prompt: first, models: last };
  return rest.length === 0 ? { models } : { prompt: rest.join(" "), models };
}

/** `ollm compare prompt [models...]`: live columns, then figures and answers, then asks for the best one. */
async function compare(
  first: string,
  others: readonly string[],
  flags: Options<{ switch: "json"; text: "judge" | "system"; number: "runs" | "maxTokens"; list: "file" }>,
  io: CommandIo,
): Promise<number> {
  const files = await Promise.all((flags.file ?? []).map((file) => located(file, io)));
  const roots = await foldersOf(files, io);
  return withSession(io, { roots }, async (session) => {
    const input = await io.readInput?.(session.signal);
    const words = [first, ...others];
    // Beside words that a shell took for one, others are names.
    const isSure = words.some((word) => /\s/.test(word));
    const meaning = isSure ? async () => ({ kind: "model" }) as const : meaningsIn(session);
    const { prompt, models } = await promptAndModels(words, meaning);
    const request = {
      prompt: withInput(prompt, input) ?? "",
      files: files.length === 0 ? undefined : files,
      judge: flags.judge,
      runs: flags.runs,
      system: flags.system,
      max_tokens: flags.maxTokens,
    };
    const comparison = await compareAndShow(request, models, flags, session);
    if (flags.json !== true) await pick(comparison, session, io.ask);
  });
}

/** Shows live columns, then figures and answers. Without `models` it compares those that routing ranks first. */
export async function compareAndShow(
  request: Omit<CompareInput, "models">,
  models: readonly string[],
  flags: JsonOption,
  session: Session,
  signal: AbortSignal = session.signal,
): Promise<ComparisonData> {
  const { io } = session;
  const asked: CompareInput = { ...request, models: models.length === 0 ? "auto" : models };
  const isLive = io.errorColumns !== undefined && flags.json !== true;
  const id = await ask(asked, models, isLive, session, signal);
  const comparison = await session.read("ollm://comparisons/{id}", id);
  show(comparison, flags, io, (found) => text(found, io));
  return comparison;
}

async function ask(
  request: CompareInput,
  models: readonly string[],
  isLive: boolean,
  { call, io }: Session,
  signal: AbortSignal,
): Promise<string> {
  const live = isLive ? createLiveColumns(models, io) : undefined;
  try {
    const { structured } = await call("compare", request, {
      signal,
      ...(live !== undefined && {
        onText: (note) => live.onText(note),
        onProgress: (message) => live.onProgress(message),
      }),
    });
    return structured.comparison_id;
  } finally {
    live?.clear();
  }
}

function text(comparison: ComparisonData, io: CommandIo): string {
  const { results, judgement, notes = [] } = comparison;
  const remarks = [
    `Order: ${comparison.order}.`,
    ...(results.some(({ is_contended }) => is_contended) ? ["* other requests ran meanwhile: not a measurement"] : []),
    ...(judgement === undefined
      ? []
      : [
          `${judgement.judge} ranks ${judgement.ranking.map((tied) => tied.join(" = ")).join(" > ")}: ${judgement.reason} (${judgement.note})`,
        ]),
    ...notes,
  ];
  const cells = io.columns ?? Number.POSITIVE_INFINITY;
  const lines = remarks
    .flatMap((line) => wrap(oneLine(line), cells, Number.POSITIVE_INFINITY))
    .map((line) => `${styled(line, "dim", io)}\n`)
    .join("");
  return `${renderTable(results, columns, io)}\n${answers(results, io)}\n${lines}`;
}

/** Answers side by side in a terminal; else one below the other, in full. */
function answers(results: readonly ResultData[], io: CommandIo): string {
  const shown = results.map(({ model, text: answer = "", error }) => ({
    title: oneLine(model),
    text: error === undefined ? answer.trim() : `failed: ${error}`,
  }));
  if (io.columns !== undefined) return `${sideBySide(shown, { width: io.columns - 1, maxLines: shownLines })}\n`;
  return shown.map((one) => `=== ${one.title} ===\n${plain(one.text)}\n`).join("\n");
}

const columns: readonly Column<ResultData>[] = [
  { title: "MODEL", text: ({ model, is_contended }) => (is_contended === true ? `${model} *` : model) },
  {
    title: "TOKENS",
    text: ({ completion_tokens, error }) => (error ? "failed" : completion_tokens),
    isNumber: true,
    isExtra: 3,
  },
  { title: "TOKENS/S", text: ({ tokens_per_second }) => tokens_per_second?.toFixed(1), isNumber: true },
  { title: "FIRST TOKEN", text: ({ first_token_ms }) => formatDuration(first_token_ms), isNumber: true, isExtra: 0 },
  { title: "TOTAL", text: ({ total_ms }) => formatDuration(total_ms), isNumber: true },
  {
    title: "LOAD",
    text: ({ load_ms }) => (load_ms === 0 ? "loaded" : formatDuration(load_ms)),
    isNumber: true,
    isExtra: 1,
  },
  { title: "MEMORY", text: ({ memory_bytes: bytes }) => bytes && formatBytes(bytes), isNumber: true, isExtra: 2 },
];

/** Asks for the best model; without a terminal, shows the command to pick it. */
export async function pick(
  { id, task, results }: ComparisonData,
  session: Session,
  askUser: CommandIo["ask"],
): Promise<void> {
  const { io } = session;
  const names = results.filter(({ error }) => error === undefined).map(({ model }) => model);
  if (!io.isTerminal) {
    io.stderr(`to prefer one for ${task} tasks: ollm winners --pick MODEL --comparison ${id}\n`);
    return;
  }
  const choices = names.map((name, index) => `${index + 1} ${oneLine(name)}`).join(", ");
  for (;;) {
    const answer = await askUser(`Which answer is best? ${choices} (Enter: none) `);
    if (answer === "") return;
    const model = names[Number(answer) - 1] ?? names.find((name) => name === answer);
    if (model !== undefined) return pickWinner({ comparison_id: id, model }, {}, session);
    io.stderr(`  Enter a number from 1 to ${names.length}.\n`);
  }
}

/** `ollm winners`: lists the picks of comparisons, makes one, or undoes the newest. */
function winners(
  flags: Options<{ switch: "undo" | "json"; text: "pick" | "comparison" | "task" }>,
  io: CommandIo,
): Promise<number> {
  return withSession(io, {}, async (session) => {
    if (flags.undo === true && flags.pick !== undefined) {
      throw new InvalidRequest("--undo and --pick exclude each other", { next: advice("leave out one of them") });
    }
    if (flags.undo === true) {
      const { structured } = await session.call("pick_winner", { action: "undo", task: flags.task });
      show(structured, flags, io, undoneText);
    } else if (flags.pick !== undefined) {
      const { comparison, task } = flags;
      await pickWinner({ comparison_id: comparison, model: flags.pick, task }, flags, session);
    } else {
      const { structured } = await session.call("pick_winner", { action: "list" });
      show(structured, flags, io, ({ preferences }) => list(preferences, io));
    }
  });
}

/** Makes a model the preferred one for its kind of task, and shows how to undo it. */
async function pickWinner(
  choice: ToolInputs["pick_winner"],
  options: JsonOption,
  { call, io }: Session,
): Promise<void> {
  const { structured } = await call("pick_winner", choice);
  show(structured, options, io, ({ picked }) =>
    picked === undefined
      ? ""
      : `Routing now prefers ${oneLine(picked.model)} for ${oneLine(picked.task)} tasks (undo: ollm winners --undo)\n`,
  );
}

/** What holds for the task after an undo. */
function undoneText({ undone, preferences }: ToolAnswers["pick_winner"]): string {
  if (undone === undefined) return "";
  const task = oneLine(undone.task);
  const preferred = preferences.find((preference) => preference.task === undone.task)?.model;
  if (preferred === undefined) return `Routing no longer prefers a model for ${task} tasks\n`;
  return preferred === undone.model
    ? `Routing still prefers ${oneLine(preferred)} for ${task} tasks, by an earlier pick\n`
    : `Routing now prefers ${oneLine(preferred)} for ${task} tasks, no longer ${oneLine(undone.model)}\n`;
}

function list(preferences: ToolAnswers["pick_winner"]["preferences"], io: CommandIo): string {
  if (preferences.length === 0) return "No model has been picked yet; `ollm compare PROMPT` ends with a pick.\n";
  return renderTable(
    preferences,
    [
      { title: "TASK", text: ({ task }) => task },
      { title: "MODEL", text: ({ model }) => model },
      { title: "PICKED", text: ({ picked_at }) => localTime(picked_at).slice(0, 10) },
      { title: "COMPARISON", text: ({ comparison_id }) => comparison_id, isExtra: 1 },
    ],
    io,
  );
}
