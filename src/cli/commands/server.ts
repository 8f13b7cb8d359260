import { type Command, type CommandOptions, Option } from "commander";
import type { LogOptions } from "./daemon.ts";
import { type JsonOption, type Run, wholeNumber, withExamples, withJson } from "./options.ts";

/** `ollm dashboard`. */
export function addDashboard(program: Command, run: Run): void {
  program.commandsGroup("Server:");
  const dashboard = program
    .command("dashboard")
    .summary("open the dashboard in your browser")
    .description("print a link to the dashboard and open it in your browser; the link works once, within 5 minutes")
    .option("--json", "print one JSON line, and open nothing: url")
    .action((options: JsonOption) => run(async (io) => (await import("./serve.ts")).dashboard(options, io)));
  withExamples(dashboard, [["ollm dashboard", "memory, requests, models, jobs and settings in your browser"]]);
}

/** `ollm serve` and `ollm token`. */
export function addServe(program: Command, run: Run): void {
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
    .action(({ bind, port, token, json }: JsonOption & { bind: string; port: number; token: boolean }) =>
      run(async (io) =>
        (await import("./serve.ts")).serve({ bind, port, json: json === true, isWithoutToken: !token }, io),
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
    .action((options: JsonOption) => run(async (io) => (await import("./serve.ts")).rotateToken(options, io)));
  for (const each of [token, rotate]) withExamples(each, [["ollm token rotate", "the old token stops working"]]);
}

/** `ollm daemon`, and `ollm logs`. */
export function addDaemon(program: Command, run: Run): void {
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
    .action((options: JsonOption) => run(async (io) => (await import("./daemon.ts")).daemonStart(options, io)));
  withExamples(withJson(start, "running, pid, version"), [["ollm daemon start", "start it ahead of use"]]);
  const stop = daemon
    .command("stop")
    .description("stop the daemon; the next call of an assistant starts it again")
    .action((options: JsonOption) => run(async (io) => (await import("./daemon.ts")).daemonStop(options, io)));
  withExamples(withJson(stop, "running, pid of the stopped daemon"), [["ollm daemon stop", "unloads all models"]]);
  const restart = daemon
    .command("restart")
    .description("restart the daemon with this program's version and environment")
    .action((options: JsonOption) => run(async (io) => (await import("./daemon.ts")).daemonRestart(options, io)));
  withExamples(withJson(restart, "running, pid, version"), [["ollm daemon restart", "clients stay connected"]]);
  const status = daemon
    .command("status")
    .description("show whether the daemon runs, its clients and loaded models; starts nothing")
    .option("--json", "print one JSON object: running, pid, version, socket, clients, loaded, ...")
    .action((options: JsonOption) => run(async (io) => (await import("./daemon.ts")).daemonStatus(options, io)));
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
    .action((given: LogOptions) => run(async (io) => (await import("./daemon.ts")).daemonLogs(given, io)));
  withExamples(logs, [["ollm daemon logs --follow", "show new lines as they are written"]]);
}
