import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OrchestratorError, PullFailed, throwIfCancelled } from "../../../api/errors.ts";
import type { Log } from "../../../api/log.ts";
import { advice } from "../../../api/next-step.ts";
import { formatBytes } from "../../../util/format-bytes.ts";
import type { Progress } from "../../../api/types.ts";
import type { EngineInstallation, Report } from "../../engine.ts";
import { clearAbandonedClaim, inspectClaim, moveIntoPlace, sweepLeftovers, tryClaim, type Claim } from "./claim.ts";
import { freeSpace, requireFreeSpace } from "./disk.ts";
import { checkNetwork, type Patience } from "./download.ts";
import { findEntry, findInstalled, markInstalled } from "./installed.ts";
import { installPackages } from "./install-packages.ts";
import { readEngineLock, readEngineSize, type EngineSize } from "./lock.ts";
import type { Environment } from "./npmrc.ts";
import { binaryPackages, engineFolderName, lockName, requireSupported, type PlatformFacts } from "./platform.ts";
import { createDownloadProgress } from "./progress.ts";
import { readRegistrySettings } from "./registry.ts";
import { createShare } from "../../../util/share.ts";
import { createTransport } from "./transport.ts";
import { runTrial } from "./trial.ts";

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
