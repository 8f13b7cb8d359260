import { Cancelled, InvalidRequest, OrchestratorError, DaemonUnavailable } from "../../orchestrator/errors.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import type { StepTable } from "../../next-steps/render.ts";
import {
  errorDataIn,
  startServer,
  type Answers,
  type ErrorData,
  type Question,
  type ServerClient,
  type TextNote,
} from "../../server/client.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../tools/index.ts";
import { version } from "../../version.ts";
import type { CommandIo } from "../commands/io.ts";
import { createProgressLine } from "../progress-line.ts";
import { errorText } from "../terminal-text.ts";
import { askAtTerminal, declined, nobodyAnswers } from "./ask.ts";
import { inShellWords } from "./shell-words.ts";

/**
 * How a command of the shell is written:
 *
 * ```ts
 * // src/cli/shell/rm.ts
 * export function removeModels(names: readonly string[], options: RmOptions, io: CommandIo): Promise<number> {
 *   return withSession(io, {}, async ({ call }) => {
 *     const { structured } = await call("manage_model", { action: "delete", model: name, confirm: options.yes });
 *     show(structured, options, io, () => `${text}\n`);   // show.ts: --json or the text
 *     return 0;
 *   });
 * }
 * // src/cli/commands-models.ts declares it, with options, help and examples (command-options.ts):
 * withExamples(withJson(models.command("rm"), "..."), [["ollm rm old", "..."]])
 *   .action((names, options) => run(async (io) => (await import("./shell/rm.ts")).removeModels(names, options, io)));
 * ```
 *
 * Throw an `OrchestratorError` for what is wrong: it becomes `ollm: message` and the hint on stderr, with exit code 2
 * for `InvalidRequest` (wrong usage), 130 for `Cancelled`, else 1. A tool's own error is thrown by `call` already, and
 * its questions (delete? which value?) are asked at the terminal; without one they end with 2 and `noTerminalHint` as
 * the hint. Tables: table.ts. Results to stdout, everything for people to stderr (`io`, which drops control characters); a
 * name or a message within a line through `oneLine`. Ctrl-C cancels what runs and ends with 130; a second one leaves at once.
 */
export interface Session {
  readonly io: CommandIo;
  /** Aborted by Ctrl-C, by SIGTERM, and when nobody reads stdout any more. */
  readonly signal: AbortSignal;
  /** Calls a tool; undefined values of `input` are left out. Throws its error, `Cancelled`, `DaemonUnavailable`. */
  call<Name extends ToolName>(
    tool: Name,
    input: ToolInputs[Name],
    options?: SessionCallOptions,
  ): Promise<ToolResult<ToolAnswers[Name]>>;
  /** What a resource says, parsed; for a template of addresses with the value of its variable. Throws as `call`. */
  read<Uri extends keyof ResourceData>(uri: Uri, ...value: ValueOf<Uri>): Promise<ResourceData[Uri]>;
  /** The text of an MCP prompt. Throws as `call`. */
  prompt(name: string, variables?: Readonly<Record<string, string>>): Promise<string>;
  /** Names of the tools on offer here. */
  tools(): Promise<readonly string[]>;
  /** False for what the connection's notices on stderr have said, or will not say any more because this view does. */
  isNews(text: string): boolean;
}

/** One value for `ollm://models/{name}`, none for `ollm://models`. */
type ValueOf<Uri> = Uri extends `${string}{${string}}` ? [value: string] : [];

export interface ToolResult<Data extends object> {
  /** `structuredContent`: what `--json` prints. */
  readonly structured: Data;
  /** The short text form, as tools render it for clients. */
  readonly text: string;
}

export interface SessionCallOptions {
  /** The answer's text as it grows. */
  readonly onText?: (note: TextNote) => void;
  /** Takes the place of the line that shows progress. */
  readonly onProgress?: (message: string) => void;
  /** Takes the place of the session's signal: a chat's Ctrl-C ends one answer, not the chat. */
  readonly signal?: AbortSignal;
  /** Where progress is shown, on stderr: `terminal` (default) only there, `always` also in a log, `never`. */
  readonly progress?: "terminal" | "always" | "never";
}

export interface SessionOptions {
  /** Folders whose files the user named on the command line: they may be read. */
  readonly roots?: readonly string[];
  /** The hint when there is a question and no terminal. */
  readonly noTerminalHint?: string;
  /** Asks in place of the terminal's one-line questions. */
  readonly ask?: (question: Question) => Promise<Answers>;
  /** What is said at Ctrl-C, instead of `interrupted`. */
  readonly onInterrupt?: string;
  /** Ctrl-C is somebody else's (a chat's readline). */
  readonly handlesSignals?: boolean;
}

/** A call that takes longer shows `working ...`. */
const workingDelayMs = 700;

/**
 * Runs `work` with a connection to the daemon, starting one where there is none. Answers the exit code; never throws
 * ours.
 */
export async function withSession(
  io: CommandIo,
  options: SessionOptions,
  work: (session: Session) => Promise<number>,
): Promise<number> {
  const interrupt = new AbortController();
  let isUnread = false;
  const onSignal = (): void => {
    // The second one doesn't wait for anybody.
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort(new Cancelled(options.onInterrupt ?? "interrupted"));
  };
  const offUnread = io.onUnread?.(() => {
    isUnread = true;
    interrupt.abort(new Cancelled("nobody reads the answer"));
  });
  const signals = options.handlesSignals === true ? [] : (["SIGINT", "SIGTERM"] as const);
  for (const name of signals) process.on(name, onSignal);
  const notices = createNotices(io);
  let server: ServerClient | undefined;
  try {
    const connected = await connect(io, options, interrupt.signal, notices.relay);
    server = connected.server;
    return await work(createSession(server, io, interrupt.signal, options, connected.asked, notices.isNews));
  } catch (error) {
    if (isUnread) return 0;
    if (interrupt.signal.aborted) return report(interrupt.signal.reason, io);
    return report(error, { ...io, isNews: notices.isNews });
  } finally {
    await server?.close();
    offUnread?.();
    for (const name of signals) process.off(name, onSignal);
  }
}

/**
 * Prints an error on stderr, as every command does, its next steps in the words of `steps`; answers its exit code. What
 * isn't ours is thrown on. Of what a notice said already (what is wrong with a variable is both) only the hint is said.
 */
export function report(
  error: unknown,
  io: Pick<CommandIo, "stderr"> & Partial<Pick<Session, "isNews">>,
  steps: StepTable = commandSteps,
): number {
  if (!(error instanceof OrchestratorError)) throw error;
  const text = errorText(error, steps);
  io.stderr(io.isNews?.(error.message) === false ? text.slice(text.indexOf("\n") + 1) : text);
  return error instanceof InvalidRequest ? 2 : error instanceof Cancelled ? 130 : 1;
}

/** What the server says on stderr, without what a view or an error says as well: the two come in either order. */
function createNotices(io: Pick<CommandIo, "stderr">) {
  const relayed = new Set<string>();
  const shown = new Set<string>();
  return {
    relay(line: string): void {
      const text = line.trimEnd().replace(/^ollm: /, "");
      if (shown.has(text)) return;
      relayed.add(text);
      io.stderr(line);
    },
    isNews(text: string): boolean {
      if (relayed.delete(text)) return false;
      shown.add(text);
      return true;
    },
  };
}

/** What became of the newest call's question. */
interface Asked {
  unanswered: Question | undefined;
  hasDeclined: boolean;
  /** Ctrl-C at the question: the protocol has no word for it. */
  cancelled: Cancelled | undefined;
  /** Takes the line that shows progress away while a question stands there. */
  pause: (isAsking: boolean) => void;
}

/** A call that had to ask, and got no answer. */
function notDone(
  { unanswered, hasDeclined }: Asked,
  noTerminalHint: string | undefined,
): OrchestratorError | undefined {
  if (hasDeclined) return declined();
  if (unanswered === undefined) return undefined;
  const fields = unanswered.fields.filter(({ type }) => type !== "boolean");
  const needed = fields.map(({ name, description }) => (description === name ? name : `${name} (${description})`));
  const what = needed.length === 0 ? unanswered.message : `${unanswered.message} Needed: ${needed.join(", ")}.`;
  const given = "Give it as NAME=VALUE, a text also as files=PATH, or run this in a terminal.";
  return nobodyAnswers(what, noTerminalHint ?? (needed.length === 0 ? undefined : given));
}

async function connect(
  io: CommandIo,
  options: SessionOptions,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<{ readonly server: ServerClient; readonly asked: Asked }> {
  const asked: Asked = { unanswered: undefined, hasDeclined: false, cancelled: undefined, pause: () => undefined };
  const ask = async (question: Question): Promise<Answers> => {
    if (options.ask === undefined && !io.isTerminal) {
      asked.unanswered = question;
      return undefined;
    }
    asked.pause(true);
    try {
      const answers = await (options.ask?.(question) ?? askAtTerminal(question, io));
      asked.hasDeclined = answers === undefined;
      return answers;
    } catch (error) {
      if (error instanceof Cancelled) asked.cancelled = error;
      throw error;
    } finally {
      asked.pause(false);
    }
  };
  try {
    const server = await startServer({
      node: io.node,
      script: io.script,
      environment: io.environment,
      version,
      workingDirectory: io.workingDirectory,
      ask,
      signal,
      say,
      ...(options.roots !== undefined && { roots: options.roots }),
    });
    return { server, asked };
  } catch (error) {
    throw unreachable(error);
  }
}

function createSession(
  server: ServerClient,
  io: CommandIo,
  sessionSignal: AbortSignal,
  options: SessionOptions,
  asked: Asked,
  isNews: Session["isNews"],
): Session {
  const guarded = async <Value>(work: Promise<Value>, signal = sessionSignal): Promise<Value> => {
    try {
      return await work;
    } catch (error) {
      if (signal.aborted) throw signal.reason instanceof Cancelled ? signal.reason : new Cancelled("interrupted");
      throw asked.cancelled ?? unreachable(error);
    }
  };
  return {
    io,
    signal: sessionSignal,
    isNews,
    async call<Name extends ToolName>(
      tool: Name,
      input: ToolInputs[Name],
      { onText, onProgress, signal = sessionSignal, progress = "terminal" }: SessionCallOptions = {},
    ): Promise<ToolResult<ToolAnswers[Name]>> {
      const isShown = progress === "always" || (progress === "terminal" && io.errorColumns !== undefined);
      const line = createProgressLine({
        write: io.stderr,
        isTTY: io.errorColumns !== undefined,
        columns: io.errorColumns ?? 80,
      });
      const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
      /** A question or the answer itself stands where progress would be. */
      let isQuiet = false;
      asked.unanswered = undefined;
      asked.hasDeclined = false;
      asked.cancelled = undefined;
      asked.pause = (isAsking) => {
        isQuiet = isAsking;
        if (isAsking) line.clear();
      };
      const say = (message: string, fraction?: number): void => {
        clearTimeout(workingTimer);
        if (isShown && !isQuiet) line.show(message, fraction);
      };
      // The first word of the daemon may take seconds: it starts, or looks at a model it has never seen.
      const workingTimer =
        io.errorColumns === undefined || onProgress !== undefined
          ? undefined
          : setTimeout(() => say("working ..."), workingDelayMs);
      try {
        const work = server.callTool(tool, given, {
          signal,
          onProgress({ message, progress: done, total }) {
            if (onProgress !== undefined) onProgress(message ?? tool);
            else say(message ?? tool, total === undefined ? undefined : done / total);
          },
          ...(onText && {
            onText(note: TextNote) {
              isQuiet = true;
              line.clear();
              onText(note);
            },
          }),
        });
        const result = await guarded(work, signal);
        const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
        if (result.isError === true)
          throw asked.cancelled ?? notDone(asked, options.noTerminalHint) ?? toolError(text, errorDataIn(result._meta));
        return { structured: (result.structuredContent ?? {}) as ToolAnswers[Name], text };
      } finally {
        clearTimeout(workingTimer);
        asked.pause = () => undefined;
        if (progress === "always") line.end();
        else line.clear();
      }
    },
    async read<Uri extends keyof ResourceData>(uri: Uri, ...[value = ""]: ValueOf<Uri>) {
      const address = uri.replace(/\{\w+\}$/, () => encodeURIComponent(value));
      return JSON.parse(await guarded(server.readResource(address, sessionSignal))) as ResourceData[Uri];
    },
    prompt: (name, variables = {}) => guarded(server.getPrompt(name, variables, sessionSignal)),
    tools: async () => (await guarded(server.listTools(sessionSignal))).map(({ name }) => name),
  };
}

/** What a tool answered with `isError`: as data, else its text. */
function toolError(text: string, data: ErrorData | undefined): OrchestratorError {
  if (data !== undefined) return new OrchestratorError(data.message, { next: data.next });
  const [message = "", ...hint] = text.split("\n").map(inShellWords);
  return new OrchestratorError(message, hint.length === 0 ? {} : { hint: hint.join("\n") });
}

/** An answer of the protocol that is an error (no such tool, resource, prompt), or a connection that broke. */
function unreachable(error: unknown): OrchestratorError {
  if (error instanceof OrchestratorError) return error;
  const data = error instanceof Error && "data" in error ? errorDataIn(error.data) : undefined;
  if (data !== undefined) return new OrchestratorError(data.message, { next: data.next, cause: error });
  const text = error instanceof Error ? error.message : String(error);
  const isAnswer = error instanceof Error && error.name === "ProtocolError";
  const said = text.replace(/^MCP error -?\d+: /, "").split("\n");
  const [message = "", ...hint] = said.map(inShellWords);
  if (isAnswer)
    return new OrchestratorError(message, { cause: error, ...(hint.length > 0 && { hint: hint.join("\n") }) });
  return new DaemonUnavailable(`the daemon did not answer (${message})`, {
    next: [{ step: "checkInstallation" }, { step: "restartDaemon" }],
    cause: error,
  });
}
