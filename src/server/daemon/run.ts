import { rmSync } from "node:fs";
import { access, chmod, constants, copyFile, mkdir, mkdtemp, readdir, rm, stat, symlink } from "node:fs/promises";
import { createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Claim, claimHome } from "../../ipc/claim.ts";
import type { Farewell } from "../../ipc/protocol.ts";
import { realHome, runFolder, tokenFile } from "../../ipc/run-folder.ts";
import { ensureToken } from "../../ipc/token.ts";
import { requireTrustedHome } from "../../ipc/trusted-home.ts";
import { InvalidConfig, type OrchestratorError } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { createCallLog } from "./call-log.ts";
import { Daemon, watchBusiness } from "./daemon.ts";
import type { OpenOrchestratorOptions } from "./open-orchestrator.ts";
import { createLazyOrchestrator } from "./lazy-orchestrator.ts";
import type { DaemonParts } from "./caller-home.ts";
import { messageOf, isMissing } from "../../orchestrator/util/values.ts";
import { Console } from "node:console";

interface RunOptions
  extends OpenOrchestratorOptions, Pick<DaemonParts, "build" | "isStandalone" | "log" | "serveClient"> {
  /** Limit of the time for an orderly end; then the process exits. */
  readonly exitBoundMs: number;
  readonly exit: (code: number) => void;
}

type EndReason = Farewell["reason"] | "client" | "restart";

/** Used until the settings are read, or while they are invalid. */
const defaultIdleSeconds = 1_800;
/** Time for the front that started it to connect and get the error. */
const hopelessSeconds = 5;
/** After this many deaths within a minute nothing is loaded before a request needs it. */
const deathsOfSafeStart = 3;

/**
 * Holds a home, for the daemon and for a standalone server: claims it, answers on its socket, and ends on request, when
 * idle, or when it loses the home. Throws `DaemonUnavailable` while another process holds it. `end` sends farewells, ends
 * running work and exits; later calls have no effect.
 */
export async function runHome(options: RunOptions) {
  const { log, isStandalone, build } = options;
  const home = realHome(options.home);
  let claim: Claim | undefined;
  let isEnding = false;

  const orchestrator = createLazyOrchestrator({
    ...options,
    home,
    isNeeded: () => {
      const { clients, listeners } = daemon.business();
      return clients + listeners > 0;
    },
    isSafeStart: () => isSafe(claim),
  });
  const calls = createCallLog(home, log);
  const daemon = new Daemon({
    ...options,
    home,
    orchestrator,
    calls,
    claim: () => claim,
    onAsked: (what) => (what === "handover" ? watch.startHandover() : end(what, 0)),
  });
  const server = createSocketServer((socket) => daemon.accept(socket));
  server.on("error", (error) => log.warn(`socket: ${error.message}`));
  const watch = watchBusiness({
    business: () => daemon.business(),
    idleTimeoutSeconds: () => {
      if (isStandalone) return -1;
      // The next one may be started with other variables.
      if (orchestrator.isHopeless()) return hopelessSeconds;
      return orchestrator.current()?.settings.daemon.idleTimeout ?? defaultIdleSeconds;
    },
    now: () => performance.now(),
    wallNow: Date.now,
    onIdle: () => end("idle", 0),
    onDrain: () => daemon.pauseClients(),
    onHandover: () => end("handover", 0),
    onWake(gapMs) {
      log.info(`the machine slept for ${Math.round(gapMs / 1_000)} s: engines are probed`);
      orchestrator
        .current()
        ?.orchestrator.wokeUp()
        .catch((error: unknown) => log.warn(`after sleep: ${String(error)}`));
    },
  });

  function end(reason: EndReason, exitCode: number): void {
    if (isEnding) return;
    isEnding = true;
    watch.stop();
    log.info(`ending: ${reason}`);
    setTimeout(() => {
      // Released, so that this requested end doesn't count as a death.
      claim?.release();
      options.exit(exitCode);
    }, options.exitBoundMs).unref();
    shutDown(reason)
      .catch((error: unknown) => log.warn(`ending: ${messageOf(error)}`))
      .finally(() => options.exit(exitCode));
  }

  /** The claim is released last, so that no other daemon meets our engines; in a handover before fronts disconnect. */
  async function shutDown(reason: EndReason): Promise<void> {
    if (reason === "handover") {
      // First, so that fronts know which requests were read even if the rest takes too long, and can repeat them.
      await daemon.sayFarewell("handover");
      await daemon.closeListeners();
      await orchestrator.close({ isLeaving: false });
      claim?.release();
      await daemon.closeClients("handover");
    } else {
      // In this order: calls detach from their operations before the orchestrator ends the remaining ones.
      await Promise.all([daemon.closeClients(farewellOf(reason)), daemon.closeListeners()]);
      await orchestrator.close({ isLeaving: !isStandalone && reason !== "restart" });
      claim?.release();
    }
    await calls.idle();
  }

  try {
    claim = await claimHome({ home, version: build, isStandalone, server });
  } catch (error) {
    watch.stop();
    server.close();
    throw error;
  }
  const { record } = claim;
  const deaths = record.deaths.length;
  log.info(`${build} holds ${home} (pid ${process.pid}, generation ${record.generation}, ${record.socket})`);
  if (deaths > 0) {
    const daemons = deaths === 1 ? "a daemon of" : `${deaths} daemons of`;
    log.warn(`daemon: ${daemons} ${home} died within the last minute${isSafe(claim) ? ": a safe start" : ""}`);
  }
  claim.onLost((reason, how) => {
    log.warn(reason);
    // Fronts connect to the newer daemon; for a deleted home they start one only with their client's next request.
    end(how === "newer" ? "handover" : "stop", 1);
  });
  tidyRunFolder(home, build, claim.record.socket).catch((error: unknown) => log.debug(`tidying: ${String(error)}`));
  return { daemon, orchestrator, calls, claim: () => claim, end };
}

function isSafe(claim: Claim | undefined): boolean {
  return (claim?.record.deaths.length ?? 0) >= deathsOfSafeStart;
}

/** The reason in farewells to fronts: after a restart, as after a handover, they wait for the next daemon. */
function farewellOf(reason: EndReason): Farewell["reason"] {
  if (reason === "client") return "stop";
  return reason === "restart" ? "handover" : reason;
}

/** A front may be about to start a version that it has just copied. */
const minAgeMs = 24 * 60 * 60 * 1_000;

/**
 * Removes leftovers of earlier daemons from the run folder when they are older than a day: copies of other versions,
 * incomplete files, and sockets, which no process can be listening on because we hold the home.
 */
async function tidyRunFolder(home: string, ownVersion: string, ownSocket: string): Promise<void> {
  const folder = runFolder(home);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    const isCopy = entry.isDirectory() && /^\d+\.\d+\.\d+/.test(entry.name) && entry.name !== ownVersion;
    const isHalf = entry.name.endsWith(".new");
    const isSocket = entry.isSocket() && full !== ownSocket;
    if (!isCopy && !isHalf && !isSocket) continue;
    if (Date.now() - (await stat(full)).mtimeMs < minAgeMs) continue;
    await rm(full, { recursive: true, force: true });
  }
}

/** Sends console output to stderr, so that no dependency can print to stdout, which belongs to the protocol. */
export function redirectConsole(): void {
  globalThis.console = new Console({ stdout: process.stderr, stderr: process.stderr });
}

/** One of our own errors in the terms of a terminal or a log. Loads the words when a start fails: most need none. */
export async function errorAtTerminal(error: OrchestratorError, separator = "\n  "): Promise<string> {
  const { commandSteps } = await import("../../next-steps/commands.ts");
  const { withSteps } = await import("../../next-steps/render.ts");
  return withSteps(error, commandSteps, separator);
}

/**
 * Creates the home folder if needed and restricts it to its user. A home that can't be written (containers, sandboxes) is
 * replaced by a temporary one with the same settings, and a warning: models pulled into it are lost with it. Throws
 * `InvalidConfig` for a home that other users could have changed. Nothing of such a home is used, not even its settings,
 * and every file in it is checked, because this process executes and obeys some of them.
 */
export async function ensureHome(wanted: string, log: Log): Promise<string> {
  requireTrustedHome(wanted, { isWhole: true });
  try {
    await mkdir(wanted, { recursive: true, mode: 0o700 });
    // Checked again: it may be new, in a folder where other users can replace it.
    requireTrustedHome(wanted);
    await access(wanted, constants.R_OK | constants.W_OK | constants.X_OK);
    // A home can't be claimed without a token.
    ensureToken(realHome(wanted));
    // It has tokens and prompts. On Windows the profile's access rules protect it.
    if (process.platform !== "win32") await closeToOthers(realHome(wanted), log);
    return wanted;
  } catch (error) {
    if (error instanceof InvalidConfig) throw error;
    const temporary = await mkdtemp(path.join(tmpdir(), "ollm-home-"));
    await linkSettings(wanted, temporary, log);
    const reason = messageOf(error);
    log.warn(
      `${wanted} can't be used (${reason}); using ${temporary} until this process exits. Set OLLM_HOME to a writable folder.`,
    );
    return temporary;
  }
}

/** Removes a temporary home when the process that used it exits. */
export function removeTemporary(home: string): void {
  try {
    rmSync(home, { recursive: true, force: true });
  } catch {
    // On Windows a child process may still have a file open; the system cleans its temporary folder later.
  }
}

/** Links the settings into the temporary home, or copies them where links need a privilege. Unreadable settings are left out. */
async function linkSettings(wanted: string, temporary: string, log: Log): Promise<void> {
  const [from, to] = [path.join(path.resolve(wanted), "config.yaml"), path.join(temporary, "config.yaml")];
  try {
    await access(from, constants.R_OK);
    await symlink(from, to).catch(() => copyFile(from, to));
  } catch (error) {
    if (!isMissing(error)) log.warn(`${from} is not used: ${String(error)}`);
  }
}

/** Restricts home, run folder and token separately: a folder may be a link, and a copied home keeps its modes. */
async function closeToOthers(home: string, log: Log): Promise<void> {
  await closeOne(home, 0o700);
  await closeOne(runFolder(home), 0o700);
  if (await closeOne(tokenFile(home), 0o600)) {
    log.warn(
      `${tokenFile(home)} could be read by other users; delete it while no daemon runs to have a new one created`,
    );
  }
}

/** Restricts a file or folder; returns whether other users had access. */
async function closeOne(folder: string, mode: number): Promise<boolean> {
  if (((await stat(folder)).mode & 0o077) === 0) return false;
  await chmod(folder, mode);
  return true;
}
