import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { counted, formatBytes, formatCost, formatShare, localTime } from "../../orchestrator/util/format-bytes.ts";
import type { ResourceData } from "../../resources/index.ts";
import { agree, type CommandIo, type Options } from "../terminal/io.ts";
import { type Session, showRead, withSession } from "../terminal/session.ts";
import { type Column, renderTable, show, cutTo, styled } from "../terminal/terminal-text.ts";
import { type ShellCommand, numberBetween } from "./options.ts";
import { foldersOf, located } from "./prompt-words.ts";

type Found = ResourceData["ollm://evals/{id}"];
type Flags = Options<{
  switch: "json" | "fromRatings" | "use" | "yes";
  text: "judge";
  number: "budget" | "maxTokens";
  list: "models";
}>;

const shape =
  "id, models, cases, answered, answers, rows[{task model right scored failed undecided quality{share low high} seconds tokens_per_second memory_bytes cost}], verdicts[{profile winner text}], misses, notes";

/** `ollm eval`, with `show` and `rm`. */
export function addEval(program: ShellCommand): void {
  const command = program
    .command("eval")
    .argument("[cases...]", "files or folders: JSON lines, YAML, prompts as text, promptfoo's configuration")
    .option("--from-ratings", "cases from the comparisons in which you picked an answer; a judge decides")
    .option("--models <model...>", "models to ask (default: all on this machine that fit)")
    .option("--judge <model>", "local model for cases with a criterion (auto: the largest that is not asked itself)")
    .option("--budget <amount>", "the most that paid answers may cost, in their currency", numberBetween(0.000001, 1e6))
    .option("--max-tokens <number>", "limit of tokens per answer", numberBetween(1, 10_000_000, "whole"))
    .option("--use", "let profiles prefer the models that are better; asks first")
    .option("-y, --yes", "with --use: don't ask")
    .json(shape)
    .does((cases: readonly string[], flags: Flags, io: CommandIo) =>
      cases.length === 0 && flags.fromRatings !== true ? listEvals(flags, io) : evaluate(cases, flags, io),
    );
  command
    .command("show")
    .argument("<id>", "an id from ollm eval")
    .json(shape)
    .option("--use", "let profiles prefer the models that are better; asks first")
    .option("-y, --yes", "with --use: don't ask")
    .does((id: string, flags: Flags, io: CommandIo) => withSession(io, {}, (session) => showEval(id, flags, session)));
  command.command("rm").argument("<id...>", "ids from ollm eval").does(removeEvals);
}

/** Asks the models; while they answer, the progress line says how many answers there are. */
async function evaluate(named: readonly string[], flags: Flags, io: CommandIo): Promise<number> {
  const cases = (await Promise.all(named.map(async (name) => filesOf(await located(name, io))))).flat();
  const roots = await foldersOf(cases, io);
  return withSession(io, { roots, onInterrupt: "interrupted; the same command continues" }, async (session) => {
    const { fromRatings: from_ratings, models, judge, budget, maxTokens: max_tokens } = flags;
    const asked = { cases, from_ratings, models, judge, budget, max_tokens };
    const { structured } = await session.call("evaluate_models", asked);
    return showEval(structured.eval_id, flags, session);
  });
}

/** The files of a folder, without those below it; a file is itself. */
async function filesOf(name: string): Promise<readonly string[]> {
  if (!(await stat(name).catch(() => undefined))?.isDirectory()) return [name];
  const entries = await readdir(name, { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith(".")).map((entry) => entry.name);
  if (files.length === 0) throw new InvalidRequest(`there is no file in ${name}`);
  return files.toSorted().map((file) => path.join(name, file));
}

async function showEval(id: string, flags: Flags, session: Session): Promise<number> {
  const { io } = session;
  const found = await session.read("ollm://evals/{id}", id);
  show(found, flags, io, (data) => text(data, io));
  if (flags.use === true) await useWinners(found, flags, session);
  return found.answered === found.answers ? 0 : 1;
}

function text(found: Found, io: CommandIo): string {
  const { values, format, quotes, command, judge, nothing } = found.decided_by;
  const by = [
    ...(values > 0 ? [`${values} by values`] : []),
    ...(format > 0 ? [`${format} by their format alone`] : []),
    ...(quotes > 0 ? [`${quotes} by quotes that stand in the files, true or not`] : []),
    ...(command > 0 ? [`${command} by a command`] : []),
    ...(judge > 0 ? [`${judge} by ${found.judge ?? "a judge"}`] : []),
    ...(nothing > 0 ? [`${nothing} only timed`] : []),
  ];
  const missing = found.answers - found.answered;
  const state = found.is_running ? "it is running" : "the same command continues";
  const lines = [
    `${counted(found.cases, "case")}: ${by.join(", ")}; interval: 95 %, Wilson`,
    ...(missing > 0 ? [`${found.answered} of ${counted(found.answers, "answer")}: ${state}`] : []),
    ...(found.rows.some(({ is_contended }) => is_contended === true) ? ["* other requests ran meanwhile"] : []),
    ...found.notes,
  ];
  const verdicts = found.verdicts.map(({ profile = "all", text: said }) => `${oneLine(profile)}: ${oneLine(said)}\n`);
  const misses = found.misses
    .slice(0, shownMisses)
    .map(
      ({ case: name, model, why, text: answer = "" }) =>
        `  ${oneLine(name)}, ${oneLine(model)}: ${oneLine(why)}${answer === "" ? "" : ` (${cutTo(oneLine(answer), shownCells)})`}\n`,
    );
  const more = found.misses.length > shownMisses ? `  more: ollm eval show ${found.id} --json\n` : "";
  const isUnknown = found.rows.some(({ undecided }) => undecided > 0);
  const notRight =
    misses.length === 0 ? "" : `\nNot right${isUnknown ? ", or not known" : ""}:\n${misses.join("")}${more}`;
  const dim = lines.map((line) => `${styled(oneLine(line), "dim", io)}\n`).join("");
  return `${renderTable(found.rows, columns, io)}\n${verdicts.join("")}${dim}${notRight}`;
}

const shownMisses = 10;
/** The part of an answer that was not right which is shown. */
const shownCells = 60;

const columns: readonly Column<Found["rows"][number]>[] = [
  { title: "TASK", text: ({ task }) => task },
  { title: "MODEL", text: ({ model, is_contended }) => (is_contended === true ? `${model} *` : model) },
  { title: "RIGHT", text: ({ right, scored }) => (scored === 0 ? "" : `${right} of ${scored}`), isNumber: true },
  {
    title: "INTERVAL",
    text: ({ quality }) => quality && `${formatShare(quality.low)} to ${formatShare(quality.high)}`,
    isNumber: true,
  },
  { title: "FAILED", text: ({ failed }) => failed || undefined, isNumber: true, isExtra: 3 },
  { title: "UNDECIDED", text: ({ undecided }) => undecided || undefined, isNumber: true, isExtra: 4 },
  { title: "SECONDS", text: ({ seconds }) => seconds?.toFixed(1), isNumber: true },
  { title: "TOKENS/S", text: ({ tokens_per_second }) => tokens_per_second?.toFixed(1), isNumber: true, isExtra: 1 },
  { title: "MEMORY", text: ({ memory_bytes: bytes }) => bytes && formatBytes(bytes), isNumber: true, isExtra: 2 },
  { title: "COST", text: ({ cost }) => cost && formatCost(cost), isNumber: true },
];

function listEvals(flags: Flags, io: CommandIo): Promise<number> {
  return showRead(["ollm://evals"], flags, io, ({ evals }) => {
    if (evals.length === 0)
      return 'No eval yet: write a case a line, such as {"prompt": "17 * 3?", "expected": 51}, and run `ollm eval FILE`\n';
    return renderTable(evals, listed, io);
  });
}

const listed: readonly Column<ResourceData["ollm://evals"]["evals"][number]>[] = [
  { title: "ID", text: ({ id }) => id },
  { title: "CASES", text: ({ name, cases }) => `${name} (${cases})` },
  { title: "MODELS", text: ({ models }) => models.join(" "), isExtra: 2 },
  { title: "ANSWERS", text: ({ answered, answers }) => `${answered} of ${answers}`, isNumber: true },
  {
    title: "STATE",
    text: ({ is_running, ended_at }) => (is_running ? "running" : ended_at === undefined ? "interrupted" : "done"),
  },
  { title: "BEGUN", text: ({ created_at }) => localTime(created_at), isExtra: 1 },
];

function removeEvals(ids: readonly string[], flags: Flags, io: CommandIo): Promise<number> {
  return withSession(io, {}, async ({ call }) => {
    for (const id of ids) await call("evaluate_models", { action: "delete", eval_id: id });
    show({ deleted: ids }, flags, io, () => `Deleted ${oneLine(ids.join(", "))}\n`);
  });
}

/** Puts each model that is better than all others first in its profile, after showing the change. */
async function useWinners(found: Found, flags: Flags, { io, read, call }: Session): Promise<void> {
  const { stderr } = io;
  for (const { profile, winner } of found.verdicts) {
    if (profile === undefined) continue;
    if (winner === undefined) {
      stderr(`profiles.${oneLine(profile)} is not changed: no model is shown to be better than all others\n`);
      continue;
    }
    const { models: before = [] } = await read("ollm://profiles/{name}", profile);
    const setting = `profiles.${profile}.models`;
    if (before[0] === winner) {
      stderr(`${oneLine(setting)} begins with ${oneLine(winner)} already\n`);
      continue;
    }
    const value = [winner, ...before.filter((model) => model !== winner)];
    stderr(`${oneLine(setting)}: ${oneLine(before.join(", ") || "none")} → ${oneLine(value.join(", "))}\n`);
    if (flags.yes !== true) await agree("Change it?", io);
    await call("update_config", { action: "set", path: setting, value });
    const undo = before.length === 0 ? `unset ${setting}` : `set ${setting} ${before.join(",")}`;
    stderr(`changed; to undo: ollm config ${oneLine(undo)}\n`);
  }
}
