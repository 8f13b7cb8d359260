import { homedir } from "node:os";
import type { Writable } from "node:stream";
import { openClientStreams } from "../../ipc/protocol.ts";
import { build, version } from "../../ipc/version.ts";
import { DaemonUnavailable, InvalidConfig } from "../../orchestrator/api/errors.ts";
import { type Log, createLog, isLogLevel } from "../../orchestrator/api/log.ts";
import { type Flags, parseFlags } from "../../orchestrator/config/flags.ts";
import { resolveHome, startFolder } from "../../orchestrator/config/home.ts";
import { callerParts } from "./caller-home.ts";
import { ensureHome, errorAtTerminal, redirectConsole, removeTemporary, runHome } from "./run.ts";
import type { Caller } from "../call/caller.ts";
import { serveClient } from "../mcp/create-server.ts";
import { stackOf } from "../../orchestrator/util/values.ts";

/** Together with the transport's drain time below the 2 s that clients wait before they kill a server. */
const exitBoundMs = 1_000;
/** Time for the last bytes to reach a client that may not read them. */
const flushMs = 300;
/** The id of this process's own client, as opposed to those on the socket. */
const ownClientId = "stdio";

/**
 * Runs daemon and stdio server in one process, until the client closes its end or a signal arrives. Then it aborts running
 * work, closes the orchestrator and exits within two seconds; a script that pipes its requests in and closes still gets
 * its answers. Exits with 1 before a client is answered when another process holds the home, or when other users could
 * have changed it.
 */
async function runStandalone(flags: Flags): Promise<void> {
  redirectConsole();
  const level = process.env["OLLM_LOG_LEVEL"];
  const writeLine = (line: string): void => void process.stderr.write(`${line}\n`);
  const log = createLog(isLogLevel(level) ? level : "warn", writeLine);
  // A defect in one call must not end the others; it is logged.
  process.on("unhandledRejection", (reason) => {
    log.warn(`unhandled: ${stackOf(reason)}`);
  });
  const userHome = homedir();
  const environment = process.env;
  const wanted = resolveHome(environment, userHome);
  const home = await ensureHome(wanted, log).catch((error: unknown) => refuse(error, writeLine));
  if (home !== wanted) process.once("exit", () => removeTemporary(home));
  let running: Awaited<ReturnType<typeof runHome>>;
  let streams: ReturnType<typeof openClientStreams> | undefined;
  try {
    running = await runHome({
      home,
      ...(home !== wanted && { unusableHome: wanted }),
      version,
      build,
      isStandalone: true,
      environment,
      flags,
      userHome,
      log,
      writeLine,
      serveClient: async () => serveClient,
      exitBoundMs,
      exit: (code) => exitWhenWritten(streams?.output, code),
    });
  } catch (error) {
    return refuse(error, writeLine);
  }

  const { orchestrator, calls, claim, daemon, end } = running;
  const origin = { environment, flags, workingDirectory: startFolder(userHome), userHome };
  const parts = withWarnings(callerParts({ home, version, log, orchestrator, calls, claim }, ownClientId, origin), log);
  streams = openClientStreams();
  const served = serveClient(streams, parts, () => end("client", 0), { areScriptsAnswered: true });
  // Only fronts understand farewells.
  const client = { ...served, say: () => Promise.resolve() };
  daemon.addClient(ownClientId, { served: client, connectedAt: new Date().toISOString() });
  process.once("SIGTERM", () => end("client", 143));
  process.once("SIGINT", () => end("client", 130));
  process.once("SIGHUP", () => end("client", 129));
}

/** Reports why the home can't be used, and ends the process with 1. Rethrows any other error. */
async function refuse(error: unknown, writeLine: (line: string) => void): Promise<never> {
  if (!(error instanceof DaemonUnavailable || error instanceof InvalidConfig)) throw error;
  writeLine(`ollm: ${await errorAtTerminal(error)}`);
  process.exit(1);
}

function exitWhenWritten(output: Writable | undefined, code: number): void {
  if (output === undefined || output.destroyed || output.writableLength === 0) process.exit(code);
  setTimeout(() => process.exit(code), flushMs);
  output.once("drain", () => process.exit(code));
}

/** Logs warnings about settings, known with the first call. (A front's user sees them in the daemon's welcome.) */
function withWarnings(parts: Caller, log: Log): Caller {
  let logged: readonly string[] | undefined;
  return {
    ...parts,
    async open() {
      const home = await parts.open();
      if (logged !== home.warnings) {
        for (const warning of home.warnings) if (logged?.includes(warning) !== true) log.warn(warning);
        logged = home.warnings;
      }
      return home;
    },
  };
}

/**
 * `ollm --standalone` with the server's flags, as clients start it. Other arguments go to the program, which reports them
 * with the nearest valid name, as does a failed start.
 */
export async function startStandalone(
  words: readonly string[],
  program: () => Promise<{ runProgram(words: readonly string[]): Promise<void>; fail(error: unknown): void }>,
): Promise<void> {
  let flags: Flags;
  try {
    flags = parseFlags(words);
  } catch {
    await (await program()).runProgram(words);
    return;
  }
  try {
    await runStandalone(flags);
  } catch (error) {
    (await program()).fail(error);
  }
}
