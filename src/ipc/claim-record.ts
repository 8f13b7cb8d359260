import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseJson, orUndefined } from "../orchestrator/util/values.ts";
import { readOwnFile, runFolder } from "./run-folder.ts";

/** The content of a claim file: the process that wrote it. */
export interface ClaimRecord {
  readonly generation: number;
  /** Path of its socket, or name of its pipe on Windows. */
  readonly socket: string;
  /** Shown in messages. Not used to check whether the process lives: ids are reused and differ between containers. */
  readonly pid: number;
  /** Version and build. */
  readonly version: string;
  readonly home: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly isStandalone: boolean;
  /** It ended in order; the next daemon doesn't count a death. */
  readonly ended?: boolean;
  /** It answered a request beyond the handshake, so its death doesn't delay the next start. */
  readonly hasAnswered?: boolean;
  /** ISO 8601 times, oldest first, at which earlier daemons died within the minute before this one started. */
  readonly deaths: readonly string[];
  /** The latest of these deaths that came before anything was answered. */
  readonly failedStarts: readonly string[];
}

/** Older deaths don't count. */
const deathWindowMs = 60_000;

/** Path of the claim file of one generation. */
export function claimFile(home: string, generation: number): string {
  return join(runFolder(home), `daemon.${generation}.json`);
}

/** No home ever counts this far: at one start per second it would take thirty years. */
const farGeneration = 1_000_000_000;

/**
 * Everything with the name of a claim, ascending by number; empty when there is no run folder. `isReadable` is false for a
 * FIFO, a folder or a link, and for a far number without a valid claim in it. `isFar`: its number is too high to be
 * reached by counting, so new claims ignore it, and renaming it can't collide with one.
 */
export function claimFiles(home: string) {
  const entries = orUndefined(() => readdirSync(runFolder(home), { withFileTypes: true })) ?? [];
  return entries
    .flatMap((entry) => {
      const digits = /^daemon\.(\d+)\.json$/.exec(entry.name)?.[1];
      if (digits === undefined) return [];
      const generation = Number(digits);
      // `007` and numbers that are not safe integers would be read and written under another name.
      const isOwnName = Number.isSafeInteger(generation) && String(generation) === digits;
      const isFar = generation > farGeneration || !isOwnName;
      const isReadable = entry.isFile() && isOwnName && (!isFar || readClaim(home, generation) !== undefined);
      return [{ name: entry.name, generation, isReadable, isFar }];
    })
    .toSorted((a, b) => a.generation - b.generation);
}

/** The generations that have a claim, ascending. */
export function claimGenerations(home: string): readonly number[] {
  return claimFiles(home).flatMap(({ generation, isReadable }) => (isReadable ? [generation] : []));
}

/** The claim with the highest number, the only one that counts; undefined when it can't be read or parsed. */
export function newestClaim(home: string): ClaimRecord | undefined {
  const generation = claimGenerations(home).at(-1);
  return generation === undefined ? undefined : readClaim(home, generation);
}

/** The claim of one generation; undefined when its file is gone or holds something else. */
export function readClaim(home: string, generation: number): ClaimRecord | undefined {
  const value = orUndefined(() => parseJson(readOwnFile(claimFile(home, generation))));
  return isClaim(value) && value.generation === generation ? value : undefined;
}

function isClaim(value: unknown): value is ClaimRecord {
  if (typeof value !== "object" || value === null) return false;
  const { generation, socket, pid, version, home, startedAt, isStandalone, deaths, failedStarts } = value as Record<
    string,
    unknown
  >;
  return (
    typeof generation === "number" &&
    typeof pid === "number" &&
    typeof isStandalone === "boolean" &&
    [socket, version, home, startedAt].every((text) => typeof text === "string") &&
    [deaths, failedStarts].every((list) => Array.isArray(list) && list.every((text) => typeof text === "string"))
  );
}

/** Those of `deaths` within the last minute; one in the future was noted before the clock was set back. */
export function recentDeaths(deaths: readonly string[], now: number): readonly string[] {
  return deaths.filter((at) => Math.abs(now - Date.parse(at)) < deathWindowMs);
}

/** Age of this process in milliseconds. Timeouts use it, because the wall clock can be set. */
export function uptimeMs(): number {
  return process.uptime() * 1_000;
}
