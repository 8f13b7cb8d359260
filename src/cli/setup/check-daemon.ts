import { connectDaemon, DaemonUnreachable } from "../../ipc/handshake.ts";
import { newestClaim } from "../../ipc/claim-record.ts";
import { daemonLogFile } from "../../ipc/run-folder.ts";
import { freshSocketPath } from "../../ipc/socket-path.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type Checker, fail, ok, type DaemonView, warn } from "./check.ts";
import { counted } from "../../orchestrator/util/counted.ts";

/** Asks a running daemon for its status. Starts no daemon and never throws. */
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
      return said.status === undefined ? { claim, problem: "it returned no status" } : { claim, status: said.status };
    } finally {
      socket.destroy();
    }
  } catch (error) {
    if (error instanceof DaemonUnreachable && error.reason === "absent") return {};
    return { claim, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Checks the daemon. That none is running is fine: the first client starts it. */
export const checkDaemon: Checker = async ({ home, build, daemon }) => {
  const { status, claim, problem } = daemon;
  const log = daemonLogFile(home);
  const deaths = claim?.deaths.length ?? 0;
  const died =
    deaths > 0
      ? [
          warn(
            "daemon",
            `${deaths === 1 ? "the previous daemon" : `${deaths} previous daemons`} died within a minute of starting`,
            advice(`look for the reason in ${log}`),
          ),
        ]
      : [];
  if (status !== undefined) {
    const problems = (status.problems ?? []).map((known) =>
      warn("models", known, [{ step: "listDecisions" }, advice("restart an engine that returns no tokens")]),
    );
    const loaded = status.loaded.map(({ name }) => name).join(", ");
    const kind = status.isStandalone ? "standalone" : counted(status.clients.length, "client");
    const text = `${status.version}, pid ${status.pid}, ${kind}${loaded === "" ? "" : `, loaded: ${loaded}`}`;
    if (status.version === build) return [ok("daemon", text), ...problems, ...died];
    return [warn("daemon", `${text}; this program is ${build}`, { step: "restartDaemon" }), ...problems, ...died];
  }
  if (claim === undefined) return [ok("daemon", "not running; the first assistant that connects starts it")];
  return [
    warn(
      "daemon",
      `pid ${claim.pid}, started ${claim.startedAt}, ended unexpectedly: ${problem ?? "no response"}`,
      advice(`look for the reason in ${log}; the next daemon takes over`),
    ),
    ...died,
  ];
};

/** Checks that the socket's path is short enough for this system or that its short replacement can be used. */
export const checkSocket: Checker = async ({ home, io, daemon }) => {
  if (daemon.status !== undefined) return [ok("socket", daemon.status.socket)];
  try {
    return [ok("socket", `will be ${freshSocketPath(home, io.platform).replace(/[^/\\]+$/, "…")}`)];
  } catch (error) {
    return [
      fail("socket", error instanceof Error ? error.message : String(error), { step: "setHome", to: "a shorter path" }),
    ];
  }
};
