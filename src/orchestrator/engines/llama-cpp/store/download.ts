import { constants } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { Cancelled, PullFailed } from "../../../api/errors.ts";
import { type NextStep, advice } from "../../../api/next-step.ts";
import { type Claim, claimFile } from "../../../storage/claim.ts";
import { renameOver, syncFolder } from "../../../storage/replace-file.ts";
import type { RetryOptions } from "../../../util/retry.ts";
import { type Download, type DownloadEvent, WrongContent, download } from "../../download.ts";
import { type ByteStream, TransientFault } from "../../http.ts";
import { codeOf, messageOf } from "../../../util/message-of.ts";
import type { StoreLayout, WriteAt } from "./layout.ts";
import type { Layer } from "./manifest.ts";
import { defined } from "../../../util/defined.ts";

interface BlobOptions {
  readonly layout: StoreLayout;
  readonly retry: RetryOptions;
  readonly writeAt: WriteAt;
  /** Name of the model that is pulled, for next steps. */
  readonly model: string;
}

/** Opens the blob at a byte; throws `TransientFault` for what may work a moment later. */
type OpenBlob = (firstByte: number, signal: AbortSignal) => Promise<ByteStream>;

/** For a full disk. */
export const storeElsewhere = { step: "changeSetting", setting: "store.path" } as const;

/**
 * Downloads one blob into the store: continues from what an earlier pull left (which is hashed again), retries after a
 * cut or a stall, and makes it a blob only if its sha256 is right. Throws `PullFailed`, `UnknownModel`, `Cancelled`;
 * what has arrived is kept unless the checksum is wrong.
 */
export async function downloadBlob(
  options: BlobOptions,
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { layout } = options;
  const file = layout.partialFile(layer.digest);
  try {
    const claim = await claimFile(`${file}.lock`, {
      signal,
      onWait: async () =>
        emit({
          completedBytes: await partialBytes(layout, layer.digest),
          note: "another process is downloading it",
        }),
    });
    try {
      // Another process has downloaded it meanwhile.
      if ((await sizeOf(layout.blobFile(layer.digest))) !== undefined) return;
      await downloadPartial(options, claim, layer, openBlob, emit, signal);
      await renameOver(file, layout.blobFile(layer.digest), layout.platform);
      await syncFolder(layout.blobsFolder, layout.platform);
    } finally {
      await claim.release();
    }
  } catch (error) {
    throw asPullError(error, signal, options.model);
  }
}

/** Completes the partial. What has arrived is kept unless the checksum is wrong. */
async function downloadPartial(
  options: BlobOptions,
  claim: Claim,
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const file = options.layout.partialFile(layer.digest);
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600);
  const check = (): void => {
    if (claim.isLost())
      throw new PullFailed("another process took over the download", {
        next: { step: "resumePull", model: options.model },
      });
  };
  let isKept = true;
  try {
    const wanted: Download = {
      handle,
      write: (bytes, position) => options.writeAt(handle, bytes, position),
      sizeBytes: layer.size,
      algorithm: "sha256",
      digest: layer.digest,
      open: (firstByte) => openBlob(firstByte, signal),
      retry: options.retry,
      emit,
      check,
    };
    await download(wanted, signal);
    await handle.sync();
    check();
  } catch (error) {
    const isWrong = error instanceof WrongContent;
    isKept = (!isWrong || error.digest === undefined) && (await handle.stat()).size > 0;
    if (!isWrong) throw error;
    if (error.digest === undefined) throw new PullFailed(error.message, { cause: error });
    throw new PullFailed(
      `checksum mismatch: sha256 ${layer.digest.slice(0, 12)} expected, ${error.digest.slice(0, 12)} received; the damaged download was removed`,
      {
        next: [{ step: "retry" }, advice("if it happens again, look for a proxy that alters downloads")],
        cause: error,
      },
    );
  } finally {
    await handle.close();
    if (!isKept && !claim.isLost()) await rm(file, { force: true });
  }
}

/** What has arrived of a blob. */
export async function partialBytes(layout: StoreLayout, hex: string): Promise<number> {
  return (await sizeOf(layout.partialFile(hex))) ?? 0;
}

/** Undefined if there is no such file. */
async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Errors of network, disk and signals as the errors of a pull; other errors are returned as they are. `model` names the
 * model of a download, of which what has arrived is kept.
 */
export function asPullError(error: unknown, signal: AbortSignal, model?: string): unknown {
  if (signal.aborted) return new Cancelled("the pull was cancelled", { cause: error });
  if (error instanceof TransientFault) {
    const resume: NextStep = { step: "resumePull", ...defined({ model }) };
    if (error.kind !== "unreachable") {
      return new PullFailed(`the download stopped: ${error.message}`, { next: resume, cause: error });
    }
    return new PullFailed(`the registry can't be reached: ${error.message}`, {
      next: [advice("check the connection (and HTTPS_PROXY, if you need a proxy)"), resume, { step: "importModel" }],
      cause: error,
    });
  }
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const kept = model === undefined ? "" : "; what has arrived is kept";
    return new PullFailed(`the disk is full: ${messageOf(error)}${kept}`, {
      next: [advice("free some disk space and try again"), storeElsewhere],
      cause: error,
    });
  }
  if (code !== undefined && !(error instanceof PullFailed)) {
    return new PullFailed(`a file can't be read or written: ${messageOf(error)}`, {
      next: advice("check the permissions of that file and of the folder store.path"),
      cause: error,
    });
  }
  return error;
}
