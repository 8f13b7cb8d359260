import { Argument, type CommandOptions } from "commander";
import type { CommandIo, JsonOption } from "../terminal/io.ts";
import type { ProgramName } from "./launch-program.ts";
import { type ShellCommand, numberBetween } from "./options.ts";

/**
 * Commands of which each does what a file of its own says, which is loaded when it runs: it reads the formats of clients,
 * the settings, or the daemon's files.
 */
export function addSetUp(program: ShellCommand): void {
  program.commandsGroup("Set up:");
  program
    .command("setup")
    .option(
      "--client <name...>",
      "only these assistants, even if not found: claude-desktop, claude-code, cursor, vscode, codex, zed, windsurf, lm-studio, gemini, opencode, copilot, cline, qwen, kiro, goose, junie (default: all that are found)",
    )
    .option("--root <folder...>", "folders whose files models may read and write (default: asks)")
    .option(
      "--engine [backend]",
      "install the embedded engine now, a 48 MB download, or with binaries for a graphics card: cuda (368 MB) or vulkan (76 MB); cpu goes back (default: with the first model that needs it)",
    )
    .option("--guide", "write a short guide for the assistants, too: when to use local models (default: asks)")
    .option("--no-guide", "don't write the guide, and don't ask about it")
    .option(
      "--plugin",
      "offer Claude Code and Codex a hook, too: when they read a large file or diff, it says what a local model would save",
    )
    .option("--print", "show the changes without making them")
    .option("--undo", "remove ollm from the assistants; with --guide or --plugin, only these")
    .option("-y, --yes", "don't ask; updates a guide, but adds none")
    .loads(async () => (await import("../setup/setup.ts")).setup);
  program
    .command("doctor")
    .option("--json", "print one JSON object: ok, checks[{name, status, message, hint}]")
    .loads(async () => (await import("../setup/doctor.ts")).doctor);
  program
    .command("uninstall")
    .option("--purge", "also delete the home with models, engine and settings; lists them first")
    .option("-y, --yes", "don't ask")
    .does(async (options: object, io: CommandIo) =>
      (await import("../setup/uninstall.ts")).uninstall(options, io, {
        stopDaemon: async () => (await import("./daemon.ts")).daemonStop({}, io),
      }),
    );

  const agents = program.command("agents");
  agents
    .command("install")
    .option("--print", "show the files without writing them")
    .option("-y, --yes", "don't ask")
    .loads(async () => (await import("../setup/agents.ts")).installAgents);
  agents
    .command("remove")
    .option("--print", "show the changes without making them")
    .option("-y, --yes", "don't ask")
    .loads(async () => (await import("../setup/agents.ts")).removeAgents);

  const config = program.command("config");
  config
    .command("show")
    .argument("[setting]", "a setting or a section (default: all)")
    .loads(async () => (await import("../setup/config.ts")).configShow);
  config
    .command("get")
    .argument("<setting>", "a setting")
    .loads(async () => (await import("../setup/config.ts")).configGet);
  config
    .command("set")
    .argument("<setting>", "a setting")
    .argument("<value>", "the value; lists comma-separated or as JSON, records as JSON")
    .loads(async () => (await import("../setup/config.ts")).configSet);
  config
    .command("unset")
    .argument("<setting>", "a setting, or a section")
    .does(async (path: string, options: JsonOption, io: CommandIo) =>
      (await import("../setup/config.ts")).configSet(path, undefined, options, io),
    );
  config
    .command("edit")
    .does(async (_options: object, io: CommandIo) => (await import("../setup/config.ts")).configEdit(io));
  config
    .command("validate")
    .argument("[file]", "the file (default: config.yaml)")
    .loads(async () => (await import("../setup/config.ts")).configValidate);
  config.command("path").loads(async () => (await import("../setup/config.ts")).configPath);

  program
    .command("completion")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish", "powershell"]))
    .loads(async () => (await import("./complete.ts")).completion);
}

/** The commands for the daemon and what it serves over HTTP. */
export function addServer(program: ShellCommand): void {
  program.commandsGroup("Server:");
  program
    .command("dashboard")
    .option("--json", "print one JSON line, and open nothing: url")
    .loads(async () => (await import("./serve.ts")).dashboard);

  program
    .command("serve")
    .option("--bind <address>", "address to listen on", "127.0.0.1")
    .option("--port <number>", "port to listen on; 0: any free port", numberBetween(0, 65_535, "whole"), 7411)
    .option("--no-token", "accept all programs of this machine; loopback addresses only")
    .option("--json", "print one JSON line: url, token_file, apis")
    .loads(async () => (await import("./serve.ts")).serve);

  const token = program.command("token");
  token
    .command("rotate")
    .option("--json", "print one JSON line: token_file")
    .loads(async () => (await import("./serve.ts")).rotateToken);

  program
    .command("launch")
    .addArgument(new Argument("<program>", "a coding agent").choices(launched))
    .argument("[arguments...]", "its own arguments, after --")
    .option("--model <model>", "a model that can call tools (default: the best that fits)")
    .option("--print", "show command and variables, and start nothing")
    .loads(async () => (await import("./launch.ts")).launchProgram);

  const daemon = program.command("daemon");
  daemon.command("start").loads(async () => (await import("./daemon.ts")).daemonStart);
  daemon.command("stop").loads(async () => (await import("./daemon.ts")).daemonStop);
  daemon.command("restart").loads(async () => (await import("./daemon.ts")).daemonRestart);
  daemon
    .command("status")
    .option("--json", "print one JSON object: running, pid, version, socket, clients, loaded, ...")
    .loads(async () => (await import("./daemon.ts")).daemonStatus);
  addLogs(daemon);
  addLogs(program, { hidden: true });
}

const launched = ["claude", "codex", "opencode", "qwen", "cline"] satisfies readonly ProgramName[];

/** `ollm daemon logs`, and `ollm logs`. */
function addLogs(parent: ShellCommand, options: CommandOptions = {}): void {
  parent
    .command("logs", options)
    .description("show the daemon's log and its calls; prompts only if log.prompts is set")
    .option("-n, --lines <number>", "number of lines", numberBetween(0, 1_000_000, "whole"), 50)
    .option("-f, --follow", "show new lines until interrupted")
    .loads(async () => (await import("./daemon.ts")).daemonLogs);
}
