import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { OwnerUnavailable } from "../orchestrator/errors.ts";
import { claimFile, claimGenerations, readClaim, recentDeaths, type ClaimRecord } from "./claim-record.ts";
import { createExclusively } from "./exclusive-file.ts";
import { OwnerUnreachable, probeClaim } from "./handshake.ts";
import { randomHex } from "./random.ts";
import { ensureRunFolder, realHome } from "./run-folder.ts";
import { listenFresh } from "./socket-path.ts";
import { ensureToken } from "./token.ts";
import { uptimeMs } from "./uptime.ts";

export type { ClaimRecord } from "./claim-record.ts";

export interface ClaimOptions {
  readonly home: string;
  /** Version and build. */
  readonly version: string;
  readonly isStandalone: boolean;
  /** Not listening yet, its connections already answered by `acceptConnection`: others ask through it whether we live. */
  readonly server: Server;
  /** How often the claim is looked after; a second when absent. */
  readonly checkMs?: number;
}

/** The right to be the owner of a home. */
export interface Claim {
  /** As it stands in the file; another one after the claim healed. */
  readonly record: ClaimRecord;
  /** Stops listening and marks the claim as ended, so that the next start counts no death. Twice does nothing more. */
  release(): void;
  /** The home has a newer owner, or is gone; `reason` is a sentence. This process must stop using it. Told once. */
  onLost(listener: LostListener): void;
}

export type LostListener = (reason: string, how: "newer" | "gone") => void;

/** Owners heal within a second or two of a deleted socket; a machine under load takes longer. */
const healMs = 3_000;
const probeMs = 3_000;
const pollMs = 100;
const defaultCheckMs = 1_000;

/**
 * Makes this process the owner of a home: listens on a fresh socket and puts a claim of the next generation beside it.
 * Throws `OwnerUnavailable` that names the holder when a living one answers, also when it is only a moment quicker.
 *
 * 1. The newest claim has not ended: its socket is asked. An authenticated answer means that the home is held. Nobody
 *    listens: dead. The file is missing or the answer isn't ours: it has some seconds to heal, then counts as dead. It
 *    takes connections and says nothing: held.
 * 2. Our socket listens before the claim exists, so whoever sees the claim can reach us.
 * 3. The claim's file can be made by one process only. Somebody else has: from 1. again.
 * 4. A higher claim beside ours (we judged by a list that was old): ours gives way, from 1. again.
 *
 * Afterwards a timer looks each second that token, claim and socket are still there: makes the token anew, listens at
 * another place under the next generation, or says that the claim is lost.
 */
export async function claimHome(options: ClaimOptions): Promise<Claim> {
  const home = realHomeMade(options.home);
  for (;;) {
    const highest = await highestDeadGeneration(home);
    const previous = highest === undefined ? undefined : readClaim(home, highest);
    const isDeath = previous !== undefined && previous.ended !== true;
    const now = Date.now();
    const deaths = recentDeaths([...(previous?.deaths ?? []), ...(isDeath ? [new Date(now).toISOString()] : [])], now);
    const record = await tryClaim(home, options, (highest ?? 0) + 1, deaths);
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

/** Step 1. The generation above which we may claim; throws when its process lives. */
async function highestDeadGeneration(home: string): Promise<number | undefined> {
  const deadline = uptimeMs() + healMs;
  for (;;) {
    const generation = claimGenerations(home).at(-1);
    if (generation === undefined) return undefined;
    const claim = readClaim(home, generation);
    if (claim?.ended === true) return generation;
    const state = claim === undefined ? "unclear" : await stateOf(home, claim);
    if (state === "dead") return generation;
    const isLate = uptimeMs() >= deadline;
    if (claim !== undefined && (state === "held" || (state === "silent" && isLate))) throw heldBy(claim);
    if (isLate) return generation;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** When they stay so, `unclear` becomes dead and `silent` held: one that is killed while it is asked is silent once. */
async function stateOf(home: string, claim: ClaimRecord): Promise<"held" | "dead" | "silent" | "unclear"> {
  try {
    await probeClaim(home, claim, probeMs);
    return "held";
  } catch (error) {
    if (!(error instanceof OwnerUnreachable)) throw error;
    return error.reason === "dead" || error.reason === "silent" ? error.reason : "unclear";
  }
}

function heldBy({ home, pid, version, socket, isStandalone }: ClaimRecord): OwnerUnavailable {
  const what = isStandalone ? "a standalone server" : "an owner";
  return new OwnerUnavailable(`${home} is held by ${what} of version ${version} (pid ${pid}, ${socket})`, {
    hint: isStandalone
      ? "Close the host that started it, or set another OLLM_HOME."
      : "Run `ollm` without --standalone, stop it with `ollm daemon stop`, or set another OLLM_HOME.",
  });
}

/** Steps 2 to 4. */
async function tryClaim(
  home: string,
  options: ClaimOptions,
  generation: number,
  deaths: readonly string[],
): Promise<ClaimRecord | undefined> {
  const socket = await listenFresh(options.server, home).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new OwnerUnavailable(`can't listen for the owner of ${home}: ${reason}`, { cause: error });
  });
  const record: ClaimRecord = {
    generation,
    socket,
    pid: process.pid,
    version: options.version,
    home,
    startedAt: new Date().toISOString(),
    isStandalone: options.isStandalone,
    deaths,
  };
  const file = claimFile(home, generation);
  if (createExclusively(file, `${JSON.stringify(record)}\n`)) {
    const all = claimGenerations(home);
    if (all.at(-1) === generation) {
      // The newest is never removed, so that no number is used twice.
      for (const older of all.slice(0, -1)) rmSync(claimFile(home, older), { force: true });
      return record;
    }
    rmSync(file, { force: true });
  }
  options.server.close();
  return undefined;
}

function keepClaim(home: string, first: ClaimRecord, options: ClaimOptions): Claim {
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
      const highest = claimGenerations(home).at(-1);
      if (highest !== undefined && highest > record.generation) return loseTo(highest);
      const isWhole = highest === record.generation && readClaim(home, highest)?.socket === record.socket;
      if (isWhole && options.server.listening && (process.platform === "win32" || existsSync(record.socket))) return;
      await heal();
    } catch {
      // A full disk, say. The next look tries again; whoever takes the home meanwhile has a newer claim, which it sees.
    } finally {
      isHealing = false;
    }
  }

  async function heal(): Promise<void> {
    options.server.close();
    const healed = await tryClaim(home, options, record.generation + 1, record.deaths);
    // Released while it healed.
    if (isOver) return healed && markEnded(home, healed);
    if (healed !== undefined) record = healed;
    else loseTo(claimGenerations(home).at(-1) ?? record.generation);
  }

  function loseTo(generation: number): void {
    const newer = readClaim(home, generation);
    lose(`${home} has a newer owner (pid ${newer?.pid ?? "unknown"}, version ${newer?.version ?? "unknown"})`, "newer");
  }

  const timer = setInterval(() => void check(), options.checkMs ?? defaultCheckMs);
  timer.unref();

  return {
    get record() {
      return record;
    },
    release() {
      if (isOver) return;
      end();
      markEnded(home, record);
    },
    onLost(added) {
      listener = added;
      if (lost !== undefined) added(...lost);
    },
  };
}

function markEnded(home: string, record: ClaimRecord): void {
  const file = claimFile(home, record.generation);
  // A newer owner has tidied it away, or the home is gone with it.
  if (!existsSync(file)) return;
  const temporary = `${file}.${randomHex(6)}.new`;
  writeFileSync(temporary, `${JSON.stringify({ ...record, ended: true })}\n`, { mode: 0o600, flag: "wx" });
  renameSync(temporary, file);
}

function removeSocket(socket: string): void {
  if (process.platform !== "win32") rmSync(socket, { force: true });
}
