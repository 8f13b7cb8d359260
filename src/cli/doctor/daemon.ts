import { connectDaemon, DaemonUnreachable } from "../../ipc/handshake.ts";
import { newestClaim } from "../../ipc/claim-record.ts";
import { daemonLogFile } from "../../ipc/run-folder.ts";
import { freshSocketPath } from "../../ipc/socket-path.ts";
import { type Checker, fail, ok, type DaemonView, warn } from "./check.ts";

/** Asks the daemon that lives, and starts none. Never throws. */
export async function viewDaemon(
  home: string,
  build: string,
  workingDirectory: string,
  timeoutMs: number,
): Promise<DaemonView> {
  const claim = newestClaim(home);
  if (claim === undefined || claim.ended === true) return {};
  try {
    const hello = { version: build, purpose: "status" as const, workingDirectory, arguments: [], environment: {} };
    const { socket, welcome } = await connectDaemon(home, hello, { timeoutMs, welcomeTimeoutMs: timeoutMs });
    try {
      const said = await welcome;
      if (!said.ok) return { claim, problem: said.message };
      return said.status === undefined ? { claim, problem: "it sent no status" } : { claim, status: said.status };
    } finally {
      socket.destroy();
    }
  } catch (error) {
    if (error instanceof DaemonUnreachable && error.reason === "absent") return {};
    return { claim, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** The one process that holds models, queue and stores; none is fine, since the first client starts it. */
export const checkDaemon: Checker = async ({ home, build, daemon }) => {
  const { status, claim, problem } = daemon;
  const log = daemonLogFile(home);
  const deaths = claim?.deaths.length ?? 0;
  const died =
    deaths > 0
      ? [
          warn(
            "daemon",
            `${deaths === 1 ? "one" : deaths} before it died within a minute of its start`,
            `${log} says why.`,
          ),
        ]
      : [];
  if (status !== undefined) {
    const problems = (status.problems ?? []).map((known) =>
      warn(
        "models",
        known,
        "Restart an engine that gives no tokens; ollm decisions says what was loaded and unloaded.",
      ),
    );
    const loaded = status.loaded.map(({ name }) => name).join(", ");
    const kind = status.isStandalone ? "standalone, shared with nobody" : `${status.clients.length} clients`;
    const text = `${status.version}, pid ${status.pid}, ${kind}${loaded === "" ? "" : `, loaded: ${loaded}`}`;
    if (status.version === build) return [ok("daemon", text), ...problems, ...died];
    return [
      warn("daemon", `${text}; this program is ${build}`, "ollm daemon restart: the daemon then is this version."),
      ...problems,
      ...died,
    ];
  }
  if (claim === undefined) return [ok("daemon", "not running; the first assistant that connects starts it")];
  return [
    warn(
      "daemon",
      `pid ${claim.pid} of ${claim.startedAt} did not end as it should: ${problem ?? "no answer"}`,
      `The next start takes over; ${log} says what happened.`,
    ),
    ...died,
  ];
};

/** Whether a socket's path is short enough here, or the folder that stands in for it is ours. */
export const checkSocket: Checker = async ({ home, io, daemon }) => {
  if (daemon.status !== undefined) return [ok("socket", daemon.status.socket)];
  try {
    return [ok("socket", `possible: ${freshSocketPath(home, io.platform).replace(/[^/\\]+$/, "…")}`)];
  } catch (error) {
    return [fail("socket", error instanceof Error ? error.message : String(error), "Set OLLM_HOME to a shorter path.")];
  }
};
