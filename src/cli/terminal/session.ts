import { version } from "../../ipc/version.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { type ErrorData, type StepTable, errorDataIn } from "../../next-steps/render.ts";
import { Cancelled, DaemonUnavailable, OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { NextSteps } from "../../orchestrator/api/next-step.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { Answers, Question, ServerClient, TextNote } from "../../server/daemon/client.ts";
import type { ToolAnswers, ToolInputs, ToolName } from "../../tools/index.ts";
import { type CommandIo, askAtTerminal, declined, noTerminal, type JsonOption } from "./io.ts";
import { createProgressLine, untilFirstSign } from "./progress-line.ts";
import { show, errorText, exitCodeOf, hanging, hintLine } from "./terminal-text.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { messageOf } from "../../orchestrator/util/values.ts";

/**
 * How a command of the shell is written:
 *
 * ```ts
 * // commands/models.ts
 * program.command("rm").argument("<model...>", "...").does(removeModels);   // commands.json: "rm"
 *
 * function removeModels(names: readonly string[], options: RmOptions, io: CommandIo): Promise<number> {
 *   return withSession(io, {}, async ({ call }) => {
 *     const { structured } = await call("manage_model", { action: "delete", model: name, confirm: options.yes });
 *     show(structured, options, io, () => `${text}\n`);   // --json or the text
 *   });
 * }
 * ```
 *
 * Throw an `OrchestratorError` to report a failure: its message and next steps are printed on stderr, and the exit code
 * is 2 for `InvalidRequest` (wrong usage), 130 for `Cancelled`, else 1. `call` throws the errors of tools. A tool's
 * question (delete? which value?) is asked at the terminal; without a terminal the command ends with 2 and `noTerminal`
 * as its next steps. Tables: table.ts. Results go to stdout, everything else to stderr (`io` drops control characters);
 * pass a name or a message within a line through `oneLine`. The first Ctrl-C cancels the call and ends the command with
 * 130, a second one ends it at once.
 */
export interface Session {
  readonly io: CommandIo;
  /** Aborted by Ctrl-C, by SIGTERM, and when the reader of stdout closes it. */
  readonly signal: AbortSignal;
  /** Calls a tool; undefined values of `input` are left out. Throws its error, `Cancelled`, `DaemonUnavailable`. */
  call<Name extends ToolName>(
    tool: Name,
    input: ToolInputs[Name],
    options?: SessionCallOptions,
  ): Promise<ToolResult<ToolAnswers[Name]>>;
  /** The parsed JSON of a resource; `value` fills the variable of a URI template, or is its query. Throws as `call`. */
  read<Uri extends keyof ResourceData>(uri: Uri, ...value: ValueOf<Uri>): Promise<ResourceData[Uri]>;
  /** False if a notice on stderr has shown this text already; otherwise later notices won't show it. */
  isNews(text: string): boolean;
}

/** One value for `ollm://models/{name}`, the query for `ollm://requests{?...}`, none for `ollm://models`. */
type ValueOf<Uri> = Uri extends `${string}{${string}}` ? [value: string] : [];

interface ToolResult<Data extends object> {
  /** `structuredContent`: what `--json` prints. */
  readonly structured: Data;
  /** The short text form, as tools render it for clients. */
  readonly text: string;
}

interface SessionCallOptions {
  /** Receives the answer's text as it is generated. */
  readonly onText?: (note: TextNote) => void;
  /** A question of a chat at a terminal: its model may remember and recall. */
  readonly isChat?: boolean;
  /** Receives progress instead of the progress line. */
  readonly onProgress?: (message: string) => void;
  /** Replaces the session's signal: in a chat, Ctrl-C ends one answer. */
  readonly signal?: AbortSignal;
  /** When progress is shown on stderr: only if that is a `terminal` (default), `always`, `never`. */
  readonly progress?: "terminal" | "always" | "never";
}

interface SessionOptions extends Pick<SessionCallOptions, "progress"> {
  /** Folders of the files that the user named on the command line: reading them is allowed. */
  readonly roots?: readonly string[];
  /** Next steps of the error for a question without a terminal: it needs values, or consent only. */
  readonly noTerminal?: (needsValues: boolean) => NextSteps;
  /** Replaces the questions at the terminal. */
  readonly ask?: (question: Question) => Promise<Answers>;
  /** Message after Ctrl-C; `interrupted` when absent. */
  readonly onInterrupt?: string;
  /** The caller handles Ctrl-C itself (a chat's readline). */
  readonly handlesSignals?: boolean;
}

/**
 * Runs `work` with a connection to the daemon, starting one if none runs. Resolves to the exit code, 0 unless `work`
 * gives another; reports `OrchestratorError`s itself. Within a chat `work` gets the chat's connection (`io.session`), and the
 * chat reports its errors.
 */
export async function withSession(
  io: CommandIo & { readonly session?: Session },
  options: SessionOptions,
  work: (session: Session) => Promise<number | void>,
): Promise<number> {
  if (io.session !== undefined) return (await work(io.session)) ?? 0;
  const interrupt = new AbortController();
  let isUnread = false;
  const line = createProgressLine(io);
  const onSignal = (): void => {
    if (interrupt.signal.aborted) {
      line.clear();
      process.exit(130);
    }
    interrupt.abort(new Cancelled(options.onInterrupt ?? "interrupted"));
  };
  const offUnread = io.onUnread?.(() => {
    isUnread = true;
    interrupt.abort(new Cancelled("the output was closed"));
  });
  const signals = options.handlesSignals === true ? [] : (["SIGINT", "SIGTERM"] as const);
  for (const name of signals) process.on(name, onSignal);
  const notices = createNotices(line, io);
  let server: ServerClient | undefined;
  try {
    line.wait("waiting for the daemon ...", untilFirstSign());
    const connected = await connect(io, options, interrupt.signal, notices.relay).finally(() => line.clear());
    server = connected.server;
    return (await work(createSession(connected, line, io, interrupt.signal, options, notices.isNews))) ?? 0;
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

/** A command that calls one tool: prints its answer as `text` renders it, by default in the tool's own words. */
export function showCall<Name extends ToolName>(
  tool: Name,
  input: ToolInputs[Name],
  options: JsonOption,
  io: CommandIo,
  text: (data: ToolAnswers[Name], words: string) => string = (_data, words) => `${oneLine(words)}\n`,
  session: SessionOptions = {},
): Promise<number> {
  return withSession(io, session, async ({ call }) => {
    const answer = await call(tool, input);
    show(answer.structured, options, io, (data) => text(data, answer.text));
  });
}

/** A command that reads one resource, and prints it as `text` renders it. */
export function showRead<Uri extends keyof ResourceData>(
  address: readonly [uri: Uri, ...ValueOf<Uri>],
  options: JsonOption,
  io: CommandIo,
  text: (data: ResourceData[Uri]) => string,
): Promise<number> {
  return withSession(io, {}, async ({ read }) => show(await read(...address), options, io, text));
}

/**
 * Prints an error on stderr, with its next steps as `steps` words them, and returns the exit code. Rethrows what is not
 * an `OrchestratorError`. If a notice has shown the message already (a rejected variable is both), prints only the next
 * steps.
 */
export function report(
  error: unknown,
  io: Pick<CommandIo, "stderr" | "hasErrorColour" | "errorColumns"> & Partial<Pick<Session, "isNews">>,
  steps: StepTable = commandSteps,
): number {
  if (!(error instanceof OrchestratorError)) throw error;
  const isKnown = io.isNews?.(error.message) === false;
  io.stderr(isKnown ? hintLine(error, steps, io) : errorText(error, steps, io));
  return exitCodeOf(error);
}

/** Relays the server's stderr, without the lines that a view or an error shows too; the two come in either order. */
function createNotices(line: ReturnType<typeof createProgressLine>, io: Pick<CommandIo, "errorColumns">) {
  const relayed = new Set<string>();
  const shown = new Set<string>();
  return {
    relay(notice: string): void {
      const text = notice.trimEnd().replace(/^ollm: /, "");
      if (shown.has(text)) return;
      relayed.add(text);
      line.above(`${hanging("", notice.trimEnd(), { columns: io.errorColumns })}\n`);
    },
    isNews(text: string): boolean {
      if (relayed.delete(text)) return false;
      shown.add(text);
      return true;
    },
  };
}

/** The outcome of the current call's question. */
interface Asked {
  unanswered: Question | undefined;
  hasDeclined: boolean;
  /** Set by Ctrl-C at the question, which the protocol can't express. */
  cancelled: Cancelled | undefined;
  /** Hides the progress line while a question is shown. */
  pause: (isAsking: boolean) => void;
}

/** The error of a call whose question was declined or could not be asked. A call that goes on after a no has its own `error`. */
function notDone(
  { unanswered, hasDeclined }: Asked,
  error: string,
  nextSteps: SessionOptions["noTerminal"],
): OrchestratorError | undefined {
  if (hasDeclined && error.includes("declined")) return declined();
  if (unanswered === undefined) return undefined;
  const fields = unanswered.fields.filter(({ type }) => type !== "boolean");
  const needed = fields.map(({ name, description }) => (description === name ? name : `${name} (${description})`));
  const what = needed.length === 0 ? unanswered.message : `${unanswered.message} Needed: ${needed.join(", ")}.`;
  return noTerminal(what, nextSteps?.(needed.length > 0));
}

async function connect(io: CommandIo, options: SessionOptions, signal: AbortSignal, say: (line: string) => void) {
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
    // Help and completion need neither.
    const [{ connectServer }, { startShellFront }] = await Promise.all([
      import("../../server/daemon/client.ts"),
      import("../front/shell-front.ts"),
    ]);
    const front = startShellFront({ ...io, roots: options.roots ?? [], say });
    const server = await connectServer({ front, version, ask, signal });
    return { server, asked };
  } catch (error) {
    throw unreachable(error);
  }
}

function createSession(
  { server, asked }: { readonly server: ServerClient; readonly asked: Asked },
  line: ReturnType<typeof createProgressLine>,
  io: CommandIo,
  sessionSignal: AbortSignal,
  { noTerminal: nextSteps, progress: usualProgress = "terminal" }: SessionOptions,
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
      { onText, isChat = false, onProgress, signal = sessionSignal, progress = usualProgress }: SessionCallOptions = {},
    ): Promise<ToolResult<ToolAnswers[Name]>> {
      const isShown = progress === "always" || (progress === "terminal" && io.errorColumns !== undefined);
      const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
      /** A question or the answer itself is on the progress line. */
      let isQuiet = false;
      let hasText = false;
      Object.assign(asked, { unanswered: undefined, hasDeclined: false, cancelled: undefined });
      // The daemon may take seconds to report progress: it starts, or reads the metadata of a new model.
      const wait = (): void => {
        if (progress !== "never") line.wait("working ...");
      };
      asked.pause = (isAsking) => {
        isQuiet = isAsking;
        if (isAsking && hasText) onText?.({ text: "\n" });
        if (isAsking) line.clear();
        else wait();
      };
      const say = (message: string, fraction?: number): void => {
        if (isShown && !isQuiet) line.show(message, fraction);
      };
      wait();
      try {
        const work = server.callTool(tool, given, {
          signal,
          isChat,
          onProgress({ message, progress: done, total }) {
            if (onProgress !== undefined) {
              line.clear();
              onProgress(message ?? tool);
            } else say(message ?? tool, total === undefined ? undefined : done / total);
          },
          ...(onText && {
            onText(note: TextNote) {
              isQuiet = true;
              hasText ||= note.text !== undefined;
              line.clear();
              onText(note);
            },
          }),
        });
        const result = await guarded(work, signal);
        const text = result.content.map((block) => (block.type === "text" ? block.text : "")).join("\n");
        if (result.isError === true)
          throw asked.cancelled ?? notDone(asked, text, nextSteps) ?? toolError(text, errorDataIn(result._meta));
        return { structured: (result.structuredContent ?? {}) as ToolAnswers[Name], text };
      } finally {
        asked.pause = () => undefined;
        line.clear();
      }
    },
    async read<Uri extends keyof ResourceData>(uri: Uri, ...[value = ""]: ValueOf<Uri>) {
      const address = uri
        .replace(/\{\?[\w,]+\}$/, () => `?${value}`)
        .replace(/\{\w+\}$/, () => encodeURIComponent(value));
      line.wait("working ...");
      const text = await guarded(server.readResource(address, sessionSignal)).finally(() => line.clear());
      return (uri === "ollm://results/{id}" ? text : JSON.parse(text)) as ResourceData[Uri];
    },
  };
}

/** The error of a result with `isError`: its data, else its text. */
function toolError(text: string, data: ErrorData | undefined): OrchestratorError {
  return data === undefined ? new OrchestratorError(text) : new OrchestratorError(data.message, { next: data.next });
}

/** The error of a failed request: a protocol error (unknown tool, resource or prompt), or a broken connection. */
function unreachable(error: unknown): OrchestratorError {
  if (error instanceof OrchestratorError) return error;
  const data = error instanceof Error && "data" in error ? errorDataIn(error.data) : undefined;
  if (data !== undefined) return new OrchestratorError(data.message, { next: data.next, cause: error });
  const text = messageOf(error);
  const isAnswer = error instanceof Error && error.name === "ProtocolError";
  const message = text.replace(/^MCP error -?\d+: /, "");
  if (isAnswer) return new OrchestratorError(message, { cause: error });
  return new DaemonUnavailable(`the daemon did not answer (${message})`, {
    next: [{ step: "checkInstallation" }, { step: "restartDaemon" }],
    cause: error,
  });
}
