import { statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { batchLines } from "../../orchestrator/util/batch-lines.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { isTooBroad, nameProblem } from "../../orchestrator/util/file-name.ts";
import { codeOf } from "../../orchestrator/util/values.ts";
import type { ToolAnswers, ToolInputs } from "../../tools/index.ts";
import { type CommandIo, askAtTerminal, homeOf, isYes, type JsonOption, type Options } from "../terminal/io.ts";
import { orPull } from "../terminal/offer-pull.ts";
import { type Session, report, showCall, withSession } from "../terminal/session.ts";
import { type Column, renderTable, show, hanging, styled, styledError } from "../terminal/terminal-text.ts";

import { foldersOf, located, writeOutput } from "./prompt-words.ts";
import { missingVariable, variablesOf } from "./template.ts";

type Answer = ToolAnswers["run_pipeline"];
type Flags = Options<{ switch: "json"; text: "output"; list: "var" | "skip" }>;

const columns: readonly Column<NonNullable<Answer["pipelines"]>[number]>[] = [
  { title: "NAME", text: ({ name }) => name },
  { title: "VARIABLES", text: ({ inputs = [] }) => inputs.join(" "), isExtra: 1 },
  { title: "FROM", text: ({ source }) => source },
  { title: "DESCRIPTION", text: ({ description }) => description, isExtra: 2 },
];

/** `ollm pipeline list`. */
export function listThem(options: JsonOption, io: CommandIo): Promise<number> {
  return showCall("run_pipeline", {}, options, io, ({ pipelines = [], problems = [] }) => {
    for (const problem of problems) io.stderr(`${oneLine(problem)}\n`);
    return renderTable(pipelines, columns, io);
  });
}

/** `ollm pipeline show`. */
export function showOne(name: string, flags: Flags, io: CommandIo): Promise<number> {
  return withAsked(name, flags, io, async (request, { call }) => {
    const found = await call("run_pipeline", { ...request, dry_run: true });
    show(found.structured, flags, io, () => `${found.text.trimEnd()}\n`);
  });
}

/** `ollm pipeline run`. */
export function runOne(name: string, flags: Flags, io: CommandIo): Promise<number> {
  return withAsked(name, flags, io, (request, session) => ran(request, flags, session));
}

type Asked = ToolInputs["run_pipeline"];

/** Files are named as seen from this folder; those of others are allowed by being named. */
async function withAsked(
  name: string,
  { var: pairs = [], skip }: Flags,
  io: CommandIo,
  work: (request: Asked, session: Session) => Promise<number | void>,
): Promise<number> {
  const named: string[] = [];
  const absolute = async (text: string): Promise<string> => {
    if (!/^(?:\.{1,2}[\\/]|[\\/])/.test(text)) return text;
    const file = await located(text, io);
    named.push(file);
    return file;
  };
  try {
    const pipeline = await absolute(name);
    const inputs: Record<string, string> = {};
    for (const [key, value] of Object.entries(variablesOf(pairs))) inputs[key] = await absolute(value);
    const roots = [io.workingDirectory, ...(await foldersOf(named, io))];
    const request = { pipeline, inputs, ...(skip !== undefined && { skip }) };
    return await withSession(io, { roots, noTerminal: missingVariable }, (session) => work(request, session));
  } catch (error) {
    return report(error, io);
  }
}

async function ran(request: ToolInputs["run_pipeline"], flags: Flags, session: Session): Promise<number> {
  const { io } = session;
  const { job, found } = await jobOf("run_pipeline", request, undefined, session);
  const { text, steps = [], failures = [], notes = [], written = [], asks } = found;
  const said = [
    ...steps.map(({ step, counts: { asked = 0, done = 0, seconds: _seconds, ...rest }, skipped }) => {
      const more = Object.entries(rest).filter(([what]) => !what.endsWith("_tokens"));
      const counts = [`${done} of ${asked} answered`, ...more.map(([what, count]) => `${count} ${what}`)];
      return `${step}: ${skipped === undefined ? counts.join(", ") : `skipped (${skipped})`}`;
    }),
    ...failures,
    ...notes.filter((note) => !note.includes(" was skipped: ")),
    ...written.map((file) => `written to ${file}`),
    ...(asks === undefined || io.isTerminal ? [] : [`to go on without it: --skip ${asks}`]),
    `all answers: ollm://results/${job}`,
  ];
  say(said, flags, io);
  if (asks !== undefined && io.isTerminal && isYes(await io.ask(`Go on without ${oneLine(asks)}? [y/N] `)))
    return ran({ ...request, skip: [...(request.skip ?? []), asks] }, flags, session);
  if (flags.output !== undefined && text !== undefined)
    await writeOutput(resolve(io.workingDirectory, flags.output), `${text.trimEnd()}\n`);
  show({ ...found, job }, flags, { stdout: io.content }, () =>
    flags.output === undefined && text !== undefined ? `${text.trimEnd()}\n` : "",
  );
  const has = (what: string): boolean => steps.some(({ counts }) => (counts[what] ?? 0) > 0);
  return text === undefined || has("failed") ? 1 : has("doubtful") ? 3 : 0;
}

/** `ollm pipeline new`. */
export function writeOne(name: string, goal: string, flags: Flags, io: CommandIo): Promise<number> {
  return withSession(io, {}, async (session) => {
    // Before a model works for it.
    const problem = nameProblem(name);
    if (problem !== undefined) throw new InvalidRequest(`${JSON.stringify(name)} ${problem}`);
    const { structured } = await orPull(session, undefined, () => session.call("run_pipeline", { goal }));
    const { yaml = "" } = structured;
    const file = join(homeOf(io), "pipelines", `${name}.yaml`);
    if (flags.json !== true) io.stdout(yaml);
    if (!io.isTerminal) {
      show({ name, yaml }, flags, io, () => "");
      return;
    }
    if (!isYes(await io.ask(`Save it as ${file}? [y/N] `))) return;
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, yaml, { flag: "wx", mode: 0o600 }).catch((cause: unknown) => {
      const next = advice("choose another name");
      throw new InvalidRequest(`${file} can't be written (${codeOf(cause) ?? String(cause)})`, { next, cause });
    });
    show({ name, file, yaml }, flags, io, () => `Saved. Run it: ollm pipeline run ${name}\n`);
    if (isYes(await io.ask("Run it now? [y/N] "))) return ran({ pipeline: name }, flags, session);
  });
}

/** `ollm run --for-each`: the job's answers on stdout or in `target`, and what they took on stderr. */
export async function askForEach(
  request: ToolInputs["route_and_generate"],
  { json }: JsonOption,
  target: string | undefined,
  session: Session,
): Promise<number> {
  const { io, read } = session;
  const { job, found } = await jobOf("route_and_generate", request, request.model, session);
  const { for_each: batch = { counts: {} }, text: reduced, notes = [], model } = found;
  const answers = await read("ollm://results/{id}", job);
  // That of --reduce is printed by itself.
  const lines = answers.replaceAll(/^\{"step":"reduce",.*\n?/gm, "").replaceAll(/^\{"step":"each",/gm, "{");
  const kept = `ollm://results/${job}`;
  if (target !== undefined) await writeOutput(target, lines, `; all answers: ${kept}`);
  const shown = lines
    .trimEnd()
    .split("\n")
    .map((line) => answerText(line, session));
  show({ ...found, job }, { json }, io, () => {
    if (reduced !== undefined) return `${reduced.trimEnd()}\n`;
    return target === undefined ? shown.join("\n") : "";
  });
  const said = [...batchLines({ ...batch, examples: [] }, model), ...notes, `all answers: ${target ?? kept}`];
  say(said, { json }, io);
  const { failed, open, doubtful } = batch.counts;
  const isWhole = failed === undefined && open === undefined;
  return isWhole ? (doubtful === undefined ? 0 : 3) : 1;
}

/** `ollm delegate`: exits with 3 for changes that no check has verified. */
export async function delegateTask(
  task: readonly string[],
  flags: Omit<ToolInputs["delegate"], "verify" | "apply"> &
    Options<{ switch: "json" | "apply"; text: "verify"; number: "maxTurns" | "maxSeconds" }>,
  io: CommandIo,
): Promise<number> {
  const { maxTurns: max_turns, maxSeconds: max_seconds, worker, profile, model, json } = flags;
  const files = (flags.files ?? ["."]).map((file) => resolve(io.workingDirectory, file));
  if (flags.files === undefined && isTooBroad(io.workingDirectory, io.userHome)) {
    const next = advice("name folders with --files");
    return report(new InvalidRequest(`${io.workingDirectory} is too much to copy`, { next }), io);
  }
  // Files are allowed by being named, and the check by being typed.
  const isFolder = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
  const inFolders = files.map((file) => (isFolder(file) ? join(file, "file") : file));
  const typed = flags.verify === undefined ? {} : { verify: ["sh", "-c", flags.verify] };
  const options = { roots: await foldersOf(inFolders, io), ...("verify" in typed && { ask: agreeing(io) }) };
  return withSession(io, options, async (session) => {
    const request = { task: task.join(" "), files, ...typed, worker, profile, model, max_turns, max_seconds };
    const { job, found } = await jobOf("delegate", request, model, session);
    const { state, summary, files: changed = [], check, tried = [], notes = [] } = found;
    show(found, flags, io, () => changed.map(({ diff }) => coloured(diff, io)).join(""));
    const failure = check?.passed === false ? (check.output ?? "").split("\n") : [];
    say([summary, ...failure, ...tried.map((each) => `tried: ${each}`), ...notes], flags, io);
    if (state === "do_it_yourself") return 1;
    const mayAsk = io.isTerminal && json !== true;
    const isAgreed =
      (flags.apply === true && state === "verified") || (mayAsk && isYes(await io.ask("Apply these changes? [y/N] ")));
    if (isAgreed) io.stderr(`${(await session.call("delegate", { apply: job })).structured.summary}\n`);
    else say([`Nothing was applied; the changes are kept as ${job} for a time.`], flags, io);
    return state === "verified" ? 0 : 3;
  });
}

/** Says yes to the check that was typed, and asks the user anything else. */
const agreeing = (io: CommandIo) => (question: Parameters<typeof askAtTerminal>[0]) => {
  const isCheck = question.fields.every(({ name }) => name.startsWith("run_"));
  return isCheck ? Promise.resolve({ [question.fields[0]?.name ?? ""]: true }) : askAtTerminal(question, io);
};

function coloured(diff: string, io: CommandIo): string {
  const paint = (line: string): string => styled(line, line.startsWith("+") ? "green" : "red", io);
  return diff.replaceAll(/^[+-].*$/gm, paint);
}

/** What is to be known beside an answer. */
function say(lines: readonly string[], { json }: JsonOption, io: CommandIo): void {
  for (const line of json === true ? [] : lines)
    io.stderr(`${styledError(hanging("", oneLine(line), { columns: io.errorColumns }), io)}\n`);
}

/** The answer of a call that is a job from its start. */
async function jobOf<Name extends "run_pipeline" | "route_and_generate" | "delegate">(
  name: Name,
  request: ToolInputs[Name],
  model: string | undefined,
  session: Session,
): Promise<{ readonly job: string; readonly found: ToolAnswers[Name] }> {
  const begun = await orPull(session, model, () => untilNotCut(() => session.call(name, request)));
  const { job = "" } = begun.structured as { readonly job?: string };
  const { result, error } = await waitFor(job, session);
  if (result === undefined) throw new OrchestratorError(error ?? `${job} has no result`);
  return { job, found: result as ToolAnswers[Name] };
}

/** Waits for the end of a job; Ctrl-C cancels it. */
async function waitFor(job: string, { call, signal }: Session): Promise<ToolAnswers["job"]> {
  try {
    for (;;) {
      const { structured } = await untilNotCut(() => call("job", { action: "wait", job_id: job }));
      if (structured.state !== "running") return structured;
    }
  } catch (error) {
    // The session has ended already.
    const options = { signal: AbortSignal.timeout(10_000), progress: "never" } as const;
    if (signal.aborted) await call("job", { action: "cancel", job_id: job }, options).catch(() => undefined);
    throw error;
  }
}

/** The answer to a call that may be repeated; one that a restart of the daemon cuts is. */
async function untilNotCut<Given>(ask: () => Promise<Given>, tries = 10): Promise<Given> {
  try {
    return await ask();
  } catch (error) {
    const isCut = error instanceof OrchestratorError && error.next.some(({ step }) => step === "retry");
    if (!isCut || tries === 0) throw error;
    await setTimeout(500);
    return untilNotCut(ask, tries - 1);
  }
}

/** One answer for a person: what it is about, and what it says. */
function answerText(line: string, { io }: Session): string {
  const { item, question, text, why, state } = JSON.parse(line) as Readonly<Record<string, string | undefined>>;
  const head = styled(oneLine([item, question].filter(Boolean).join(": ")), "bold", io);
  const said = state === "failed" ? `failed: ${oneLine(why ?? "")}` : (text ?? "").trim();
  const doubt = state === "doubtful" ? `\n${styled(`(${oneLine(why ?? "")})`, "dim", io)}` : "";
  return `${head}\n${said}${doubt}\n`;
}
