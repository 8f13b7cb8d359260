import { connectOwner, OwnerUnreachable } from "../../ipc/handshake.ts";
import { newestClaim } from "../../ipc/claim-record.ts";
import { ownerLogFile } from "../../ipc/run-folder.ts";
import { freshSocketPath } from "../../ipc/socket-path.ts";
import { type Checker, fail, ok, type OwnerView, warn } from "./check.ts";

/** Asks the owner that lives, and starts none. Never throws. */
export async function viewOwner(
  home: string,
  build: string,
  workingDirectory: string,
  timeoutMs: number,
): Promise<OwnerView> {
  const claim = newestClaim(home);
  if (claim === undefined || claim.ended === true) return {};
  try {
    const hello = { version: build, purpose: "status" as const, workingDirectory, arguments: [], environment: {} };
    const { socket, welcome } = await connectOwner(home, hello, { timeoutMs, welcomeTimeoutMs: timeoutMs });
    try {
      const said = await welcome;
      if (!said.ok) return { claim, problem: said.message };
      return said.status === undefined
        ? { claim, problem: "it told nothing of itself" }
        : { claim, status: said.status };
    } finally {
      socket.destroy();
    }
  } catch (error) {
    if (error instanceof OwnerUnreachable && error.reason === "absent") return {};
    return { claim, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** The one process that holds models, queue and stores; none is fine, since the first host starts it. */
export const checkOwner: Checker = async ({ home, build, owner }) => {
  const { status, claim, problem } = owner;
  const log = ownerLogFile(home);
  const deaths = claim?.deaths.length ?? 0;
  const died =
    deaths > 0
      ? [
          warn(
            "owner",
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
    if (status.version === build) return [ok("owner", text), ...problems, ...died];
    return [
      warn("owner", `${text}; this program is ${build}`, "ollm daemon restart: the owner then is this version."),
      ...problems,
      ...died,
    ];
  }
  if (claim === undefined) return [ok("owner", "not running; the first assistant that connects starts it")];
  return [
    warn(
      "owner",
      `pid ${claim.pid} of ${claim.startedAt} did not end as it should: ${problem ?? "no answer"}`,
      `The next start takes over; ${log} says what happened.`,
    ),
    ...died,
  ];
};

/** Whether a socket's path is short enough here, or the folder that stands in for it is ours. */
export const checkSocket: Checker = async ({ home, io, owner }) => {
  if (owner.status !== undefined) return [ok("socket", owner.status.socket)];
  try {
    return [ok("socket", `possible: ${freshSocketPath(home, io.platform).replace(/[^/\\]+$/, "…")}`)];
  } catch (error) {
    return [fail("socket", error instanceof Error ? error.message : String(error), "Set OLLM_HOME to a shorter path.")];
  }
};
