import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runFolder } from "./run-folder.ts";
import { parseJson } from "../orchestrator/text/parse-json.ts";

/** What a claim file says of the process that made it. */
export interface ClaimRecord {
  readonly generation: number;
  /** Path of its socket, or name of its pipe on Windows. */
  readonly socket: string;
  /** A hint for messages; never asked whether it lives: numbers are recycled, and other containers have their own. */
  readonly pid: number;
  /** Version and build. */
  readonly version: string;
  readonly home: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly isStandalone: boolean;
  /** It ended as it should; the next owner doesn't count a death. */
  readonly ended?: boolean;
  /** When owners before it died within the minute before it started, ISO 8601, oldest first. */
  readonly deaths: readonly string[];
}

/** Deaths longer ago say nothing of the next start. */
export const deathWindowMs = 60_000;

/** The file of one generation. */
export function claimFile(home: string, generation: number): string {
  return join(runFolder(home), `owner.${generation}.json`);
}

/** The generations that have a file, ascending; none when there is no run folder. */
export function claimGenerations(home: string): number[] {
  let names: string[];
  try {
    names = readdirSync(runFolder(home));
  } catch {
    return [];
  }
  return names
    .map((name) => Number(/^owner\.(\d{1,15})\.json$/.exec(name)?.[1] ?? Number.NaN))
    .filter((generation) => Number.isSafeInteger(generation))
    .toSorted((a, b) => a - b);
}

/** The claim with the highest number, which is the only one that counts; undefined when it can't be read or parsed. */
export function newestClaim(home: string): ClaimRecord | undefined {
  const generation = claimGenerations(home).at(-1);
  return generation === undefined ? undefined : readClaim(home, generation);
}

/** The claim of one generation; undefined when its file is gone or holds something else. */
export function readClaim(home: string, generation: number): ClaimRecord | undefined {
  try {
    const value: unknown = parseJson(readFileSync(claimFile(home, generation), "utf8"));
    return isClaim(value) && value.generation === generation ? value : undefined;
  } catch {
    return undefined;
  }
}

function isClaim(value: unknown): value is ClaimRecord {
  if (typeof value !== "object" || value === null) return false;
  const { generation, socket, pid, version, home, startedAt, isStandalone, deaths } = value as Record<string, unknown>;
  return (
    typeof generation === "number" &&
    typeof pid === "number" &&
    typeof isStandalone === "boolean" &&
    [socket, version, home, startedAt].every((text) => typeof text === "string") &&
    Array.isArray(deaths) &&
    deaths.every((text) => typeof text === "string")
  );
}

/** Those of `deaths` within the last minute; one of the future was noted before the clock was set back. */
export function recentDeaths(deaths: readonly string[], now: number): readonly string[] {
  return deaths.filter((at) => Math.abs(now - Date.parse(at)) < deathWindowMs);
}
