import { createServer as createSocketServer } from "node:net";
import { claimHome, type Claim } from "../../ipc/claim.ts";
import type { Farewell } from "../../ipc/protocol.ts";
import { realHome } from "../../ipc/run-folder.ts";
import type { Flags } from "../../orchestrator/config/flags.ts";
import type { Log } from "../../orchestrator/log.ts";
import { createLazyOrchestrator, type LazyOrchestrator } from "./lazy-orchestrator.ts";
import { createCallLog, type CallLog } from "./call-log.ts";
import { createDaemon, type Daemon } from "./daemon.ts";
import type { DaemonParts } from "./parts.ts";
import { tidyRunFolder } from "./tidy.ts";
import { watchBusiness } from "./watch.ts";

export interface RunOptions {
  /** `OLLM_HOME`, made and writable. */
  readonly home: string;
  /** The one in whose place it is. */
  readonly unusableHome?: string;
  readonly version: string;
  /** Version and build. */
  readonly build: string;
  readonly isStandalone: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: Flags;
  readonly userHome: string;
  readonly log: Log;
  readonly writeLine: (line: string) => void;
  readonly serveClient: DaemonParts["serveClient"];
  /** The end may take so long; then the process goes as it is. */
  readonly exitBoundMs: number;
  readonly exit: (code: number) => void;
}

export interface RunningDaemon {
  readonly daemon: Daemon;
  readonly orchestrator: LazyOrchestrator;
  readonly calls: CallLog;
  readonly claim: DaemonParts["claim"];
  /** Daemons before it died again and again: nothing is loaded before somebody asks for it. */
  readonly isSafeStart: boolean;
  /** Says goodbye, ends what is under way and the process. Once. */
  end(reason: EndReason, exitCode: number): void;
}

export type EndReason = Farewell["reason"] | "client" | "restart";

/** Until the settings are read, or while they are wrong. */
const defaultIdleSeconds = 1_800;
/** Who started it has time to connect, and to be told why. */
const hopelessSeconds = 5;
/** After so many deaths within a minute nothing is loaded before somebody asks for it. */
const deathsOfSafeStart = 3;

/**
 * Holds a home: claims it, answers on its socket, and ends when it is told to, has nothing to do any more, or loses the
 * home. The same for the daemon and for a standalone server. Throws `DaemonUnavailable` while somebody else holds it.
 */
export async function runHome(options: RunOptions): Promise<RunningDaemon> {
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
  const daemon = createDaemon({
    ...options,
    home,
    orchestrator,
    calls,
    claim: () => claim,
    openHttpListener: async (asked) => (await import("../http/listener.ts")).openHttpListener(asked),
    onAsked: (what) => (what === "handover" ? watch.startHandover() : end(what, 0)),
  });
  const server = createSocketServer(daemon.accept);
  server.on("error", (error) => log.warn(`socket: ${error.message}`));
  const watch = watchBusiness({
    business: daemon.business,
    idleTimeoutSeconds: () => {
      if (isStandalone) return -1;
      // The next one may be started with other variables.
      if (orchestrator.isHopeless()) return hopelessSeconds;
      return orchestrator.current()?.settings.daemon.idleTimeout ?? defaultIdleSeconds;
    },
    now: () => performance.now(),
    wallNow: Date.now,
    onIdle: () => end("idle", 0),
    onDrain: daemon.pauseClients,
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
      // It was told to end, and nobody needs to count a death.
      claim?.release();
      options.exit(exitCode);
    }, options.exitBoundMs).unref();
    shutDown(reason)
      .catch((error: unknown) => log.warn(`ending: ${error instanceof Error ? error.message : String(error)}`))
      .finally(() => options.exit(exitCode));
  }

  /** The claim goes last, so that no other daemon meets our engines; but fronts must not wait for a handover twice. */
  async function shutDown(reason: EndReason): Promise<void> {
    if (reason === "handover") {
      // First of all: should the rest take too long, fronts know what has been read, and ask the next daemon for it.
      await daemon.sayFarewell("handover");
      await daemon.closeListeners();
      await orchestrator.close({ isLeaving: false });
      claim?.release();
      await daemon.closeClients("handover");
    } else {
      // In this order: the calls detach from their operations before the orchestrator ends those that are left.
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
  const isSafeStart = isSafe(claim);
  log.info(`${build} holds ${home} (pid ${process.pid}, generation ${record.generation}, ${record.socket})`);
  if (deaths > 0) {
    const times = deaths === 1 ? "a daemon of" : `${deaths} daemons of`;
    log.warn(`${times} ${home} died within the last minute${isSafeStart ? ": a safe start" : ""}`);
  }
  claim.onLost((reason, how) => {
    log.warn(reason);
    // Fronts find the newer daemon; of a home that was deleted none makes another before its client asks for something.
    end(how === "newer" ? "handover" : "stop", 1);
  });
  tidyRunFolder(home, build, claim.record.socket).catch((error: unknown) => log.debug(`tidying: ${String(error)}`));
  return { daemon, orchestrator, calls, claim: () => claim, isSafeStart, end };
}

function isSafe(claim: Claim | undefined): boolean {
  return (claim?.record.deaths.length ?? 0) >= deathsOfSafeStart;
}

/** What fronts are told: a restart has a next daemon, for which they wait. */
function farewellOf(reason: EndReason): Farewell["reason"] {
  if (reason === "client") return "stop";
  return reason === "restart" ? "handover" : reason;
}
