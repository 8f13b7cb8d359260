import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { isProcessAlive } from "../../../files/process-alive.ts";
import { parseJson } from "../../../text/parse-json.ts";

/** The one process that may install into a folder, as long as it lives. */
export interface Claim {
  /** Private folder on the same file system as the target; gone after `release`. */
  readonly folder: string;
  /** Removes the folder and lets the next one in. Idempotent. */
  release(): Promise<void>;
}

/** What was seen of somebody else's claim; two equal stamps mean that its holder gave no sign in between. */
export interface ForeignClaim {
  readonly stamp: string;
  /** Certain: the process that held it is gone from this machine. */
  readonly isHolderDead: boolean;
}

const ownerSchema = z.object({ token: z.string(), pid: z.number(), host: z.string() });
type Owner = z.infer<typeof ownerSchema>;

const heartbeatMs = 1_000;
const ownerFile = "owner.json";

/**
 * Claims `<target>.staging` by making it, which is atomic everywhere, and touches it every second. Undefined while
 * somebody else holds it. A claim is never more than an optimisation: the target only appears by rename, so two
 * holders (after a wrong take-over) waste a download and break nothing.
 */
export async function tryClaim(target: string, signal: AbortSignal): Promise<Claim | undefined> {
  const folder = stagingOf(target);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  try {
    await patiently(() => mkdir(folder, { mode: 0o700 }), signal);
  } catch (error) {
    if (isCode(error, "EEXIST")) return undefined;
    throw error;
  }
  const owner: Owner = { token: randomUUID(), pid: process.pid, host: hostname() };
  try {
    await writeFile(join(folder, ownerFile), JSON.stringify(owner), { mode: 0o600 });
  } catch (error) {
    await removeFolder(folder); // a full disk: others must not wait for a claim that nobody holds
    throw error;
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(join(folder, ownerFile), now, now).catch(() => clearInterval(beat)); // taken over: the next write will say so
  }, heartbeatMs);
  beat.unref();
  return {
    folder,
    release: async () => {
      clearInterval(beat);
      if ((await readOwner(folder))?.token === owner.token) await removeFolder(folder);
    },
  };
}

/** Looks at the claim that kept us out; undefined when it was released meanwhile. */
export async function lookAtClaim(target: string): Promise<ForeignClaim | undefined> {
  const folder = stagingOf(target);
  const seen = (await statIfThere(join(folder, ownerFile))) ?? (await statIfThere(folder));
  if (seen === undefined) return undefined;
  const owner = await readOwner(folder);
  const isHere = owner?.host === hostname();
  return {
    stamp: `${owner?.token ?? ""} ${seen.mtimeMs}`,
    isHolderDead: owner !== undefined && isHere && !isProcessAlive(owner.pid),
  };
}

/**
 * Clears an abandoned claim, and what cut installations left behind. Moves it aside first, so that of several
 * processes only one removes it, and puts it back when somebody else was quicker and it is a new one.
 */
export async function clearAbandonedClaim(target: string, abandoned: ForeignClaim): Promise<void> {
  const folder = stagingOf(target);
  const aside = `${target}.abandoned-${randomUUID()}`;
  try {
    await rename(folder, aside);
  } catch (error) {
    if (isCode(error, "ENOENT")) return; // somebody else was quicker
    throw error;
  }
  const owner = await readOwner(aside);
  if (owner !== undefined && !abandoned.stamp.startsWith(owner.token)) {
    await rename(aside, folder);
    return;
  }
  await removeFolder(aside);
}

/** Removes what was set aside and not wholly removed. Only for the holder of the claim. */
export async function sweepLeftovers(target: string): Promise<void> {
  const prefix = `${basename(target)}.abandoned-`;
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(prefix)) await removeFolder(join(dirname(target), name));
  }
}

/** Moves a finished folder to its final name; a broken one of that name is set aside for `sweepLeftovers`. */
export async function moveIntoPlace(from: string, target: string, signal: AbortSignal): Promise<void> {
  try {
    await patiently(() => rename(target, `${target}.abandoned-${randomUUID()}`), signal);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
  await patiently(() => rename(from, target), signal);
}

/** On Windows a virus scanner may hold new files, and a removed folder its name, for a moment: tried for up to 10 s. */
async function patiently(operation: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
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

async function readOwner(folder: string): Promise<Owner | undefined> {
  // Missing or half-written for an instant after the folder was made; then only its age counts.
  const text = await readFile(join(folder, ownerFile), "utf8").catch(() => "");
  if (text === "") return undefined;
  try {
    return ownerSchema.parse(parseJson(text));
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
