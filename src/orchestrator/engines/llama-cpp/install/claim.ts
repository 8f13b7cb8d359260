import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { isProcessAlive } from "../../../storage/process-alive.ts";
import { parseJson } from "../../../util/parse-json.ts";

/** The exclusive right of a running process to install into a folder. */
export interface Claim {
  /** Private folder on the same file system as the target; removed by `release`. */
  readonly folder: string;
  /** Removes the folder, so that another process can claim it. Idempotent. */
  release(): Promise<void>;
}

/** State of another process's claim; two equal stamps mean that its holder did not refresh it in between. */
export interface ForeignClaim {
  readonly stamp: string;
  /** The process that held it has ended (known only for processes of this machine). */
  readonly isHolderDead: boolean;
}

const holderSchema = z.object({ token: z.string(), pid: z.number(), host: z.string() });
type Holder = z.infer<typeof holderSchema>;

const heartbeatMs = 1_000;
const holderFile = "owner.json";

/**
 * Claims `<target>.staging` by creating it, which is atomic on every system, and touches it every second. Returns
 * undefined while another process holds it. Correctness does not depend on the claim: the target only appears by rename,
 * so two holders (after a wrong takeover) waste a download and break nothing.
 */
export async function tryClaim(target: string, signal: AbortSignal): Promise<Claim | undefined> {
  const folder = stagingOf(target);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  try {
    await retryOnWindows(() => mkdir(folder, { mode: 0o700 }), signal);
  } catch (error) {
    if (isCode(error, "EEXIST")) return undefined;
    throw error;
  }
  const holder: Holder = { token: randomUUID(), pid: process.pid, host: hostname() };
  try {
    await writeFile(join(folder, holderFile), JSON.stringify(holder), { mode: 0o600 });
  } catch (error) {
    await removeFolder(folder); // a full disk: other processes must not wait for this claim
    throw error;
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(join(folder, holderFile), now, now).catch(() => clearInterval(beat)); // taken over: the next write fails
  }, heartbeatMs);
  beat.unref();
  return {
    folder,
    release: async () => {
      clearInterval(beat);
      if ((await readHolder(folder))?.token === holder.token) await removeFolder(folder);
    },
  };
}

/** Returns the state of another process's claim; undefined when it was released meanwhile. */
export async function inspectClaim(target: string): Promise<ForeignClaim | undefined> {
  const folder = stagingOf(target);
  const seen = (await statIfThere(join(folder, holderFile))) ?? (await statIfThere(folder));
  if (seen === undefined) return undefined;
  const holder = await readHolder(folder);
  const isHere = holder?.host === hostname();
  return {
    stamp: `${holder?.token ?? ""} ${seen.mtimeMs}`,
    isHolderDead: holder !== undefined && isHere && !isProcessAlive(holder.pid),
  };
}

/**
 * Removes an abandoned claim. Renames it first, so that only one of several processes removes it, and renames it back if
 * it has become a new claim meanwhile.
 */
export async function clearAbandonedClaim(target: string, abandoned: ForeignClaim): Promise<void> {
  const folder = stagingOf(target);
  const aside = `${target}.abandoned-${randomUUID()}`;
  try {
    await rename(folder, aside);
  } catch (error) {
    if (isCode(error, "ENOENT")) return; // another process removed it
    throw error;
  }
  const holder = await readHolder(aside);
  if (holder !== undefined && !abandoned.stamp.startsWith(holder.token)) {
    await rename(aside, folder);
    return;
  }
  await removeFolder(aside);
}

/** Removes renamed folders that were not fully removed. Only for the holder of the claim. */
export async function sweepLeftovers(target: string): Promise<void> {
  const prefix = `${basename(target)}.abandoned-`;
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(prefix)) await removeFolder(join(dirname(target), name));
  }
}

/** Moves a complete folder to its final name; an existing one is renamed for `sweepLeftovers`. */
export async function moveIntoPlace(from: string, target: string, signal: AbortSignal): Promise<void> {
  try {
    await retryOnWindows(() => rename(target, `${target}.abandoned-${randomUUID()}`), signal);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
  await retryOnWindows(() => rename(from, target), signal);
}

/**
 * Retries on Windows for up to 10 s: a virus scanner may hold new files, and the name of a removed folder may stay in use,
 * for a moment.
 */
async function retryOnWindows(operation: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await operation();
      return;
    } catch (error) {
      const mayPass = process.platform === "win32" && ["EPERM", "EACCES", "EBUSY"].some((code) => isCode(error, code));
      if (!mayPass || attempt >= 50) throw error;
      await delay(200, undefined, { signal });
    }
  }
}

function stagingOf(target: string): string {
  return `${target}.staging`;
}

async function statIfThere(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function readHolder(folder: string): Promise<Holder | undefined> {
  // Missing or incomplete just after the folder was created; then only its age counts.
  const text = await readFile(join(folder, holderFile), "utf8").catch(() => "");
  if (text === "") return undefined;
  try {
    return holderSchema.parse(parseJson(text));
  } catch {
    return undefined;
  }
}

function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
