import { Option } from "commander";
import { randomUUID } from "node:crypto";
import { mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { tasks } from "../../orchestrator/api/types.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { formatDuration, localTime } from "../../orchestrator/util/format-bytes.ts";
import { defined, fieldsIn } from "../../orchestrator/util/values.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import { type CommandIo, homeOf, type Options } from "../terminal/io.ts";
import { type Session, showCall } from "../terminal/session.ts";
import { type ShellCommand, repeated } from "./options.ts";

/** `ollm good` and `ollm bad`, and `ollm export`, which writes what was rated. */
export function addRate(program: ShellCommand): void {
  for (const rating of ["good", "bad"] as const) {
    program
      .command(rating)
      .addOption(new Option("--task <task>", "kind of task (default: that of the answer)").choices(tasks))
      .option("--model <model>", "model that answered (default: that of the answer); with --task, of any answer")
      .option("--force", "also without an answer of the last hour; counts little")
      .does((flags: Flags, io: CommandIo) => rate(rating, flags, io));
  }
  program
    .command("export")
    .option("--training", "what to export; `ollm memory export` prints saved entries")
    .addOption(new Option("--format <format>", "of the lines (default: openai)").choices(["openai", "sharegpt"]))
    .option("--task <task>", "only this kind of task; repeatable", repeated)
    .option("--source <source>", "only rated, picked or verified; repeatable", repeated)
    .option("-o, --output <file>", "a new file; a card is written beside it. Without it, show what would be written")
    .option("--forget", "delete the recorded answers instead; asks first")
    .option("-y, --yes", "don't ask")
    .loads(async () => (await import("./export.ts")).exportTraining);
}

/** An answer that can be rated. */
interface ShellAnswer {
  readonly id: string;
  readonly task: string;
  readonly model: string;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

interface Answered {
  readonly task?: string | undefined;
  readonly model?: string | undefined;
}

/** The process that runs our commands: a shell, or the shell of a script. */
interface Shell {
  readonly pid: number;
  /** Tells it from another process that has its pid later; absent where the system does not report it quickly. */
  readonly startTime?: string;
}

/** Older answers are rated with `--force` only. */
const maxAgeMs = 3_600_000;
/** After this time without an answer a shell is forgotten. */
const forgottenMs = 7 * 24 * 3_600_000;

/**
 * The last answer of each shell, in `OLLM_HOME/run/answers/PID.json`, for `ollm good` and `ollm bad`. A shell is the parent
 * process: two terminals have one each, a script has its own, and the parts of a pipe share that of the shell. A lost or
 * broken file means that no answer is known.
 */
export function createShellAnswers(folder: string, { pid, startTime }: Shell, now: () => number = Date.now) {
  const file = path.join(folder, `${pid}.json`);

  async function read(): Promise<ShellAnswer | undefined> {
    const { id, task, model, atMs, startTime: writtenIn } = fieldsIn(await readFile(file, "utf8").catch(() => ""));
    if (writtenIn !== startTime) return undefined;
    if (typeof id !== "string" || typeof task !== "string" || typeof model !== "string") return undefined;
    return typeof atMs === "number" ? { id, task, model, atMs } : undefined;
  }

  /** Those of shells that have asked nothing for long. */
  async function removeOld(): Promise<void> {
    for (const name of await readdir(folder)) {
      const other = path.join(folder, name);
      const { mtimeMs } = await stat(other);
      if (now() - mtimeMs > forgottenMs) await rm(other, { force: true });
    }
  }

  return {
    /** Before a request: if it fails or is cancelled, an earlier answer must not be taken for its own. */
    async forget(): Promise<void> {
      await rm(file, { force: true }).catch(() => undefined);
    },
    /** A home that can't be written loses it: the answer can't be rated, and is there nevertheless. */
    async note({ task, model }: Answered): Promise<ShellAnswer | undefined> {
      if (task === undefined || model === undefined) return undefined;
      const answer = { id: randomUUID(), task, model, atMs: now() };
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await removeOld();
        await writeFile(file, JSON.stringify({ ...answer, startTime }), { mode: 0o600 });
      } catch {
        // As above.
      }
      return answer;
    },
    /** Throws `InvalidRequest` with the next step if there is none, or an old one that isn't forced. */
    async last(rating: Rating, isForced = false): Promise<ShellAnswer> {
      const answer = await read();
      if (answer === undefined) {
        throw new InvalidRequest("no answer of this shell is known", {
          next: [advice("ask with `ollm run` first"), named(rating)],
        });
      }
      const ageMs = now() - answer.atMs;
      if (isForced || ageMs <= maxAgeMs) return answer;
      throw new InvalidRequest(
        `the last answer of this shell is ${formatDuration(ageMs)} old (${oneLine(answer.model)}, ${oneLine(answer.task)})`,
        { next: [advice("ask again and rate that answer"), { step: "setArgument", argument: "force", to: true }] },
      );
    },
  };
}

/** Those of the shell that runs this command. */
export async function shellAnswers(io: CommandIo) {
  const pid = process.ppid;
  // Windows takes half a second to tell.
  const startTime =
    io.platform === "win32"
      ? undefined
      : await (await import("../../orchestrator/storage/process-alive.ts")).processStartTime(pid);
  // In the run folder; importing its name would make every start read one file more.
  return createShellAnswers(path.join(homeOf(io), "run", "answers"), { pid, ...defined({ startTime }) });
}

type Rating = "good" | "bad";

function named(rating: Rating) {
  return advice(`name both: \`ollm ${rating} --task TASK --model MODEL\``);
}

type Flags = Options<{ switch: "force" | "json"; text: "task" | "model" }>;

/** `ollm good` and `ollm bad`: of the last answer of this shell, or of any answer of a model to a kind of task. */
async function rate(rating: Rating, flags: Flags, io: CommandIo): Promise<number> {
  const isNamed = flags.task !== undefined && flags.model !== undefined;
  const answer: Partial<ShellAnswer> = isNamed ? {} : await (await shellAnswers(io)).last(rating, flags.force);
  // A given task or model corrects that of the answer.
  const rated = { ...answer, task: flags.task ?? answer.task, model: flags.model ?? answer.model };
  const input = { ...inputOf(rating, rated), force: flags.force };
  return showCall("pick_winner", input, flags, io, (data) => ratedText(data, answer.atMs));
}

/** `/good` and `/bad`: of the last answer of this chat. */
export async function rateInChat(
  rating: Rating,
  chat: Pick<Session, "call"> & {
    readonly talk: { readonly answered: ShellAnswer | undefined };
    readonly io: Pick<CommandIo, "stdout">;
  },
): Promise<void> {
  const { answered } = chat.talk;
  if (answered === undefined) {
    throw new InvalidRequest("there is no answer to rate: none was asked for, or the last request failed", {
      next: [advice("ask something first"), named(rating)],
    });
  }
  if (Date.now() - answered.atMs > maxAgeMs) {
    throw new InvalidRequest(`the last answer is ${formatDuration(Date.now() - answered.atMs)} old`, {
      next: [advice("ask again and rate that answer"), advice(`run \`ollm ${rating} --force\` after the chat`)],
    });
  }
  const { structured } = await chat.call("pick_winner", inputOf(rating, answered));
  chat.io.stdout(ratedText(structured, answered.atMs));
}

/** A second rating of the same answer replaces the first. */
function inputOf(rating: Rating, { task, model, id }: Answered & { readonly id?: string | undefined }) {
  return { action: rating, task, model, answer_id: id };
}

function ratedText(
  { action, rated = "", task = "", is_hint }: ToolAnswers["pick_winner"],
  atMs: number | undefined,
): string {
  const of = atMs === undefined ? "" : ` (answer of ${localTime(new Date(atMs).toISOString()).slice(11, 16)})`;
  const hint = is_hint === true ? "; without a recent answer it counts little" : "";
  return `Rated ${oneLine(rated)} ${oneLine(action)} for ${oneLine(task)} tasks${of}${hint}\n`;
}
