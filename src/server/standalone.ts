import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { homedir } from "node:os";
import type { Flags } from "../orchestrator/config/load.ts";
import { createLog, type LogLevel } from "../orchestrator/log.ts";
import { redirectConsole } from "./console-guard.ts";
import { createServer } from "./create-server.ts";
import type { OpenHome, ServerHost } from "./host.ts";
import { createStdioTransport } from "./stdio-transport.ts";

/** With the transport's half second for last answers, below the 2 s that hosts wait before they kill. */
const exitBoundMs = 1_200;

/**
 * Owner and stdio server in one process. Serves until the client closes its end or a signal comes, then aborts what is
 * under way, closes the brain and ends the process, within two seconds.
 */
export function runStandalone(version: string, flags: Flags): void {
  redirectConsole();
  const level = process.env["OLLM_LOG_LEVEL"];
  const log = createLog(isLogLevel(level) ? level : "warn", (line) => process.stderr.write(`${line}\n`));

  let opening: Promise<OpenHome & { close(): Promise<void> }> | undefined;
  const host: ServerHost = {
    version,
    log,
    caller: {
      id: `stdio-${process.pid}`,
      workingDirectory: process.cwd(),
      mayOfferRoots: true,
      homeDirectory: homedir(),
    },
    async open() {
      opening ??= import("./world.ts").then(({ openHome }) =>
        openHome({ environment: process.env, flags, userHome: homedir(), version, log }),
      );
      try {
        return await opening;
      } catch (error) {
        // A setting that was wrong may be mended by the next call.
        opening = undefined;
        throw error;
      }
    },
  };

  let isEnding = false;
  const end = (exitCode: number): void => {
    if (isEnding) return;
    isEnding = true;
    setTimeout(() => process.exit(exitCode), exitBoundMs).unref();
    const closeAll = async (): Promise<void> => {
      // In this order: the calls let go of their operations before the brain ends those that are left.
      await connection.close();
      const home = await opening?.catch(() => undefined);
      await home?.close();
    };
    closeAll()
      .catch((error: unknown) => log.warn(`closing: ${error instanceof Error ? error.message : String(error)}`))
      .finally(() => process.exit(exitCode));
  };

  const transport = createStdioTransport(process.stdin, process.stdout, { onEnd: () => end(0) });
  const connection = serveStdio(() => createServer(host), {
    transport,
    onerror: (error) => log.debug(`protocol: ${error.message}`),
  });
  process.once("SIGTERM", () => end(143));
  process.once("SIGINT", () => end(130));
  process.once("SIGHUP", () => end(129));
  // A defect in one call must not take the others with it; it is shown, never hidden.
  process.on("unhandledRejection", (reason) => {
    log.warn(`unhandled: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`);
  });
}

function isLogLevel(text: string | undefined): text is LogLevel {
  return text === "debug" || text === "info" || text === "warn" || text === "silent";
}
