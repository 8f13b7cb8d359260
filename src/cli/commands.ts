import { Command, type CommandOptions, CommanderError, Option } from "commander";
import { version } from "../ipc/version.ts";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import {
  type JsonOption,
  type Run,
  emptyName,
  helpText,
  usageText,
  wholeNumber,
  withExamples,
  withJson,
} from "./commands/options.ts";
import { addCompare, addGeneration, addHabits } from "./commands-generation.ts";
import { addMemory, addProfiles, addProject, addTemplates } from "./commands-memory.ts";
import { addModels } from "./commands-models.ts";
import type { SetupOptions } from "./commands/setup.ts";
import type { UninstallOptions } from "./commands/uninstall.ts";
import { hasColours, terminalText } from "./terminal/terminal-text.ts";

interface ServeFlags extends JsonOption {
  readonly bind: string;
  readonly port: number;
  readonly token: boolean;
}

const notes = `Also: ollm ls and ollm list (models), ollm logs (daemon logs), ollm help, ollm version.

Without arguments and with stdin not a terminal, ollm is the MCP server that an assistant starts.
It connects to the daemon and starts one if none is running.

Settings: OLLM_HOME/config.yaml and OLLM_* variables; OLLM_HOME defaults to ~/.ollm.

Exit codes: 0 success, 1 failed or refused, 2 wrong usage or an answer is needed, 3 the answer failed its check or
parts of its files are missing, 130 interrupted.
`;

/**
 * Creates the commands with their options and help. Each command's module is loaded when it runs. Parsing throws
 * `CommanderError` for wrong usage, and after help or the version was printed: see `usageError`.
 */
export function createCommands(run: Run): Command {
  const program = new Command("ollm")
    .description("Run local language models, and let your assistants use them.")
    .usage("[server options]\n       ollm <command> [options]")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help; also: ollm <command> --help")
    .helpCommand(false)
    // `--root` of a command is not that of the server.
    .enablePositionalOptions()
    .exitOverride()
    // Before the commands, which inherit it.
    // One cell less: some terminals begin a new line after the last one, and `helpText` would wrap again.
    .configureOutput({ writeOut: writeHelp, getOutHelpWidth: () => (process.stdout.isTTY ? helpColumns() - 1 : 80) });
  withExamples(program, [
    ["ollm setup", "add ollm to the assistants on this machine"],
    ["ollm doctor", "check the installation"],
    ["ollm chat", "chat with the best model that fits"],
    ['cat notes.txt | ollm run "Summarise"', "ask once, with piped input"],
    ["ollm serve --port 7411", "serve MCP over HTTP"],
    ["claude mcp add ollm -- ollm --root ~/projects", "add it to Claude Code by hand"],
  ]).addHelpText("after", notes);
  for (const option of serverOptions()) program.addOption(option.helpGroup("Server options:"));
  program.hook("preAction", (_program, command) => {
    const given = Object.keys(program.opts());
    const empty = emptyName(command);
    if (empty !== undefined) throw empty;
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
  addProfiles(program, run);
  addSetUp(program, run);
  addConfig(program, run);
  addRunning(program, run);
  addHabits(program, run);
  program.configureHelp({ subcommandTerm: (command) => command.name() });
  pointToHelp(program);
  return program;
}

function writeHelp(page: string): void {
  const { stdout } = process;
  const columns = stdout.isTTY ? helpColumns() : undefined;
  stdout.write(terminalText(helpText(page, { columns, hasColour: hasColours(stdout) })));
}

/** The width of the terminal; some report 0. */
function helpColumns(): number {
  return process.stdout.columns || 80;
}

/** Makes each usage error point to the help of its command. */
function pointToHelp(command: Command): void {
  const next = (text: string): string => {
    if (command.parent !== null) {
      return `ollm ${pathOf(command)} --help ${command.commands.length > 0 ? "lists its commands" : "shows its usage"}`;
    }
    // The names of models, unlike those of commands, have digits.
    const [, model] = /unknown command '([\w./-]*\d[\w.:/-]*)'/.exec(text) ?? [];
    return model === undefined
      ? "ollm help lists commands and options"
      : `To use the model ${model}: ollm run ${model}`;
  };
  command.configureOutput({
    outputError: (text, write) => write(terminalText(`${usageText(text, command)}\n  ${next(text)}\n`)),
  });
  for (const child of command.commands) pointToHelp(child);
}

function addSetUp(program: Command, run: Run): void {
  program.commandsGroup("Set up:");
  const setup = program
    .command("setup")
    .summary("add ollm to the assistants on this machine")
    .description("add ollm to the assistants on this machine; shows each change first")
    .option(
      "--client <name...>",
      "only these assistants, even if not found: claude-desktop, claude-code, cursor, vscode, codex, zed, windsurf, lm-studio, gemini (default: all that are found)",
    )
    .option("--root <folder...>", "folders whose files models may read and write (default: asks)")
    .option(
      "--engine",
      "install the embedded engine now, a 48 MB download (default: with the first model that needs it)",
    )
    .option("--guide", "write a short guide for the assistants, too: when to use local models (default: asks)")
    .option("--no-guide", "don't write the guide, and don't ask about it")
    .option("--print", "show the changes without making them")
    .option("--undo", "remove ollm from the assistants; with --guide, remove only the guide")
    .option("-y, --yes", "don't ask; updates a guide, but adds none")
    .addHelpText("after", "\nExit code 2 if it has to ask but there is no terminal: use --yes.")
    .action((options: SetupOptions) => run(async (io) => (await import("./commands/setup.ts")).setup(options, io)));
  withExamples(setup, [
    ["ollm setup", "asks before each change"],
    ["ollm setup --client cursor --root ~/notes --yes", "one assistant and one folder, without asking"],
    ["ollm setup --print", "only show the changes"],
  ]);
  const doctor = program
    .command("doctor")
    .description("check the installation and suggest fixes")
    .option("--json", "print one JSON object: ok, checks[{name, status, message, hint}]")
    .addHelpText("after", "\nExit code 1 if a check fails, 0 with warnings only. Starts and changes nothing.")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/doctor.ts")).doctor({ json: options.json === true }, io)),
    );
  withExamples(doctor, [["ollm doctor", "run all checks"]]);
  const uninstall = program
    .command("uninstall")
    .summary("remove ollm from all assistants and stop the daemon")
    .description("remove ollm from all assistants and stop the daemon; models and settings are kept")
    .option("--purge", "also delete the home with models, engine and settings; lists them first")
    .option("-y, --yes", "don't ask")
    .action((options: UninstallOptions) =>
      run(async (io) => (await import("./commands/uninstall.ts")).uninstall(options, io)),
    );
  withExamples(uninstall, [
    ["ollm uninstall", "keeps models and settings"],
    ["ollm uninstall --purge", "deletes everything; asks first"],
  ]);
}

function addRunning(program: Command, run: Run): void {
  program.commandsGroup("Server:");
  const dashboard = program
    .command("dashboard")
    .summary("open the dashboard in your browser")
    .description("print a link to the dashboard and open it in your browser; the link works once, within 5 minutes")
    .option("--json", "print one JSON line, and open nothing: url")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/dashboard.ts")).dashboard({ json: options.json === true }, io)),
    );
  withExamples(dashboard, [["ollm dashboard", "memory, requests, models, jobs and settings in your browser"]]);
  const serve = program
    .command("serve")
    .summary("serve MCP over HTTP")
    .description("serve MCP over HTTP: /mcp, /sse for older clients, /health; runs until SIGTERM")
    .option("--bind <address>", "address to listen on", "127.0.0.1")
    .addOption(
      new Option("--port <number>", "port to listen on; 0: any free port")
        .default(7411)
        .argParser(wholeNumber(0, 65_535)),
    )
    .option("--no-token", "accept all programs of this machine; loopback addresses only")
    .option("--json", "print one JSON line: url, token_file")
    .addHelpText("after", "\nClients send the token in OLLM_HOME/run/http-token: Authorization: Bearer TOKEN")
    .action(({ bind, port, token, json }: ServeFlags) =>
      run(async (io) =>
        (await import("./commands/serve.ts")).serve({ bind, port, json: json === true, isWithoutToken: !token }, io),
      ),
    );
  withExamples(serve, [
    ["ollm serve", "for programs on this machine"],
    ["ollm serve --bind 0.0.0.0 --port 8080", "for the network"],
  ]);

  const token = program.command("token").description("replace the token of HTTP clients").helpCommand(false);
  const rotate = token
    .command("rotate")
    .description("create a new token; the old token stops working and its connections are closed")
    .option("--json", "print one JSON line: token_file")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/serve.ts")).rotateToken({ json: options.json === true }, io)),
    );
  for (const command of [token, rotate]) withExamples(command, [["ollm token rotate", "the old token stops working"]]);
  addDaemon(program, run);
}

function addDaemon(program: Command, run: Run): void {
  const daemon = program
    .command("daemon")
    .description("control the process that all assistants share")
    .helpCommand(false);
  withExamples(daemon, [
    ["ollm daemon status", "whether it runs, its clients and models"],
    ["ollm daemon restart", "restart it with this version and environment"],
  ]);
  const start = daemon
    .command("start")
    .description("start the daemon (assistants start it on demand)")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonStart(options, io)),
    );
  withExamples(withJson(start, "running, pid, version"), [["ollm daemon start", "start it ahead of use"]]);
  const stop = daemon
    .command("stop")
    .description("stop the daemon; the next call of an assistant starts it again")
    .action((options: JsonOption) => run(async (io) => (await import("./commands/daemon.ts")).daemonStop(options, io)));
  withExamples(withJson(stop, "running, pid of the stopped daemon"), [["ollm daemon stop", "unloads all models"]]);
  const restart = daemon
    .command("restart")
    .description("restart the daemon with this program's version and environment")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonRestart(options, io)),
    );
  withExamples(withJson(restart, "running, pid, version"), [["ollm daemon restart", "clients stay connected"]]);
  const status = daemon
    .command("status")
    .description("show whether the daemon runs, its clients and loaded models; starts nothing")
    .option("--json", "print one JSON object: running, pid, version, socket, clients, loaded, ...")
    .action((options: JsonOption) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonStatus({ json: options.json === true }, io)),
    );
  withExamples(status, [["ollm daemon status --json", "as JSON"]]);
  addLogs(daemon, run);
  addLogs(program, run, { hidden: true });
}

/** `ollm daemon logs`, and `ollm logs`. */
function addLogs(parent: Command, run: Run, options: CommandOptions = {}): void {
  const logs = parent
    .command("logs", options)
    .description("show the daemon's log and its calls; prompts only if log.prompts is set")
    .addOption(new Option("-n, --lines <number>", "number of lines").default(50).argParser(wholeNumber(0, 1_000_000)))
    .option("-f, --follow", "show new lines until interrupted")
    .action(({ lines, follow }: { readonly lines: number; readonly follow?: boolean }) =>
      run(async (io) => (await import("./commands/daemon.ts")).daemonLogs({ lines, follow: follow === true }, io)),
    );
  withExamples(logs, [["ollm daemon logs --follow", "show new lines as they are written"]]);
}

/** The exit code for an error of commander: 0 after help and version, 2 for wrong usage; undefined for other errors. */
export function usageError(error: unknown): number | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  return error.exitCode === 0 ? 0 : 2;
}

/** The flags of `orchestrator/config/flags.ts` with their help; a test keeps both the same. */
function serverOptions(): readonly Option[] {
  return [
    new Option("--root <folder>", "folder whose files tools may read and write; repeatable"),
    new Option("--model <model>", "model used when a request names none"),
    new Option("--provider <engine>", "preferred engine if several have a model: ollama, llama-cpp"),
    new Option("--host <url>", "address of the Ollama server (default: http://127.0.0.1:11434)"),
    new Option("--temperature <number>", "sampling temperature, 0 to 2 (default: 0.7)"),
    new Option("--max-tokens <number>", "limit of tokens per answer (default: 4096)"),
    new Option("--context-size <tokens>", "minimum context window (default: what the prompt needs)"),
    new Option("--tools <names>", "tools to offer: default, all, or comma-separated names"),
    new Option("--standalone", "run in one process, without a daemon"),
  ];
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}

function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `ollm config`: reads and changes `OLLM_HOME/config.yaml` without the daemon. */
export function addConfig(program: Command, run: Run): void {
  program.commandsGroup("Set up:");
  const config = program.command("config").description("show and change settings").helpCommand(false);
  withExamples(config, [
    ["ollm config show", "values and where they come from"],
    ["ollm config set options.temperature 0.2", "change one"],
  ]);
  withExamples(
    withJson(
      config
        .command("show")
        .argument("[setting]", "a setting or a section (default: all)")
        .description("list settings with their values and sources: default, variable, or file and line"),
      "settings[{path, value, source, scope}], problem",
    ),
    [
      ["ollm config show", "all settings"],
      ["ollm config show memory", "one section"],
    ],
  )
    .addHelpText("after", "Exit code 1 if the file is invalid: the error and the defaults are shown.\n")
    .action((path: string | undefined, options: JsonOption) =>
      run(async (io) => (await import("./commands/config.ts")).configShow(path, options, io)),
    );
  withExamples(
    withJson(
      config
        .command("get")
        .argument("<setting>", "a setting")
        .description("print one value; exit code 1 if it is not set"),
      "path, value, source, scope",
    ),
    [["ollm config get options.temperature", "0.7, unless you set it"]],
  ).action((path: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configGet(path, options, io)),
  );
  withExamples(
    withJson(
      config
        .command("set")
        .argument("<setting>", "a setting")
        .argument("<value>", "the value; lists comma-separated or as JSON, records as JSON")
        .description("change one value in the file, keeping comments; an invalid value is not written"),
      "path, value, source, changed",
    ),
    [
      ["ollm config set options.temperature 0.2", "takes effect at once"],
      ["ollm config set files.roots ~/notes,~/work", "a list"],
      [`ollm config set "models['qwen*'].contextTokens" 16384`, "for models by pattern"],
    ],
  ).action((path: string, value: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, value, options, io)),
  );
  withExamples(
    withJson(
      config
        .command("unset")
        .argument("<setting>", "a setting, or a section")
        .description("remove a setting from the file and return to its default"),
      "path, source, changed",
    ),
    [[`ollm config unset "models['qwen*']"`, "all settings of one pattern"]],
  ).action((path: string, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configSet(path, undefined, options, io)),
  );
  withExamples(
    config.command("edit").description("edit a copy in $VISUAL or $EDITOR; it replaces the file once it is valid"),
    [["ollm config edit", "errors are shown before it takes effect"]],
  ).action(() => run(async (io) => (await import("./commands/config.ts")).configEdit(io)));
  withExamples(
    withJson(
      config
        .command("validate")
        .argument("[file]", "the file (default: config.yaml)")
        .description("check a file and report errors with their lines"),
      "file, valid, problem",
    ),
    [["ollm config validate other.yaml", "check another file"]],
  ).action((file: string | undefined, options: JsonOption) =>
    run(async (io) => (await import("./commands/config.ts")).configValidate(file, options, io)),
  );
  withExamples(
    withJson(
      config.command("path").description("print the path of the file, even if it does not exist"),
      "file, exists",
    ),
    [["ollm config path", "the path and nothing else"]],
  ).action((options: JsonOption) => run(async (io) => (await import("./commands/config.ts")).configPath(options, io)));
}
