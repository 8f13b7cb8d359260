import { Command, CommanderError, Option } from "commander";
import { InvalidRequest } from "../orchestrator/errors.ts";
import { version } from "../version.ts";
import { addCompare } from "./commands-compare.ts";
import { addConfig } from "./commands-config.ts";
import { addGeneration } from "./commands-generation.ts";
import { addMemory } from "./commands-memory.ts";
import { addModels } from "./commands-models.ts";
import { addProject } from "./commands-project.ts";
import { addTemplates } from "./commands-templates.ts";
import { terminalText } from "./terminal-text.ts";
import { wholeNumber, withExamples, withJson, type JsonOption, type Run } from "./command-options.ts";
import type { SetupOptions } from "./commands/setup.ts";
import type { UninstallOptions } from "./commands/uninstall.ts";

interface ServeFlags extends JsonOption {
  readonly bind: string;
  readonly port: number;
  readonly token: boolean;
}

const examples = `
Examples:
  ollm setup                             find the assistants on this machine and add the server to them
  ollm doctor                            what is missing, and what to do about it
  ollm chat                              talk with the best model that fits
  cat notes.txt | ollm run "Summarise"   ask once; files and pipes are input
  ollm serve --port 7411                 let programs connect over HTTP, with a token
  claude mcp add ollm -- ollm --root ~/projects

Without arguments, where stdin is not a terminal, this is the MCP server that an assistant starts: it connects to
the daemon, and starts it when none is running.

Settings: OLLM_HOME/config.yaml and OLLM_* variables; OLLM_HOME is ~/.ollm unless that variable names another folder.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted.
`;

/**
 * The commands with their options and help. Each command's module is loaded when it runs. Parsing throws
 * `CommanderError` for wrong usage and for help that was asked for: see `usageError`.
 */
export function createCommands(run: Run): Command {
  const program = new Command("ollm")
    .description("Orchestrates the local language models of this machine, for MCP clients.")
    .usage("[server options]\n       ollm <command> [options]")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help, also of a command")
    .helpCommand(false)
    // A command's own --root is not the server's.
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText("after", examples);
  for (const option of serverOptions()) program.addOption(option.helpGroup("Server options:"));
  program.hook("preAction", (_program, command) => {
    const given = Object.keys(program.opts());
    if (given.length === 0) return;
    throw new InvalidRequest(`--${dashed(given[0] ?? "")} is an option of the server, not of ollm ${pathOf(command)}`, {
      next: { step: "showHelp", command: pathOf(command) },
    });
  });

  addGeneration(program, run);
  addCompare(program, run);
  addModels(program, run);
  addMemory(program, run);
  addTemplates(program, run);
  addProject(program, run);
  addSetUp(program, run);
  addConfig(program, run);
  addRunning(program, run);
  sayUsage(program);
  return program;
}

/** Wrong usage of a command names the help of that command. */
function sayUsage(command: Command): void {
  const next =
    command.parent === null
      ? "ollm --help lists commands and options"
      : `ollm ${pathOf(command)} --help ${command.commands.length > 0 ? "lists its commands" : "shows how it is used"}`;
  command.configureOutput({ outputError: (text, write) => write(terminalText(`${readable(text)}\n  ${next}\n`)) });
  for (const child of command.commands) sayUsage(child);
}

function addSetUp(program: Command, run: Run): void {
  program.commandsGroup("Set up:");
  const setup = program
    .command("setup")
    .description("add the server to the assistants on this machine, after showing each change")
    .option(
      "--client <name...>",
      "only these assistants, also those that are not found: claude-desktop, claude-code, cursor, vscode, codex, zed, windsurf, lm-studio, gemini (default: all that are found)",
    )
    .option("--root <folder...>", "folders whose files models may read and write (default: asks for one)")
    .option(
      "--engine",
      "also install the embedded engine now, a 48 MB download (default: with the first model that needs it)",
    )
    .option("--print", "print what would be written, and write nothing")
    .option("--undo", "take the server out again")
    .option("-y, --yes", "change without asking")
    .addHelpText("after", "\nExit code 2 when somebody has to answer first: --yes, or a terminal.\n")
    .action((options: SetupOptions) => run(async (io) => (await import("./commands/setup.ts")).setup(options, io)));
  withExamples(setup, [
    ["ollm setup", "asks before each change"],
    ["ollm setup --client cursor --root ~/notes --yes", "one assistant, one folder, no questions"],
    ["ollm setup --print", "only shows it"],
  ]);
  const doctor = program
    .command("doctor")
    .description("check Node, home, disk, memory, daemon, engines, models and assistants, and say what to do")
    .option("--json", "print one JSON object: ok, checks[{name, status, message, hint}]")
    .addHelpText("after", "\nExit code 1 when a check fails; warnings alone are 0. It starts nothing.\n")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/doctor.ts")).doctor({ json: options.json === true }, io)),
    );
  withExamples(doctor, [["ollm doctor", "what is missing, and what to do about it"]]);
  const uninstall = program
    .command("uninstall")
    .description("take the server out of every assistant and end the daemon; models and settings stay")
    .option("--purge", "also delete the home with models, engine and settings, after saying what goes")
    .option("-y, --yes", "do it without asking")
    .action((options: UninstallOptions) =>
      run(async (io) => (await import("./commands/uninstall.ts")).uninstall(options, io)),
    );
  withExamples(uninstall, [
    ["ollm uninstall", "out of the assistants; models and settings stay"],
    ["ollm uninstall --purge", "nothing stays, after asking"],
  ]);
}

function addRunning(program: Command, run: Run): void {
  program.commandsGroup("Run:");
  const serve = program
    .command("serve")
    .description("serve MCP over HTTP: /mcp, /sse for older clients, /health; ends with SIGTERM")
    .option("--bind <address>", "address to listen on", "127.0.0.1")
    .addOption(
      new Option("--port <number>", "port to listen on; 0 picks a free one")
        .default(7411)
        .argParser(wholeNumber(0, 65_535)),
    )
    .option("--no-token", "let anybody on this machine in; of loopback addresses only")
    .option("--json", "print one JSON line: url, token_file")
    .addHelpText("after", "\nCallers send the token of OLLM_HOME/run/http-token: Authorization: Bearer ...\n")
    .action(({ bind, port, token, json }: ServeFlags) =>
      run(async (io) =>
        (await import("./commands/serve.ts")).serve({ bind, port, json: json === true, isWithoutToken: !token }, io),
      ),
    );
  withExamples(serve, [
    ["ollm serve", "for programs on this machine"],
    ["ollm serve --bind 0.0.0.0 --port 8080", "for the network, with the token"],
  ]);

  const token = program.command("token").description("the secret of HTTP callers").helpCommand(false);
  const rotate = token
    .command("rotate")
    .description("make a new token; the old one stops working at once and its connections are closed")
    .option("--json", "print one JSON line: token_file")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/token.ts")).rotateToken({ json: options.json === true }, io)),
    );
  for (const command of [token, rotate]) withExamples(command, [["ollm token rotate", "the old one opens nothing"]]);
  addDaemon(program, run);
}

function addDaemon(program: Command, run: Run): void {
  const daemon = program
    .command("daemon")
    .description("the process that holds models, queue and stores for all assistants")
    .helpCommand(false);
  withExamples(daemon, [
    ["ollm daemon status", "whether it runs, for whom, and what is loaded"],
    ["ollm daemon restart", "with this program's version and environment"],
  ]);
  const start = daemon
    .command("start")
    .description("start it; assistants do so by themselves")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonStart(options, io)),
    );
  withExamples(withJson(start, "running, pid, version"), [["ollm daemon start", "before the first one asks"]]);
  const stop = daemon
    .command("stop")
    .description("end it; the next assistant that calls starts it again")
    .action((options: JsonOption) => run(async (io) => (await import("./commands/daemon.ts")).daemonStop(options, io)));
  withExamples(withJson(stop, "running, pid of the one that ended"), [["ollm daemon stop", "frees what it holds"]]);
  const restart = daemon
    .command("restart")
    .description("end it and start it anew, with this program's version and environment")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonRestart(options, io)),
    );
  withExamples(withJson(restart, "running, pid, version"), [["ollm daemon restart", "clients stay connected"]]);
  const status = daemon
    .command("status")
    .description("say whether it runs, for whom, and what is loaded; starts nothing")
    .option("--json", "print one JSON object: running, pid, version, socket, clients, loaded, ...")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonStatus({ json: options.json === true }, io)),
    );
  withExamples(status, [["ollm daemon status --json", "for a program"]]);
  const logs = daemon
    .command("logs")
    .description("show what it said and the calls it served; never their text, unless log.prompts is set")
    .addOption(new Option("-n, --lines <number>", "the newest lines").default(50).argParser(wholeNumber(0, 1_000_000)))
    .option("-f, --follow", "go on showing what is added, until interrupted")
    .action(({ lines, follow }: { readonly lines: number; readonly follow?: boolean }) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonLogs({ lines, follow: follow === true }, io)),
    );
  withExamples(logs, [["ollm daemon logs --follow", "what happens, as it happens"]]);
}

/** The exit code of an error by which commander ends: 0 for help and version, 2 for wrong usage. Others: undefined. */
export function usageError(error: unknown): number | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  return error.exitCode === 0 ? 0 : 2;
}

/** The flags of `orchestrator/config/flags.ts`, for people; a test keeps both the same. */
function serverOptions(): readonly Option[] {
  return [
    new Option("--root <folder>", "folder whose files tools may read and write; repeatable"),
    new Option("--model <name>", "model used when a request names none"),
    new Option("--provider <engine>", "engine asked first where several hold a model: ollama, llama-cpp"),
    new Option("--host <url>", "address of the Ollama server (default: http://127.0.0.1:11434)"),
    new Option("--temperature <number>", "sampling temperature, 0 to 2 (default: 0.7)"),
    new Option("--max-tokens <number>", "most tokens of one answer (default: 4096)"),
    new Option("--context-size <tokens>", "at least this much context (default: what the prompt needs)"),
    new Option("--tools <names>", "tools on offer: default, all, or names with commas between them"),
    new Option("--standalone", "daemon and server in this one process, sharing with nobody"),
  ];
}

/** `error: unknown option '--rot'\n(Did you mean --root?)` as the other messages of the command look. */
function readable(text: string): string {
  return `ollm: ${text
    .trim()
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (.+)\?\)$/, "; did you mean $1?")}`;
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}

function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
