import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { downloadPackage, type DownloadOptions } from "./download.ts";
import type { LockedPackage } from "./lock.ts";
import { unpackPackage } from "./unpack.ts";

/** Enough to fill a line with many small packages, few enough not to upset a registry. */
const parallelDownloads = 6;

export interface InstallPackagesOptions extends Omit<DownloadOptions, "onBytes"> {
  readonly packages: readonly LockedPackage[];
  /** Receives `node_modules/…`. */
  readonly folder: string;
  /** For the archives; each is removed when it is unpacked. */
  readonly downloadsFolder: string;
  readonly onBytes: (entry: LockedPackage, bytes: number) => void;
}

/**
 * Downloads, verifies and unpacks every package; returns the bytes on disk. No install script is ever run. The first
 * failure ends the other downloads and is thrown when all have ended, so nothing writes on afterwards.
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
      bytes += unpackedBytes; // not `+= await`: that reads the sum before the others add to it
      await rm(archive, { force: true });
    }
  };
  let failure: { readonly error: unknown } | undefined;
  await Promise.all(
    Array.from({ length: parallelDownloads }, () =>
      work().catch((error: unknown) => {
        failure ??= { error }; // the others fail because of it
        stop.abort();
      }),
    ),
  );
  if (failure !== undefined) throw failure.error;
  options.signal.throwIfAborted();
  return bytes;
}
