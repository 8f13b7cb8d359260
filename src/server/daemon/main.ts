import { homedir } from "node:os";
import { daemonLogFile } from "../../ipc/run-folder.ts";
import { DaemonUnavailable, InvalidConfig, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { createLog, isLogLevel } from "../../orchestrator/api/log.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import { resolveHome } from "../../orchestrator/config/home.ts";
import { rotateByCopy } from "./call-log.ts";
import { ensureHome, errorAtTerminal, redirectConsole, removeTemporary, runHome } from "./run.ts";
import { messageOf, stackOf } from "../../orchestrator/util/values.ts";

/** Fronts and `ollm daemon stop` expect a daemon to exit within three seconds. */
const exitBoundMs = 2_500;
const rotationLookMs = 60_000;
const sampleMs = 1_000;

/**
 * Runs the daemon process, which holds `OLLM_HOME` until it is no longer needed. The process that starts it connects its
 * stderr to `logs/daemon.log`. Resolves once it serves; exits with 1 when another process holds the home.
 */
export async function runDaemon(
  program: { readonly version: string; readonly build: string },
  flags: Flags,
): Promise<void> {
  redirectConsole();
  const writeLine = (line: string): void => {
    process.stderr.write(`${new Date().toISOString()} ${line}\n`);
  };
  process.on("uncaughtException", (error) => {
    // Its state is unknown now: fronts start the next daemon.
    writeLine(`ollm: uncaught: ${error.stack ?? error.message}`);
    process.exit(1);
  });
  process.on("unhandledRejection", (reason) => {
    writeLine(`ollm: unhandled: ${stackOf(reason)}`);
  });
  const given = process.env["OLLM_LOG_LEVEL"];
  // The start and end of a daemon are logged unless the level is `silent`.
  const log = createLog(isLogLevel(given) && given !== "warn" ? given : "info", writeLine);
  const userHome = homedir();
  const wanted = resolveHome(process.env, userHome);
  const home = await ensureHome(wanted, log).catch(async (error: unknown) => {
    if (!(error instanceof InvalidConfig)) throw error;
    log.warn(await errorAtTerminal(error, " "));
    process.exit(1);
  });
  if (home !== wanted) {
    removeTemporary(home);
    writeLine("ollm: daemon: the home must be writable");
    process.exit(1);
  }
  try {
    const running = await runHome({
      home,
      ...program,
      isStandalone: false,
      environment: process.env,
      flags,
      userHome,
      log,
      writeLine,
      serveClient: async () => (await import("../mcp/create-server.ts")).serveClient,
      exitBoundMs,
      exit: (code) => process.exit(code),
    });
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => running.end("stop", 0));
    // Before the first call, so that jobs and pulls of the previous daemon are resumed.
    running.orchestrator.open().catch((error: unknown) => {
      // Invalid settings are logged by the lazy orchestrator.
      if (!(error instanceof OrchestratorError)) log.warn(messageOf(error));
    });
    running.daemon.reopenDashboard().catch((error: unknown) => log.warn(`dashboard: ${String(error)}`));
    setInterval(() => {
      const sampling = running.orchestrator.current()?.orchestrator.live.sample();
      sampling?.catch((error: unknown) => log.debug(`history: ${String(error)}`));
    }, sampleMs).unref();
    await import("../mcp/create-server.ts");
  } catch (error) {
    if (!(error instanceof DaemonUnavailable)) throw error;
    log.info(error.message);
    process.exit(1);
  }
  const rotate = (): void => {
    rotateByCopy(daemonLogFile(home)).catch((error: unknown) => log.warn(`${daemonLogFile(home)}: ${String(error)}`));
  };
  rotate();
  setInterval(rotate, rotationLookMs).unref();
}
