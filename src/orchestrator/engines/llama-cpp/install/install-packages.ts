import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { downloadPackage, type DownloadOptions } from "./download.ts";
import type { LockedPackage } from "./lock.ts";
import { unpackPackage } from "./unpack.ts";

/** Enough to use the bandwidth with many small packages, few enough for a registry's limits. */
const parallelDownloads = 6;

export interface InstallPackagesOptions extends Omit<DownloadOptions, "onBytes"> {
  readonly packages: readonly LockedPackage[];
  /** Packages are unpacked into `node_modules/…` below it. */
  readonly folder: string;
  /** For archives; each is removed after unpacking. */
  readonly downloadsFolder: string;
  readonly onBytes: (entry: LockedPackage, bytes: number) => void;
}

/**
 * Downloads, verifies and unpacks every package; returns the bytes on disk. Never runs install scripts. The first failure
 * aborts the other downloads and is thrown when all have ended, so that nothing writes afterwards.
 */
export async function installPackages(options: InstallPackagesOptions): Promise<number> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const waiting = options.packages.map((entry, index) => ({
    entry,
    archive: join(options.downloadsFolder, `${index}.tgz`),
  }));
  let bytes = 0;
  await mkdir(options.downloadsFolder, { recursive: true, mode: 0o700 });

  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && !signal.aborted; next = waiting.shift()) {
      const { entry, archive } = next;
      await downloadPackage(entry, archive, { ...options, signal, onBytes: (sum) => options.onBytes(entry, sum) });
      const unpackedBytes = await unpackPackage(entry, archive, join(options.folder, ...entry.path.split("/")));
      bytes += unpackedBytes; // not `+= await`, which reads the sum too early
      await rm(archive, { force: true });
    }
  };
  let failure: { readonly error: unknown } | undefined;
  await Promise.all(
    Array.from({ length: parallelDownloads }, () =>
      work().catch((error: unknown) => {
        failure ??= { error }; // later failures follow from the first
        stop.abort();
      }),
    ),
  );
  if (failure !== undefined) throw failure.error;
  options.signal.throwIfAborted();
  return bytes;
}
