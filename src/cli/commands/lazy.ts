import { Argument, type CommandOptions, Option } from "commander";
import type { CommandIo, JsonOption } from "../terminal/io.ts";
import type { ProgramName } from "./launch-program.ts";
import { type ShellCommand, numberBetween } from "./options.ts";

/**
 * Commands of which each does what a file of its own says, which is loaded when it runs: it reads the formats of clients,
 * the settings, or the daemon's files.
 */
export function addSetUp(program: ShellCommand): void {
  program.commandsGroup("Set up:");
  addInstallation(program);
  addAgents(program);
  addConfig(program);
  addCompletion(program);
}

/** The commands for the daemon and what it serves over HTTP. */
export function addServer(program: ShellCommand): void {
  program.commandsGroup("Server:");
  addDashboard(program);
  addServe(program);
  addLaunch(program);
  addDaemon(program);
}

/** `ollm setup`, `doctor` and `uninstall`. */
function addInstallation(program: ShellCommand): void {
  program
    .command("setup")
    .summary("add ollm to the assistants on this machine")
    .description("add ollm to the assistants on this machine; shows each change first")
    .option(
      "--client <name...>",
      "only these assistants, even if not found: claude-desktop, claude-code, cursor, vscode, codex, zed, windsurf, lm-studio, gemini (default: all that are found)",
    )
    .option("--root <folder...>", "folders whose files models may read and write (default: asks)")
    .option(
      "--engine [backend]",
      "install the embedded engine now, a 48 MB download, or with binaries for a graphics card: cuda (368 MB) or vulkan (76 MB); cpu goes back (default: with the first model that needs it)",
    )
    .option("--guide", "write a short guide for the assistants, too: when to use local models (default: asks)")
    .option("--no-guide", "don't write the guide, and don't ask about it")
    .option("--print", "show the changes without making them")
    .option("--undo", "remove ollm from the assistants; with --guide, remove only the guide")
    .option("-y, --yes", "don't ask; updates a guide, but adds none")
    .addHelpText("after", "\nExit code 2 if it has to ask but there is no terminal: use --yes.")
    .loads(async () => (await import("../setup/setup.ts")).setup);
  program
    .command("doctor")
    .description("check the installation and suggest fixes")
    .option("--json", "print one JSON object: ok, checks[{name, status, message, hint}]")
    .addHelpText("after", "\nExit code 1 if a check fails, 0 with warnings only. Starts and changes nothing.")
    .loads(async () => (await import("../setup/doctor.ts")).doctor);
  program
    .command("uninstall")
    .summary("remove ollm from all assistants and stop the daemon")
    .description("remove ollm from all assistants and stop the daemon; models and settings are kept")
    .option("--purge", "also delete the home with models, engine and settings; lists them first")
    .option("-y, --yes", "don't ask")
    .does(async (options: object, io: CommandIo) =>
      (await import("../setup/uninstall.ts")).uninstall(options, io, {
        stopDaemon: async () => (await import("./daemon.ts")).daemonStop({}, io),
      }),
    );
}

/** `ollm agents`. */
function addAgents(program: ShellCommand): void {
  const agents = program
    .command("agents")
    .description("add sub-agents that run on local models to Claude Code and Codex")
    .helpCommand(false);
  agents
    .command("install")
    .summary("write agent files for Claude Code and Codex that name ollm/fast, ollm/code and ollm/text")
    .description(
      "write agent files for Claude Code and Codex that name ollm/fast, ollm/code and ollm/text; shows them first, and leaves files of yours as they are",
    )
    .option("--print", "show the files without writing them")
    .option("-y, --yes", "don't ask")
    .addHelpText(
      "after",
      "\nThey run here only in sessions that are sent to the address of ollm serve: docs/agents.md\nExit code 2 if it has to ask but there is no terminal: use --yes.",
    )
    .loads(async () => (await import("../setup/agents.ts")).installAgents);
  agents
    .command("remove")
    .description("delete the agent files that install wrote, unless they were edited; shows them first")
    .option("--print", "show the changes without making them")
    .option("-y, --yes", "don't ask")
    .loads(async () => (await import("../setup/agents.ts")).removeAgents);
}

/** `ollm config`: reads and changes `OLLM_HOME/config.yaml` without the daemon. */
function addConfig(program: ShellCommand): void {
  const config = program.command("config").description("show and change settings").helpCommand(false);
  config
    .command("show")
    .argument("[setting]", "a setting or a section (default: all)")
    .description("list settings with their values and sources: default, variable, or file and line")
    .json("settings[{path, value, source, scope}], problem")
    .addHelpText("after", "\nExit code 1 if the file is invalid: the error and the defaults are shown.")
    .loads(async () => (await import("../setup/config.ts")).configShow);
  config
    .command("get")
    .argument("<setting>", "a setting")
    .description("print one value; exit code 1 if it is not set")
    .json("path, value, source, scope")
    .loads(async () => (await import("../setup/config.ts")).configGet);
  config
    .command("set")
    .argument("<setting>", "a setting")
    .argument("<value>", "the value; lists comma-separated or as JSON, records as JSON")
    .description("change one value in the file, keeping comments; an invalid value is not written")
    .json("path, value, source, changed")
    .loads(async () => (await import("../setup/config.ts")).configSet);
  config
    .command("unset")
    .argument("<setting>", "a setting, or a section")
    .description("remove a setting from the file and return to its default")
    .json("path, source, changed")
    .does(async (path: string, options: JsonOption, io: CommandIo) =>
      (await import("../setup/config.ts")).configSet(path, undefined, options, io),
    );
  config
    .command("edit")
    .description("edit a copy in $VISUAL or $EDITOR; it replaces the file once it is valid")
    .does(async (_options: object, io: CommandIo) => (await import("../setup/config.ts")).configEdit(io));
  config
    .command("validate")
    .argument("[file]", "the file (default: config.yaml)")
    .description("check a file and report errors with their lines")
    .json("file, valid, problem")
    .loads(async () => (await import("../setup/config.ts")).configValidate);
  config
    .command("path")
    .description("print the path of the file, even if it does not exist")
    .json("file, exists")
    .loads(async () => (await import("../setup/config.ts")).configPath);
}

/** `ollm completion`. */
function addCompletion(program: ShellCommand): void {
  program
    .command("completion")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish", "powershell"]))
    .summary("print a script that completes commands with Tab")
    .description("print a script that completes commands, options and model names with Tab")
    .does(async (shell: string, _options: object, io: CommandIo) =>
      (await import("./complete.ts")).completion(shell, io),
    );
}

/** `ollm dashboard`. */
function addDashboard(program: ShellCommand): void {
  program
    .command("dashboard")
    .summary("open the dashboard in your browser")
    .description("print a link to the dashboard and open it in your browser; the link works once, within 5 minutes")
    .option("--json", "print one JSON line, and open nothing: url")
    .loads(async () => (await import("./serve.ts")).dashboard);
}

/** `ollm serve` and `ollm token`. */
function addServe(program: ShellCommand): void {
  program
    .command("serve")
    .summary("serve MCP and the APIs of http.doors over HTTP")
    .description(
      "serve MCP over HTTP (/mcp, /sse for older clients), /health, and the APIs that http.doors names; runs until SIGTERM",
    )
    .option("--bind <address>", "address to listen on", "127.0.0.1")
    .addOption(
      new Option("--port <number>", "port to listen on; 0: any free port")
        .default(7411)
        .argParser(numberBetween(0, 65_535, "whole")),
    )
    .option("--no-token", "accept all programs of this machine; loopback addresses only")
    .option("--json", "print one JSON line: url, token_file, apis")
    .addHelpText("after", "\nClients send the token in OLLM_HOME/run/http-token: Authorization: Bearer TOKEN")
    .does(
      async ({ bind, port, token, json }: JsonOption & { bind: string; port: number; token: boolean }, io: CommandIo) =>
        (await import("./serve.ts")).serve({ bind, port, json: json === true, isWithoutToken: !token }, io),
    );

  const token = program.command("token").description("replace the token of HTTP clients").helpCommand(false);
  token
    .command("rotate")
    .description("create a new token; the old token stops working and its connections are closed")
    .option("--json", "print one JSON line: token_file")
    .loads(async () => (await import("./serve.ts")).rotateToken);
}

const launched = ["claude", "codex", "opencode", "qwen", "cline"] satisfies readonly ProgramName[];

/** `ollm launch`. */
function addLaunch(program: ShellCommand): void {
  program
    .command("launch")
    .addArgument(new Argument("<program>", "a coding agent").choices(launched))
    .argument("[arguments...]", "its own arguments, after --")
    .summary("start a coding agent on a local model")
    .description(
      "start a coding agent on a local model: with variables and arguments for this run only; none of its files are changed",
    )
    .option("--model <model>", "a model that can call tools (default: the best that fits)")
    .option("--print", "show command and variables, and start nothing")
    .loads(async () => (await import("./launch.ts")).launchProgram);
}

/** `ollm daemon`, and `ollm logs`. */
function addDaemon(program: ShellCommand): void {
  const daemon = program
    .command("daemon")
    .description("control the process that all assistants share")
    .helpCommand(false);
  daemon
    .command("start")
    .description("start the daemon (assistants start it on demand)")
    .loads(async () => (await import("./daemon.ts")).daemonStart)
    .json("running, pid, version");
  daemon
    .command("stop")
    .description("stop the daemon; the next call of an assistant starts it again")
    .loads(async () => (await import("./daemon.ts")).daemonStop)
    .json("running, pid of the stopped daemon");
  daemon
    .command("restart")
    .description("restart the daemon with this program's version and environment")
    .loads(async () => (await import("./daemon.ts")).daemonRestart)
    .json("running, pid, version");
  daemon
    .command("status")
    .description("show whether the daemon runs, its clients and loaded models; starts nothing")
    .option("--json", "print one JSON object: running, pid, version, socket, clients, loaded, ...")
    .loads(async () => (await import("./daemon.ts")).daemonStatus);
  addLogs(daemon);
  addLogs(program, { hidden: true });
}

/** `ollm daemon logs`, and `ollm logs`. */
function addLogs(parent: ShellCommand, options: CommandOptions = {}): void {
  parent
    .command("logs", options)
    .description("show the daemon's log and its calls; prompts only if log.prompts is set")
    .addOption(
      new Option("-n, --lines <number>", "number of lines").default(50).argParser(numberBetween(0, 1_000_000, "whole")),
    )
    .option("-f, --follow", "show new lines until interrupted")
    .loads(async () => (await import("./daemon.ts")).daemonLogs);
}
