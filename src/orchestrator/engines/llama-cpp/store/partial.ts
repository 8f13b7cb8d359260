import { randomBytes } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PullFailed } from "../../../api/errors.ts";
import { isProcessAlive } from "../../../storage/process-alive.ts";
import { renameOver, syncFolder } from "../../../storage/replace-file.ts";
import { type PartialOwner, type StoreLayout, errorCode, machineMark, parsePartialName } from "./layout.ts";

/** The owner touches its partial at this interval. */
const HEARTBEAT_MS = 5000;
/** A partial that was not touched for this long has no owner any more, whatever the process list shows. */
const ABANDONED_AFTER_MS = 20_000;
const POLL_MS = 250;

/** The received part of a blob, held by this process only. Exactly one of the last three methods must be called. */
export interface Partial {
  readonly handle: FileHandle;
  readonly sizeBytes: number;
  /** Another process took it over because this one was suspended: don't write to it. */
  isLost(): boolean;
  /** Releases it; a later pull continues from here. */
  keep(): Promise<void>;
  discard(): Promise<void>;
  /** Makes it the blob; it must be complete and verified. */
  publish(): Promise<void>;
}

interface PartialFile {
  readonly file: string;
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
  readonly owner?: PartialOwner;
}

export interface PartialOptions {
  readonly layout: StoreLayout;
  readonly now: () => number;
}

/**
 * Claims the partial of a blob, or creates one. A claim is a rename to a name that contains the owner: of two processes
 * one succeeds, so no two ever write to one file. While another process downloads the blob this waits (calling `onWait`
 * with the size so far) and resolves with `undefined` once the blob exists. An aborted wait rejects with an AbortError.
 *
 * | found                                                        | action                                    |
 * | ------------------------------------------------------------ | ----------------------------------------- |
 * | partial without an owner, or whose owner is dead or inactive | claimed by rename; the largest if several |
 * | partial of a living process, touched within 20 s             | wait                                      |
 * | none                                                         | create one; withdraw if another appeared  |
 */
export async function claimPartial(
  options: PartialOptions,
  hex: string,
  onWait: (sizeBytes: number) => void,
  signal: AbortSignal,
): Promise<Partial | undefined> {
  const { layout } = options;
  const machine = machineMark(hostname());
  for (;;) {
    signal.throwIfAborted();
    if (await isFile(layout.blobFile(hex))) return undefined;
    const found = await findPartials(layout, hex);
    const held = found.find((partial) => isHeld(partial, machine, options.now()));
    if (held === undefined) {
      const owner = { machine, processId: process.pid, token: randomBytes(4).toString("hex") };
      const file = layout.partialFile(hex, owner);
      const [largest] = found.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
      const isClaimed = largest === undefined ? await create(file) : await take(largest.file, file, options.now());
      if (isClaimed && largest === undefined && (await hasRival(layout, hex, file, machine, options.now()))) {
        await rm(file, { force: true });
      } else if (isClaimed) {
        const partial = await hold(options, hex, file);
        if (partial !== undefined) return partial;
      }
    } else {
      onWait(held.sizeBytes);
    }
    // With a random delay, so that two processes that both withdrew don't collide again.
    await delay(POLL_MS * (0.5 + Math.random()), undefined, { signal });
  }
}

/** Bytes of a blob that a pull need not download again. */
export async function partialBytes(layout: StoreLayout, hex: string): Promise<number> {
  return Math.max(0, ...(await findPartials(layout, hex)).map((partial) => partial.sizeBytes));
}

async function findPartials(layout: StoreLayout, hex: string): Promise<readonly PartialFile[]> {
  const found: PartialFile[] = [];
  for (const fileName of await readNames(layout.blobsFolder)) {
    const parsed = parsePartialName(fileName);
    if (parsed?.hex !== hex) continue;
    const file = path.join(layout.blobsFolder, fileName);
    try {
      const { size, mtimeMs } = await stat(file);
      found.push({
        file,
        sizeBytes: size,
        modifiedAtMs: mtimeMs,
        ...(parsed.owner === undefined ? {} : { owner: parsed.owner }),
      });
    } catch (error) {
      // Claimed or completed since the folder was listed.
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
  return found;
}

async function readNames(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

function isHeld({ owner, modifiedAtMs }: PartialFile, machine: string, nowMs: number): boolean {
  if (owner === undefined) return false;
  if (owner.machine === machine && !isProcessAlive(owner.processId)) return false;
  return nowMs - modifiedAtMs < ABANDONED_AFTER_MS;
}

async function hasRival(
  layout: StoreLayout,
  hex: string,
  own: string,
  machine: string,
  nowMs: number,
): Promise<boolean> {
  const others = (await findPartials(layout, hex)).filter((partial) => partial.file !== own);
  return others.some((partial) => isHeld(partial, machine, nowMs));
}

async function create(file: string): Promise<boolean> {
  await (await open(file, "wx", 0o600)).close();
  return true;
}

async function take(from: string, to: string, nowMs: number): Promise<boolean> {
  try {
    // Before the rename: with its old time the new name would look abandoned.
    await utimes(from, nowMs / 1000, nowMs / 1000);
    await rename(from, to);
    return true;
  } catch (error) {
    // Another process was faster. On Windows a file that is being opened can't be renamed.
    if (["ENOENT", "EPERM", "EACCES", "EBUSY"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
}

/** `undefined` if another process took it immediately. */
async function hold({ layout, now }: PartialOptions, hex: string, file: string): Promise<Partial | undefined> {
  const handle = await open(file, "r+").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  const { size, ino } = await handle.stat();
  let isLost = false;
  const beat = async () => {
    const there = await stat(file).catch(() => undefined);
    if (there?.ino !== ino) isLost = true;
    else await handle.utimes(now() / 1000, now() / 1000);
  };
  await beat();
  const timer = setInterval(() => void beat().catch(() => (isLost = true)), HEARTBEAT_MS);
  timer.unref();
  const closeHandle = async () => {
    clearInterval(timer);
    await handle.close();
  };
  return {
    handle,
    sizeBytes: size,
    isLost: () => isLost,
    async keep() {
      const { size: arrived } = await handle.stat();
      await closeHandle();
      if (isLost) return;
      if (arrived === 0) await rm(file, { force: true });
      else await renameOver(file, layout.partialFile(hex), layout.platform);
    },
    async discard() {
      await closeHandle();
      if (!isLost) await rm(file, { force: true });
    },
    async publish() {
      await handle.sync();
      await closeHandle();
      if (isLost) throw new PullFailed("another process took over the download");
      await renameOver(file, layout.blobFile(hex), layout.platform);
      await syncFolder(layout.blobsFolder, layout.platform);
    },
  };
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}
