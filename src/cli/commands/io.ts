import { homedir } from "node:os";
import { createInterface } from "node:readline/promises";
import { addAbortSignal } from "node:stream";
import { isatty } from "node:tty";
import { Cancelled } from "../../orchestrator/errors.ts";
import { requireTrustedHome } from "../../ipc/trusted-home.ts";
import { resolveHome, startFolder } from "../../orchestrator/config/home.ts";
import { terminalText } from "../terminal-text.ts";

/** What a command sees of the machine: tests hand in their own. */
export interface CommandIo {
  /**
   * Results; `--json` prints nothing else. Without control characters but those of `styled` and `control`, like all that
   * is written here or asked. The caller ends its lines.
   */
  stdout(text: string): void;
  /** A text that was asked for itself (an answer, an export): as `stdout` at a terminal, else byte for byte. */
  content(text: string): void;
  /** For people: progress, questions, what went wrong. */
  stderr(text: string): void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly userHome: string;
  readonly platform: NodeJS.Platform;
  /** Somebody can answer: both stdin and stdout are a terminal. Without it a command asks nothing. */
  readonly isTerminal: boolean;
  /** Width of the terminal that stdout is now; absent where it is none, and nothing is cut. */
  readonly columns?: number | undefined;
  /** stdout is a terminal that shows colours, and nobody set NO_COLOR. */
  readonly hasColour?: boolean;
  /** Width of the terminal that stderr is, for progress that is rewritten in place; absent where it is none. */
  readonly errorColumns?: number | undefined;
  /** Its height. */
  readonly errorRows?: number | undefined;
  /** What was piped in, to its end, as text; undefined where stdin is a terminal. Throws `Cancelled` when aborted. */
  readInput?(signal: AbortSignal): Promise<string | undefined>;
  /** Calls `listener` once nobody reads stdout any more (`| head -1`), until the answer is called. */
  onUnread?(listener: () => void): () => void;
  /** The trimmed line that was typed, "" when stdin ended. Throws `Cancelled` at Ctrl+C, which is no answer. */
  ask(question: string): Promise<string>;
  /** The executable that runs us; inside Electron it can't be started as Node (`findNode` looks for one that can). */
  readonly node: string;
  /** Absolute path of the command's own file, `dist/cli.mjs`. */
  readonly script: string;
}

/** The home that a command works with. Throws `InvalidConfig` when other users could have changed it. */
export function homeOf(io: CommandIo): string {
  const home = resolveHome(io.environment, io.userHome, io.workingDirectory);
  requireTrustedHome(home);
  return home;
}

/** Of a pipe or socket that nobody reads any more; a socket that was closed over unread bytes says ECONNRESET. */
const unreadCodes: ReadonlySet<string | undefined> = new Set(["EPIPE", "ECONNRESET", "EOF", "ERR_STREAM_DESTROYED"]);

/** The real machine, once a process: it listens to stdout's errors. `script` is absolute. */
export function processIo(script: string): CommandIo {
  const userHome = homedir();
  const unreadListeners = new Set<() => void>();
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever reads us has enough: no failure, and nothing that is left to say.
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
      return widthOf(process.stderr);
    },
    get errorRows() {
      return process.stderr.isTTY ? process.stderr.rows || 24 : undefined;
    },
    hasColour: process.stdout.isTTY && process.stdout.hasColors() && !process.env["NO_COLOR"],
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
          lines.once("SIGINT", () => {
            process.stderr.write("\n");
            reject(new Cancelled("interrupted"));
          });
          lines.once("close", () => resolve(""));
          lines.question(terminalText(question)).then((line) => resolve(line.trim()), reject);
        });
      } finally {
        lines.close();
      }
    },
    node: process.execPath,
    script,
  };
}

/** Some terminals (a pty without a window, CI) say that they are 0 columns wide. */
function widthOf(output: NodeJS.WriteStream): number | undefined {
  return output.isTTY ? output.columns || 80 : undefined;
}

/** Undefined where nothing was piped in: a terminal, or what a service starts us with. */
async function readAll(input: NodeJS.ReadStream, signal: AbortSignal): Promise<string | undefined> {
  if (input.isTTY) return undefined;
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of addAbortSignal(signal, input)) chunks.push(Buffer.from(chunk as Buffer));
  } catch (error) {
    if (signal.aborted) throw new Cancelled("interrupted", { cause: error });
    // A closed stdin is an empty one.
    if (error instanceof Error && "code" in error && (error.code === "EBADF" || error.code === "EAGAIN")) return "";
    throw error;
  }
  return Buffer.concat(chunks).toString("utf8");
}
