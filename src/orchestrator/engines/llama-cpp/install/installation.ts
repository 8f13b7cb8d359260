import { mkdir, readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { OrchestratorError, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import type { Log } from "../../../api/log.ts";
import { advice } from "../../../api/next-step.ts";
import type { Progress } from "../../../api/types.ts";
import { type Claim, claimFile, freeDiskBytes, renameOver } from "../../../storage/replace-file.ts";
import { formatBytes } from "../../../util/format-bytes.ts";
import { defined, undefinedIfMissing } from "../../../util/values.ts";
import { JoinedWorks } from "../../../util/joined-work.ts";
import type { Report } from "../../engine.ts";
import { type Patience, checkNetwork, installPackages, runTrial } from "./install-packages.ts";
import { findEntry, findInstalled, markInstalled, type EngineSize, readEngineLock, readEngineSize } from "./lock.ts";
import { type PlatformFacts, binaryPackages, engineFolderName, lockName, requireSupported } from "./platform.ts";
import { type Environment, createRegistryHttp, readRegistrySettings } from "./registry.ts";

interface EngineInstallationOptions {
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
  readonly patience?: Patience;
}

const defaultPatience: Patience = { stallMs: 20_000, retries: 4, initialDelayMs: 300, maxDelayMs: 5_000 };

/** A virus scanner on Windows may hold the files of a new folder for some seconds. */
const scannedDelaysMs = Array.from({ length: 50 }, () => 200);
/** Enough for a download at 25 KB/s. */
const installLimitMs = 30 * 60_000;
/**
 * Installs the embedded engine on demand, without npm: the packages of the shipped lock, from the registry that npm is
 * configured for, each checked against its sha512, without install scripts. The folder appears complete or not at all.
 * One process installs while others wait; the next installation repairs an interrupted one. `install` throws
 * `EngineNotInstalled` (no binaries for this system), `PullFailed` (network, checksum, disk), `LoadFailed` (does not run
 * on this machine) and `Cancelled`.
 */
export function createEngineInstallation(options: EngineInstallationOptions) {
  const folder = join(options.enginesFolder, engineFolderName(options.platform));
  const installing = new JoinedWorks<void, Progress>("installing the embedded engine");
  const install = (report: Report, signal: AbortSignal) =>
    installing.join(folder, (shared, emit) => installUnlessThere(options, folder, emit, shared), signal, report);
  return {
    /** Absolute path of the installation, which may not exist. */
    folder,
    /** Absolute path of node-llama-cpp's module, to be imported by file URL; undefined without a complete installation. */
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
  const beside = `${folder}.`;
  let isWaiting = false;
  let claim: Claim | undefined;
  try {
    claim = await claimFile(`${beside}lock`, {
      signal,
      ...defined({ pollMs: options.patience?.pollMs }),
      onWait() {
        if (!isWaiting) report({ message: "waiting for another process that is installing the embedded engine" });
        isWaiting = true;
      },
    });
    // Another process has installed it meanwhile.
    if ((await findInstalled(folder)) !== undefined) return;
    await removeLeftovers(folder);
    await requireFreeSpace(options.enginesFolder, size.downloadBytes + size.installedBytes);
    // With the claim's token: if another process takes the claim over, one of the two fails, and nothing breaks.
    const staging = `${beside}staging-${claim.token}`;
    await mkdir(staging, { mode: 0o700 });
    await installIntoPlace(options, staging, folder, lockFolder, size, report, signal);
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
    // A failure (a virus scanner on Windows) must not hide the outcome; the next installation removes the rest.
    if (claim?.isLost() === false)
      await removeLeftovers(folder).catch((error: unknown) =>
        options.log.warn(`engine: files of the installation remain: ${String(error)}`),
      );
    await claim?.release();
  }
}

/** Removes folders of interrupted installations and replaced engines. Only for the holder of the claim. */
async function removeLeftovers(folder: string): Promise<void> {
  const prefixes = [`${basename(folder)}.staging`, `${basename(folder)}.abandoned-`];
  for (const name of await readdir(dirname(folder))) {
    if (!prefixes.some((prefix) => name.startsWith(prefix))) continue;
    await rm(join(dirname(folder), name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

async function installIntoPlace(
  options: EngineInstallationOptions,
  staging: string,
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
  const tree = join(staging, "tree");
  await mkdir(tree, { mode: 0o700 });
  const client = await createRegistryHttp(registry, log);
  let installedBytes: number;
  try {
    installedBytes = await installPackages({
      packages,
      folder: tree,
      downloadsFolder: join(staging, "downloads"),
      registry,
      http: client.get,
      patience: options.patience ?? defaultPatience,
      signal,
      onBytes: (entry, bytes) => progress.update(entry.path, bytes),
    });
  } finally {
    await client.close();
  }
  report({
    message: "testing the embedded engine",
    completedBytes: size.downloadBytes,
    totalBytes: size.downloadBytes,
  });
  const entry = await findEntry(tree);
  const { backend = "cpu" } = platform;
  await runTrial({
    isCpuOnly: backend !== "cpu",
    modulePath: join(tree, ...entry.split("/")),
    scriptFile: join(staging, "trial.mjs"),
    execPath: platform.node.execPath,
    environment,
    signal,
  });
  await markInstalled(tree, entry, binaryPackages[requireSupported(platform)] ?? []);
  // An incomplete engine is in the way.
  await renameOver(folder, `${staging}-replaced`, process.platform, scannedDelaysMs).catch(undefinedIfMissing);
  await renameOver(tree, folder, process.platform, scannedDelaysMs);
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

const intervalMs = 200;

/** `now` in milliseconds. Never reports fewer bytes than before, even when a download restarts. */
export function createDownloadProgress(totalBytes: number, report: Report, now: () => number) {
  const bytesOf = new Map<string, number>();
  const startedAtMs = now();
  let sum = 0;
  let reportedBytes = 0;
  let reportedAtMs = startedAtMs;
  return {
    /** Sets the bytes of the package at `path`; a restarted download sets fewer than before. */
    update(path: string, bytes: number) {
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
  const freeBytes = await freeDiskBytes(folder);
  if (freeBytes >= bytes + reserveBytes) return;
  throw new PullFailed(
    `the embedded engine needs ${formatBytes(bytes + reserveBytes)} on the disk of ${folder}; ${formatBytes(freeBytes)} are free`,
    { next: freeSpace },
  );
}
