import { mkdir, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OrchestratorError, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import type { Log } from "../../../api/log.ts";
import { advice } from "../../../api/next-step.ts";
import type { Progress } from "../../../api/types.ts";
import { formatBytes } from "../../../util/format-bytes.ts";
import { createShare } from "../../../util/share.ts";
import type { EngineInstallation, Report } from "../../engine.ts";
import { type Claim, clearAbandonedClaim, inspectClaim, moveIntoPlace, sweepLeftovers, tryClaim } from "./claim.ts";
import { type Patience, checkNetwork } from "./download.ts";
import { installPackages, runTrial } from "./install-packages.ts";
import { findEntry, findInstalled, markInstalled } from "./installed.ts";
import { type EngineSize, readEngineLock, readEngineSize } from "./lock.ts";
import { type PlatformFacts, binaryPackages, engineFolderName, lockName, requireSupported } from "./platform.ts";
import { type Environment, createTransport, readRegistrySettings } from "./registry.ts";

export interface EngineInstallationOptions {
  /** `OLLM_HOME/engines`; created when missing. */
  readonly enginesFolder: string;
  /** The shipped locks, one folder per platform: `dist/engine-lock`, or `engine-lock` of the repository. */
  readonly lockFolder: string;
  readonly platform: PlatformFacts;
  /** For npm's, proxy and certificate variables, and for the trial run. */
  readonly environment: Environment;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly patience?: InstallPatience;
}

/** Timeouts and retries of an installation. */
export interface InstallPatience extends Patience {
  /** Interval of polling another process's claim; a claim unchanged for 60 polls is abandoned (it is touched every second). */
  readonly pollMs: number;
}

const defaultPatience: InstallPatience = {
  stallMs: 20_000,
  retries: 4,
  firstWaitMs: 300,
  longestWaitMs: 5_000,
  pollMs: 250,
};

/** The embedded engine on disk. */
export interface EngineFiles extends EngineInstallation {
  /** Absolute path of the installation, which may not exist. */
  readonly folder: string;
  /** Absolute path of node-llama-cpp's module, to be imported by file URL; undefined without a complete installation. */
  modulePath(): Promise<string | undefined>;
}

/** Enough for a download at 25 KB/s. */
const installLimitMs = 30 * 60_000;
/** 15 s at the default interval. */
const pollsUntilAbandoned = 60;

/**
 * Installs the embedded engine on demand, without npm: the packages of the shipped lock, from the registry that npm is
 * configured for, each checked against its sha512, without install scripts. The folder appears complete or not at all.
 * One process installs while others wait; the next installation repairs an interrupted one. `install` throws
 * `EngineNotInstalled` (no binaries for this system), `PullFailed` (network, checksum, disk), `LoadFailed` (does not run
 * on this machine) and `Cancelled`.
 */
export function createEngineInstallation(options: EngineInstallationOptions): EngineFiles {
  const folder = join(options.enginesFolder, engineFolderName(options.platform));
  const share = createShare<Progress, void>("installing the embedded engine");
  const install = (report: Report, signal: AbortSignal) =>
    share(folder, (emit, shared) => installUnlessThere(options, folder, emit, shared), report, signal);
  return {
    folder,
    modulePath: () => findInstalled(folder),
    isInstalled: async () => (await findInstalled(folder)) !== undefined,
    get downloadBytes() {
      const name = lockName(options.platform);
      return name === undefined ? 0 : readEngineSize(join(options.lockFolder, name)).downloadBytes;
    },
    install,
  };
}

async function installUnlessThere(
  options: EngineInstallationOptions,
  folder: string,
  report: Report,
  callerSignal: AbortSignal,
): Promise<void> {
  if ((await findInstalled(folder)) !== undefined) return;
  const lockFolder = join(options.lockFolder, requireSupported(options.platform));
  const size = readEngineSize(lockFolder);
  report({
    message: `installing the embedded engine: ${formatBytes(size.downloadBytes)} to download, ${formatBytes(size.installedBytes)} on disk`,
    completedBytes: 0,
    totalBytes: size.downloadBytes,
  });
  const limit = AbortSignal.timeout(installLimitMs);
  const signal = AbortSignal.any([callerSignal, limit]);
  let claim: Claim | undefined;
  try {
    claim = await claimOrWait(folder, (options.patience ?? defaultPatience).pollMs, report, signal);
    if (claim === undefined) return;
    await sweepLeftovers(folder);
    await requireFreeSpace(options.enginesFolder, size.downloadBytes + size.installedBytes);
    await installIntoPlace(options, claim, folder, lockFolder, size, report, signal);
    await sweepLeftovers(folder);
  } catch (error) {
    throwIfCancelled(callerSignal, "installing the embedded engine");
    if (limit.aborted) {
      throw new PullFailed(`the embedded engine was not installed within ${installLimitMs / 60_000} minutes`, {
        next: checkNetwork,
        cause: error,
      });
    }
    throw toInstallError(error, options.enginesFolder);
  } finally {
    // A failed removal (a virus scanner on Windows) must not hide the outcome; the next installation removes the folder.
    await claim
      ?.release()
      .catch((error: unknown) => options.log.warn(`engine: ${claim?.folder} cannot be removed: ${String(error)}`));
  }
}

/** Returns undefined when another process has installed the engine meanwhile. */
async function claimOrWait(
  folder: string,
  pollMs: number,
  report: Report,
  signal: AbortSignal,
): Promise<Claim | undefined> {
  let seen: { stamp: string; polls: number } | undefined;
  for (;;) {
    throwIfCancelled(signal, "installing the embedded engine");
    const claim = await tryClaim(folder, signal);
    if (claim !== undefined) {
      if ((await findInstalled(folder)) === undefined) return claim;
      await claim.release();
      return undefined;
    }
    const foreign = await inspectClaim(folder);
    if (foreign === undefined) continue;
    if (seen === undefined) report({ message: "waiting for another process that is installing the embedded engine" });
    // Polls are counted instead of time, so that a machine that wakes up doesn't take over a live claim.
    seen = { stamp: foreign.stamp, polls: seen?.stamp === foreign.stamp ? seen.polls + 1 : 0 };
    if (foreign.isHolderDead || seen.polls >= pollsUntilAbandoned) {
      await clearAbandonedClaim(folder, foreign);
      seen = { stamp: "", polls: 0 };
      continue;
    }
    await delay(pollMs, undefined, { signal });
  }
}

async function installIntoPlace(
  options: EngineInstallationOptions,
  claim: Claim,
  folder: string,
  lockFolder: string,
  size: EngineSize,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const { environment, log, platform, now } = options;
  const startedAtMs = now();
  const packages = await readEngineLock(lockFolder);
  const registry = await readRegistrySettings(environment, platform, log);
  const progress = createDownloadProgress(size.downloadBytes, report, now);
  const tree = join(claim.folder, "tree");
  await mkdir(tree, { mode: 0o700 });
  const transport = await createTransport(registry, log);
  let installedBytes: number;
  try {
    installedBytes = await installPackages({
      packages,
      folder: tree,
      downloadsFolder: join(claim.folder, "downloads"),
      registry,
      fetch: transport.fetch,
      patience: options.patience ?? defaultPatience,
      signal,
      onBytes: (entry, bytes) => progress.update(entry.path, bytes),
    });
  } finally {
    await transport.close();
  }
  report({
    message: "testing the embedded engine",
    completedBytes: size.downloadBytes,
    totalBytes: size.downloadBytes,
  });
  const entry = await findEntry(tree);
  await runTrial({
    modulePath: join(tree, ...entry.split("/")),
    scriptFile: join(claim.folder, "trial.mjs"),
    execPath: platform.node.execPath,
    environment,
    signal,
  });
  await markInstalled(tree, entry, `node_modules/${binaryPackages[requireSupported(platform)]}`);
  await moveIntoPlace(tree, folder, signal);
  const seconds = ((now() - startedAtMs) / 1000).toFixed(1);
  log.info(`engine: installed ${packages.length} packages, ${formatBytes(installedBytes)}, ${seconds} s`);
}

function toInstallError(error: unknown, enginesFolder: string): OrchestratorError {
  if (error instanceof OrchestratorError) return error;
  const { code = "unknown", message } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new PullFailed(`the disk of ${enginesFolder} is full; nothing was installed`, {
      next: freeSpace,
      cause: error,
    });
  }
  if (["EACCES", "EPERM", "EROFS"].includes(code)) {
    return new PullFailed(`${enginesFolder} cannot be written (${code}); nothing was installed`, {
      next: advice("make it writable for this user, or set OLLM_HOME to another folder"),
      cause: error,
    });
  }
  return new PullFailed(`the embedded engine could not be installed: ${message}`, {
    next: { step: "retry" },
    cause: error,
  });
}

/** Reports the sum of parallel downloads, at most every 200 ms. */
interface DownloadProgress {
  /** Sets the bytes of the package at `path`; a restarted download sets fewer than before. */
  update(path: string, bytes: number): void;
}

const intervalMs = 200;

/** `now` in milliseconds. Never reports fewer bytes than before, even when a download restarts. */
export function createDownloadProgress(totalBytes: number, report: Report, now: () => number): DownloadProgress {
  const bytesOf = new Map<string, number>();
  const startedAtMs = now();
  let sum = 0;
  let reportedBytes = 0;
  let reportedAtMs = startedAtMs;
  return {
    update(path, bytes) {
      sum += bytes - (bytesOf.get(path) ?? 0);
      bytesOf.set(path, bytes);
      const atMs = now();
      const isLast = sum >= totalBytes;
      if (sum <= reportedBytes || (atMs - reportedAtMs < intervalMs && !isLast)) return;
      reportedBytes = sum;
      reportedAtMs = atMs;
      report({
        message: `downloading the embedded engine: ${formatBytes(sum)} of ${formatBytes(totalBytes)}`,
        completedBytes: sum,
        totalBytes,
        bytesPerSecond: Math.round((sum * 1000) / Math.max(1, atMs - startedAtMs)),
      });
    },
  };
}

/** For a full disk. */
const freeSpace = advice("free some disk space, or set OLLM_HOME to a folder on another disk");

/** Margin for rounding to blocks and for other writers. */
const reserveBytes = 50_000_000;

/** Throws `PullFailed` when the disk of `folder` has less than `bytes` plus a reserve free. */
async function requireFreeSpace(folder: string, bytes: number): Promise<void> {
  const freeBytes = await freeBytesAt(folder);
  if (freeBytes >= bytes + reserveBytes) return;
  throw new PullFailed(
    `the embedded engine needs ${formatBytes(bytes + reserveBytes)} on the disk of ${folder}; ${formatBytes(freeBytes)} are free`,
    { next: freeSpace },
  );
}

/** Returns the bytes that this user can write, on the disk of the nearest folder that exists. */
async function freeBytesAt(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(folder);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === folder) throw error;
    return freeBytesAt(parent);
  }
}
