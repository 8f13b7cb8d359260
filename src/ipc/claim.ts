import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import {
  type ClaimRecord,
  claimFile,
  claimFiles,
  claimGenerations,
  readClaim,
  recentDeaths,
  uptimeMs,
} from "./claim-record.ts";
import { createExclusively, randomHex, ensureRunFolder, listenFresh, realHome, runFolder } from "./run-folder.ts";
import { DaemonUnreachable, introductionMs, probeClaim } from "./handshake.ts";
import { ensureToken } from "./token.ts";
import { codeOf, messageOf } from "../orchestrator/util/values.ts";

interface ClaimOptions {
  readonly home: string;
  /** Version and build. */
  readonly version: string;
  readonly isStandalone: boolean;
  /** Not listening yet, but already answering with `acceptConnection`: other processes probe us through it. */
  readonly server: Server;
  /** How often the claim is checked; 1 s when absent. */
  readonly checkMs?: number;
}

/** The right to serve a home as its daemon. */
export type Claim = ReturnType<typeof keepClaim>;

type LostListener = (reason: string, how: "newer" | "gone") => void;

/** A daemon whose socket was deleted heals within 1 to 2 s; a machine under load takes longer. */
const healMs = 3_000;
const pollMs = 100;
const defaultCheckMs = 1_000;

/**
 * Makes this process the daemon of a home: listens on a new socket and writes a claim of the next generation. Throws
 * `DaemonUnavailable` that names the holder when another process holds the home, even if it was only slightly faster.
 *
 * 1. If the newest claim has not ended, its socket is probed. An authenticated answer: the home is held. Connection
 *    refused: dead. File missing, or an answer that isn't ours: it gets some seconds to heal, then counts as dead.
 *    A connection that is accepted but not answered: held.
 * 2. Our socket listens before the claim exists, so every process that reads the claim can reach us.
 * 3. Exactly one process can create the claim's file. If another one has, start again at 1.
 * 4. If there is a higher claim beside ours (our list was old), ours is withdrawn: start again at 1.
 *
 * A FIFO, folder, link or far number with the name of a claim and no claim in it is ignored; the next daemon renames it
 * to `daemon.<number>.json.<random>.aside`.
 *
 * Afterwards a timer checks every second that token, claim and socket exist. It recreates the token, or listens on a
 * new socket under the next generation, or reports that the claim is lost.
 */
export async function claimHome(options: ClaimOptions): Promise<Claim> {
  const home = realHomeMade(options.home);
  for (;;) {
    const { previous, next } = await waitUntilFree(home);
    const isDeath = previous !== undefined && previous.ended !== true;
    const now = Date.now();
    const death = isDeath ? [new Date(now).toISOString()] : [];
    const deaths = recentDeaths([...(previous?.deaths ?? []), ...death], now);
    const before = previous?.failedStarts ?? [];
    const failedStarts = previous?.hasAnswered === true ? [] : recentDeaths([...before, ...death], now);
    const record = await tryClaim(home, options, next, { deaths, failedStarts });
    if (record !== undefined) {
      if (previous !== undefined) removeSocket(previous.socket);
      return keepClaim(home, record, options);
    }
  }
}

function realHomeMade(home: string): string {
  ensureRunFolder(home);
  const real = realHome(home);
  ensureToken(real);
  return real;
}

/**
 * Step 1. Resolves when no living process claims the home, with the newest claim; throws when one does. `next` is of the
 * same listing, so that it never exceeds that of a claim made meanwhile.
 */
async function waitUntilFree(home: string) {
  const unreadable = new Set<number>();
  let deadline = uptimeMs() + healMs;
  for (;;) {
    const files = claimFiles(home);
    const newest = files.findLast(({ isReadable, generation }) => isReadable && !unreadable.has(generation));
    const next = nextGeneration(files);
    if (newest === undefined) return { previous: undefined, next };
    const previous = readClaim(home, newest.generation);
    const state = previous === undefined ? "unclear" : await stateOf(home, previous);
    const isLate = uptimeMs() >= deadline;
    if (previous !== undefined && (state === "held" || (state === "closing" && isLate))) throw heldBy(previous);
    if (previous === undefined && isLate) {
      // The process of the next lower claim may be running.
      unreadable.add(newest.generation);
      deadline = uptimeMs() + healMs;
    } else if (state === "dead" || isLate) {
      if (!newest.isFar) return { previous, next };
      setAside(home, newest.name);
    } else await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** If they persist, `unclear` means dead and `closing` held; a process killed during a probe closes its connection once. */
async function stateOf(home: string, claim: ClaimRecord): Promise<"held" | "dead" | "closing" | "unclear"> {
  if (claim.ended === true) return "dead";
  try {
    await probeClaim(home, claim, introductionMs);
    return "held";
  } catch (error) {
    if (!(error instanceof DaemonUnreachable)) throw error;
    if (error.reason === "silent") return "held";
    if (error.reason === "closed") return "closing";
    return error.reason === "dead" ? "dead" : "unclear";
  }
}

function heldBy({ home, pid, version, socket, isStandalone }: ClaimRecord): DaemonUnavailable {
  const what = isStandalone ? "a standalone server" : "a daemon";
  return new DaemonUnavailable(`${home} is held by ${what} of version ${version} (pid ${pid}, ${socket})`, {
    next: isStandalone
      ? [advice("close the client that started it"), { step: "setHome" }]
      : [{ step: "shareDaemon" }, { step: "stopDaemon" }, { step: "setHome" }],
  });
}

/** Steps 2 to 4. */
async function tryClaim(
  home: string,
  options: ClaimOptions,
  generation: number,
  history: Pick<ClaimRecord, "deaths" | "failedStarts" | "hasAnswered">,
): Promise<ClaimRecord | undefined> {
  const socket = await listenFresh(options.server, home).catch((error: unknown) => {
    const reason = messageOf(error);
    throw new DaemonUnavailable(`the daemon of ${home} can't listen: ${reason}`, { cause: error });
  });
  const record: ClaimRecord = {
    generation,
    socket,
    pid: process.pid,
    version: options.version,
    home,
    startedAt: new Date().toISOString(),
    isStandalone: options.isStandalone,
    ...history,
  };
  const file = claimFile(home, generation);
  if (createExclusively(file, `${JSON.stringify(record)}\n`)) {
    const all = claimGenerations(home);
    if (all.at(-1) === generation) {
      // The newest is never removed, so that no number is used twice.
      for (const older of all.slice(0, -1)) rmSync(claimFile(home, older), { force: true });
      for (const { name, isReadable } of claimFiles(home)) if (!isReadable) setAside(home, name);
      return record;
    }
    rmSync(file, { force: true });
  }
  options.server.close();
  return undefined;
}

function keepClaim(home: string, first: ClaimRecord, options: ClaimOptions) {
  let record = first;
  let isOver = false;
  let isHealing = false;
  let listener: LostListener | undefined;
  let lost: Parameters<LostListener> | undefined;

  function end(): void {
    isOver = true;
    clearInterval(timer);
    options.server.close();
    removeSocket(record.socket);
  }

  function lose(...how: Parameters<LostListener>): void {
    if (isOver) return;
    end();
    lost = how;
    listener?.(...how);
  }

  async function check(): Promise<void> {
    if (isOver || isHealing) return;
    if (!existsSync(home)) return lose(`${home} is gone`, "gone");
    isHealing = true;
    try {
      ensureToken(home);
      const files = claimFiles(home);
      const newest = files.findLast(({ isReadable }) => isReadable)?.generation;
      const claim = newest === undefined ? undefined : readClaim(home, newest);
      if (claim !== undefined && claim.generation > record.generation) return loseTo(claim.generation);
      // An unreadable file under a higher number is not a claim, or not yet one: ours gets a higher number.
      const isWhole = claim?.generation === record.generation && claim.socket === record.socket;
      if (isWhole && options.server.listening && (process.platform === "win32" || existsSync(record.socket))) return;
      await heal(Math.max(nextGeneration(files), record.generation + 1));
    } catch {
      // A full disk, for example: the next check tries again. A process that takes the home meanwhile has a newer claim.
    } finally {
      isHealing = false;
    }
  }

  async function heal(generation: number): Promise<void> {
    options.server.close();
    const { deaths, failedStarts, hasAnswered = false } = record;
    const healed = await tryClaim(home, options, generation, { deaths, failedStarts, hasAnswered });
    // Released while it healed.
    if (isOver) return healed && markEnded(home, healed);
    if (healed !== undefined) record = healed;
    else loseTo(claimGenerations(home).at(-1) ?? record.generation);
  }

  function loseTo(generation: number): void {
    const newer = readClaim(home, generation);
    lose(
      `${home} has a newer daemon (pid ${newer?.pid ?? "unknown"}, version ${newer?.version ?? "unknown"})`,
      "newer",
    );
  }

  const timer = setInterval(() => void check(), options.checkMs ?? defaultCheckMs);
  timer.unref();

  return {
    /** The content of the file; replaced when the claim is healed. */
    get record() {
      return record;
    },
    /** Notes that a request was answered: if this process is killed, the next one starts without delay. */
    markAnswered() {
      if (isOver || record.hasAnswered === true) return;
      record = { ...record, hasAnswered: true };
      try {
        rewrite(home, record);
      } catch {
        // A full disk: the next start may be delayed.
      }
    },
    /** Stops listening and marks the claim as ended, so that the next start counts no death. Idempotent. */
    release() {
      if (isOver) return;
      end();
      markEnded(home, record);
    },
    /** Called once if the home has a newer daemon or is gone; `reason` is a sentence. This process must stop using it. */
    onLost(added: LostListener) {
      listener = added;
      if (lost !== undefined) added(...lost);
    },
  };
}

function markEnded(home: string, record: ClaimRecord): void {
  rewrite(home, { ...record, ended: true });
}

function rewrite(home: string, record: ClaimRecord): void {
  const file = claimFile(home, record.generation);
  // Removed by a newer daemon, or with the home.
  if (!existsSync(file)) return;
  const temporary = `${file}.${randomHex(6)}.new`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600, flag: "wx" });
  renameSync(temporary, file);
}

function setAside(home: string, name: string): void {
  const file = join(runFolder(home), name);
  try {
    renameSync(file, `${file}.${randomHex(6)}.aside`);
  } catch (error) {
    // Another process was faster.
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

function removeSocket(socket: string): void {
  if (process.platform !== "win32") rmSync(socket, { force: true });
}

/** One above the highest number that isn't far. */
function nextGeneration(files: ReturnType<typeof claimFiles>): number {
  return files.reduce((highest, { generation, isFar }) => (isFar ? highest : generation), 0) + 1;
}
