import type { CommandIo } from "../terminal/io.ts";
import { type CommandOptions, Option } from "commander";
import { type ShellCommand, type JsonOption, wholeNumber } from "./options.ts";

/** `ollm dashboard`. */
export function addDashboard(program: ShellCommand): void {
  program.commandsGroup("Server:");
  program
    .command("dashboard")
    .summary("open the dashboard in your browser")
    .description("print a link to the dashboard and open it in your browser; the link works once, within 5 minutes")
    .option("--json", "print one JSON line, and open nothing: url")
    .loads(async () => (await import("./serve.ts")).dashboard);
}

/** `ollm serve` and `ollm token`. */
export function addServe(program: ShellCommand): void {
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
        .argParser(wholeNumber(0, 65_535)),
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

/** `ollm daemon`, and `ollm logs`. */
export function addDaemon(program: ShellCommand): void {
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
    .addOption(new Option("-n, --lines <number>", "number of lines").default(50).argParser(wholeNumber(0, 1_000_000)))
    .option("-f, --follow", "show new lines until interrupted")
    .loads(async () => (await import("./daemon.ts")).daemonLogs);
}
