import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Command } from "commander";
import { afterAll, beforeAll, beforeEach, onTestFinished } from "vitest";
import { createCommands, usageError } from "../../../src/cli/commands/index.ts";
import { isFileIn, withRepeatedFiles } from "../../../src/cli/commands/prompt-words.ts";
import type { CommandIo } from "../../../src/cli/terminal/io.ts";
import { report } from "../../../src/cli/terminal/session.ts";
import { terminalText } from "../../../src/cli/terminal/terminal-text.ts";
import { makeDaemonHome, type DaemonHome } from "../../support/daemon-home.ts";
import { builtCommand } from "../../support/stdio-client.ts";

interface Ran {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built command in the environment of `home`, with `input` piped in. */
export async function runBuilt(
  home: DaemonHome,
  words: readonly string[],
  input = "",
  environment: Record<string, string> = {},
  folder = home.folder,
): Promise<Ran> {
  const command = spawn(process.execPath, [builtCommand, ...words], {
    env: { ...home.environment, ...environment },
    cwd: folder,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  command.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  command.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  command.stdin.on("error", () => undefined);
  command.stdin.end(input);
  const [code] = await once(command, "close");
  return { code, stdout, stderr };
}

/**
 * The same command in this process, as `runProgram` runs it, with the same daemon: a tenth of the work of `runBuilt`. For
 * what a command says; what it does with its process, and a chat, which reads the process's stdin, need `runBuilt`.
 */
export async function runHere(
  home: DaemonHome,
  words: readonly string[],
  input = "",
  environment: Record<string, string> = {},
  folder = home.folder,
): Promise<Ran> {
  let stdout = "";
  let stderr = "";
  let code = 0;
  const io: CommandIo = {
    ...home.io(),
    stdout: (text) => void (stdout += terminalText(text)),
    content: (text) => void (stdout += text),
    stderr: (text) => void (stderr += terminalText(text)),
    environment: { ...home.environment, ...environment },
    workingDirectory: folder,
    readInput: () => Promise.resolve(input),
  };
  try {
    code = await runCommand(io, ...withRepeatedFiles(words, (name) => isFileIn(name, folder)));
  } catch (error) {
    code = usageError(error) ?? report(error, io);
  }
  return { code, stdout, stderr };
}

/** The exit code of a command with these surroundings. Rejects for wrong usage, and for what its command does not report. */
export async function runCommand(io: CommandIo, ...words: readonly string[]): Promise<number> {
  let code = 0;
  const commands = createCommands(async (work) => {
    code = await work(io);
  });
  captureErrors(commands, io.stderr);
  await commands.parseAsync(words, { from: "user" });
  return code;
}

/** Where commander writes wrong usage: else to this process's stderr. */
function captureErrors(command: Command, writeErr: (text: string) => void): void {
  command.configureOutput({ writeErr });
  for (const child of command.commands) captureErrors(child, writeErr);
}

/** A home with two models that know one sentence, and one that can be pulled. */
export function makeShellHome(): Promise<DaemonHome> {
  const reply = "The sky is blue.";
  return makeDaemonHome(
    {},
    {
      models: [
        { name: "smollm2:135m", reply },
        { name: "big:7b", reply },
      ],
      registry: [{ name: "qwen2.5:0.5b" }],
    },
  );
}

/** What the last chat request ended with. */
export function lastPromptAt(home: DaemonHome): string {
  const messages = chatsAt(home).at(-1)?.body["messages"] as readonly { readonly content: string }[] | undefined;
  return messages?.at(-1)?.content ?? "";
}

function chatsAt(home: DaemonHome): DaemonHome["ollama"]["requests"] {
  return home.ollama.requests.filter((request) => request.path === "/api/chat");
}

/** A home for the tests of a file or of a group, whose daemon they share. */
export function useShellHome() {
  let home: DaemonHome;
  /** Chats of the tests before. */
  let earlier = 0;
  const share = (): void => {
    let shared: DaemonHome;
    beforeAll(async () => {
      shared = await makeShellHome();
    });
    afterAll(() => shared.close());
    beforeEach(() => {
      home = shared;
      earlier = chatsAt(home).length;
    });
  };
  share();
  return {
    home: () => home,
    /** In a group: its tests have another home than the rest of the file. */
    shareAnother: share,
    /** From here to its end a test has one of its own: it changes what others would find, or needs one that did nothing. */
    async useOwn(): Promise<void> {
      home = await makeShellHome();
      earlier = 0;
      onTestFinished(home.close);
    },
    ollm: (words: readonly string[], input?: string, environment?: Record<string, string>, folder?: string) =>
      runHere(home, words, input, environment, folder),
    built: (words: readonly string[], input?: string, environment?: Record<string, string>, folder?: string) =>
      runBuilt(home, words, input, environment, folder),
    /** The chat requests of this test. */
    chats: () => chatsAt(home).slice(earlier),
    lastPrompt: () => lastPromptAt(home),
  };
}
