import { homedir } from "node:os";
import { createInterface } from "node:readline/promises";
import { isatty } from "node:tty";
import { Cancelled } from "../../orchestrator/errors.ts";
import { startFolder } from "../../orchestrator/config/home.ts";

/** What a command sees of the machine: tests hand in their own. */
export interface CommandIo {
  /** Writes as it is: the caller ends its lines. Results go here; `--json` prints nothing else. */
  stdout(text: string): void;
  /** For people: progress, questions, what went wrong. */
  stderr(text: string): void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly userHome: string;
  readonly platform: NodeJS.Platform;
  /** Somebody can answer: both stdin and stdout are a terminal. Without it a command asks nothing. */
  readonly isTerminal: boolean;
  /** The trimmed line that was typed, "" when stdin ended. Throws `Cancelled` at Ctrl+C, which is no answer. */
  ask(question: string): Promise<string>;
  /** The executable that runs us; inside Electron it can't be started as Node (`findNode` looks for one that can). */
  readonly node: string;
  /** Absolute path of the command's own file, `dist/cli.mjs`. */
  readonly script: string;
}

/** The real machine. `script` is absolute. */
export function processIo(script: string): CommandIo {
  const userHome = homedir();
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    environment: process.env,
    workingDirectory: startFolder(userHome),
    userHome,
    platform: process.platform,
    isTerminal: isatty(0) && isatty(1),
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
          lines.question(question).then((line) => resolve(line.trim()), reject);
        });
      } finally {
        lines.close();
      }
    },
    node: process.execPath,
    script,
  };
}
