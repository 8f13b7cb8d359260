import { homedir } from "node:os";
import { createInterface } from "node:readline/promises";
import { addAbortSignal } from "node:stream";
import { isatty } from "node:tty";
import { requireTrustedHome } from "../../ipc/trusted-home.ts";
import { Cancelled, InvalidRequest, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { resolveHome, startFolder } from "../../orchestrator/config/home.ts";
import type { Answers, Question } from "../../server/daemon/client.ts";
import { hasColours, terminalText, wrappedQuestion } from "./terminal-text.ts";
import { codeOf } from "../../orchestrator/util/values.ts";

interface OptionValues {
  readonly switch: boolean;
  readonly text: string;
  readonly number: number;
  /** The values of an option that may be repeated. */
  readonly list: readonly string[];
}

/** What commander makes of a command's options, whose names are given by the kind of their values. */
export type Options<Names extends { readonly [Kind in keyof OptionValues]?: string }> = {
  readonly [Kind in keyof Names & keyof OptionValues as Names[Kind] & string]?: OptionValues[Kind] | undefined;
};

/** The option `--json`: print one JSON value to stdout and nothing else. */
export type JsonOption = Options<{ switch: "json" }>;

/** The surroundings of a command; tests pass their own. */
export interface CommandIo {
  /**
   * Writes a result; with `--json` nothing else is written to stdout. Control characters are removed here, in `stderr` and
   * in `ask`, except those of `control`. The caller ends its lines.
   */
  stdout(text: string): void;
  /** Writes an answer or an export: to a terminal like `stdout`, else byte for byte. */
  content(text: string): void;
  /** Writes progress, questions and errors. */
  stderr(text: string): void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly userHome: string;
  readonly platform: NodeJS.Platform;
  /** Whether stdin and stdout are terminals. If not, a command asks nothing. */
  readonly isTerminal: boolean;
  /** Width of the terminal of stdout; absent if stdout is not a terminal, and nothing is cut. */
  readonly columns?: number | undefined;
  /** Whether stdout shows colours. */
  readonly hasColour?: boolean;
  /** Whether stderr shows colours. */
  readonly hasErrorColour?: boolean;
  /**
   * Width of the terminal of stderr, for progress that is rewritten in place; absent if stderr is not a terminal or can't
   * rewrite a line (TERM=dumb).
   */
  readonly errorColumns?: number | undefined;
  /** Height of the terminal of stderr. */
  readonly errorRows?: number | undefined;
  /** Reads piped input to its end; undefined if stdin is a terminal. Throws `Cancelled` when aborted. */
  readInput?(signal: AbortSignal): Promise<string | undefined>;
  /** Calls `listener` once the reader of stdout has gone (`| head -1`). Returns a function that removes it. */
  onUnread?(listener: () => void): () => void;
  /** Returns the typed line, trimmed. Throws `Cancelled` at Ctrl-C, and at Ctrl-D, the end of stdin. */
  ask(question: string): Promise<string>;
  /** The executable of this process; inside Electron it is not a Node that can be started (see `lastingNode`). */
  readonly node: string;
  /** Absolute path of the command's own file, `dist/cli.mjs`. */
  readonly script: string;
}

/** The home that a command uses. Throws `InvalidConfig` if other users could have changed it. */
export function homeOf(io: CommandIo): string {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  requireTrustedHome(home);
  return home;
}

/** Errors of a pipe or socket whose reader has gone; ECONNRESET if unread bytes were dropped. */
const unreadCodes: ReadonlySet<string | undefined> = new Set(["EPIPE", "ECONNRESET", "EOF", "ERR_STREAM_DESTROYED"]);

/** The surroundings of this process. Call it once, since it listens to errors of stdout. `script` is absolute. */
export function processIo(script: string): CommandIo {
  const userHome = homedir();
  const unreadListeners = new Set<() => void>();
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader has gone (`| head -1`), which is not a failure.
    if (unreadCodes.has(error.code)) {
      for (const listener of unreadListeners) listener();
      return;
    }
    process.stderr.write(terminalText(`ollm: the output can't be written (${error.code ?? error.message})\n`));
    process.exit(1);
  });
  return {
    stdout: (text) => void process.stdout.write(terminalText(text)),
    content: (text) => void process.stdout.write(process.stdout.isTTY ? terminalText(text) : text),
    stderr: (text) => void process.stderr.write(terminalText(text)),
    environment: process.env,
    workingDirectory: startFolder(userHome),
    userHome,
    platform: process.platform,
    isTerminal: isatty(0) && isatty(1),
    get columns() {
      return widthOf(process.stdout);
    },
    get errorColumns() {
      return process.env["TERM"] === "dumb" ? undefined : widthOf(process.stderr);
    },
    get errorRows() {
      return process.stderr.isTTY ? process.stderr.rows || 24 : undefined;
    },
    hasColour: hasColours(process.stdout),
    hasErrorColour: hasColours(process.stderr),
    readInput: (signal) => readAll(process.stdin, signal),
    onUnread(listener) {
      unreadListeners.add(listener);
      return () => void unreadListeners.delete(listener);
    },
    async ask(question) {
      // On stderr, so that `ollm ... > file` still shows it.
      const lines = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return await new Promise<string>((resolve, reject) => {
          const cancel = (): void => {
            process.stderr.write("\n");
            reject(new Cancelled("interrupted"));
          };
          lines.once("SIGINT", () => {
            lines.off("close", cancel);
            cancel();
          });
          lines.once("close", cancel);
          const asked = terminalText(wrappedQuestion(question, widthOf(process.stderr)));
          lines.question(asked).then((line) => {
            lines.off("close", cancel);
            resolve(line.trim());
          }, reject);
        });
      } finally {
        lines.close();
      }
    },
    node: process.execPath,
    script,
  };
}

/** The width of a terminal. Some (a pty without a window, CI) report 0 columns. */
function widthOf(output: NodeJS.WriteStream): number | undefined {
  return output.isTTY ? output.columns || 80 : undefined;
}

/** A program that starts ours with an open pipe and writes nothing would wait for ever and not know why. */
const silentInputMs = 2_000;

/** Reads a stream to its end; undefined for a terminal. */
async function readAll(input: NodeJS.ReadStream, signal: AbortSignal): Promise<string | undefined> {
  if (input.isTTY) return undefined;
  const chunks: Buffer[] = [];
  const timer = setTimeout(() => {
    if (chunks.length === 0) process.stderr.write("ollm: waiting for stdin (add </dev/null if nothing is piped in)\n");
  }, silentInputMs);
  try {
    for await (const chunk of addAbortSignal(signal, input)) chunks.push(Buffer.from(chunk as Buffer));
  } catch (error) {
    if (signal.aborted) throw new Cancelled("interrupted", { cause: error });
    // A closed stdin counts as empty.
    if (["EBADF", "EAGAIN"].includes(codeOf(error) ?? "")) return "";
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * Asks a question at the terminal: a single boolean field as `message [y/N]`, other forms field by field. Resolves to
 * undefined if the user answers no or leaves a required field empty.
 */
export async function askAtTerminal(
  { message, fields }: Question,
  io: Pick<CommandIo, "ask" | "stderr">,
): Promise<Answers> {
  const [first] = fields;
  if (fields.length === 1 && first?.type === "boolean") {
    return isYes(await io.ask(`${message} [y/N] `)) ? { [first.name]: true } : undefined;
  }
  io.stderr(`${message}\n`);
  const answers: Record<string, string | number | boolean> = {};
  for (const field of fields) {
    const value = await askField(field, io);
    if (value !== undefined) answers[field.name] = value;
    else if (field.isRequired) return undefined;
  }
  return answers;
}

/** Asks for consent. Throws `OrchestratorError` if the user declines, `InvalidRequest` without a terminal. */
export async function agree(message: string, io: Pick<CommandIo, "ask" | "stderr" | "isTerminal">): Promise<void> {
  if (!io.isTerminal) throw noTerminal(message);
  const field = { name: "confirm", description: "confirm", type: "boolean", isRequired: true } as const;
  if ((await askAtTerminal({ message, fields: [field] }, io)) === undefined) throw declined();
}

export function declined(): OrchestratorError {
  return new OrchestratorError("declined: nothing was changed");
}

/** The error of a question that can't be asked. */
export function noTerminal(
  question: string,
  next: NextSteps = [{ step: "setArgument", argument: "confirm", to: true }, inTerminal],
): OrchestratorError {
  return new InvalidRequest(`not a terminal, so I can't ask: ${question}`, { next });
}

export const inTerminal = advice("run this in a terminal");

async function askField(
  field: Question["fields"][number],
  io: Pick<CommandIo, "ask" | "stderr">,
): Promise<string | number | boolean | undefined> {
  const choices = field.enum === undefined ? "" : ` (${field.enum.join(", ")})`;
  const preset = field.default === undefined ? "" : ` [${field.default}]`;
  const name = field.description === field.name ? field.name : `${field.name}: ${field.description}`;
  for (;;) {
    const answer = await io.ask(`  ${name}${choices}${preset}${field.type === "boolean" ? " [y/N]" : ""} `);
    if (field.type === "boolean") return answer === "" ? (field.default ?? false) : isYes(answer);
    if (answer === "") return field.default;
    if (field.type === "number" && !Number.isFinite(Number(answer))) io.stderr("  Enter a number.\n");
    else if (field.enum !== undefined && !field.enum.includes(answer)) io.stderr(`  Enter one of${choices}.\n`);
    else return field.type === "number" ? Number(answer) : answer;
  }
}

/**
 * Asks before files are changed, unless `yes`. Returns undefined to go on, else the exit code: 2 if it can't ask, and
 * `refused` after a no. `purpose` completes "Add --yes to".
 */
export async function whyNotChange(
  {
    yes,
    purpose,
    question,
    refused,
  }: Readonly<Record<"purpose" | "question", string>> & {
    readonly yes: boolean | undefined;
    readonly refused: number;
  },
  io: Pick<CommandIo, "ask" | "stdout" | "stderr" | "isTerminal">,
): Promise<number | undefined> {
  if (yes === true) return undefined;
  if (!io.isTerminal) {
    io.stderr(`Nothing was changed: not a terminal, so I can't ask. Add --yes to ${purpose}.\n`);
    return 2;
  }
  if (isYes(await io.ask(`${question} [y/N] `))) return undefined;
  io.stdout("Nothing was changed.\n");
  return refused;
}

/** Whether an answer is a yes. */
export function isYes(answer: string): boolean {
  return /^y(es)?$/i.test(answer.trim());
}
