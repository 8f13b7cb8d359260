import { type Hash, createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { Cancelled, PullFailed } from "../../../api/errors.ts";
import { type NextStep, advice } from "../../../api/next-step.ts";
import { type Claim, claimFile } from "../../../storage/claim.ts";
import { renameOver, syncFolder } from "../../../storage/replace-file.ts";
import { type StoreLayout, type WriteAt, errorCode, errorText } from "./layout.ts";
import type { Layer } from "./manifest.ts";
import type { BlobStream } from "./registry-client.ts";
import { type RetryOptions, TransientFault, retryTransient } from "./transient.ts";

interface DownloadOptions {
  readonly layout: StoreLayout;
  readonly retry: RetryOptions;
  readonly writeAt: WriteAt;
  /** Name of the model that is pulled, for next steps. */
  readonly model: string;
}

export interface DownloadEvent {
  readonly completedBytes: number;
  /** Set during anything other than receiving bytes. */
  readonly note?: string;
}

/** Opens the blob at a byte; throws `TransientFault` for what may work a moment later. */
type OpenBlob = (firstByte: number, signal: AbortSignal) => Promise<BlobStream>;

const HASH_CHUNK_BYTES = 1024 ** 2;
/** An attempt that received this much resets the number of retries. */
const WORTHWHILE_BYTES = 1024 ** 2;

/** For a full disk. */
export const storeElsewhere = { step: "changeSetting", setting: "store.path" } as const;

/**
 * Downloads one blob into the store: continues from what an earlier pull left (which is hashed again), retries after a
 * cut or a stall, and makes it a blob only if its sha256 is right. Throws `PullFailed`, `UnknownModel`, `Cancelled`;
 * what has arrived is kept unless the checksum is wrong.
 */
export async function downloadBlob(
  options: DownloadOptions,
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
  options: DownloadOptions,
  claim: Claim,
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const file = options.layout.partialFile(layer.digest);
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600);
  let isDamaged = false;
  try {
    const hash = await fill(options, { handle, isLost: claim.isLost }, layer, openBlob, emit, signal);
    const digest = hash.digest("hex");
    if (digest !== layer.digest) {
      isDamaged = true;
      throw new PullFailed(
        `checksum mismatch: sha256 ${layer.digest.slice(0, 12)} expected, ${digest.slice(0, 12)} received; the damaged download was removed`,
        { next: [{ step: "retry" }, advice("if it happens again, look for a proxy that alters downloads")] },
      );
    }
    await handle.sync();
  } finally {
    const isEmpty = (await handle.stat()).size === 0;
    await handle.close();
    if ((isDamaged || (isEmpty && layer.size > 0)) && !claim.isLost()) await rm(file, { force: true });
  }
  if (claim.isLost()) throw takenOver(options.model);
}

function takenOver(model: string): PullFailed {
  return new PullFailed("another process took over the download", { next: { step: "resumePull", model } });
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
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Receives until the partial is as large as the layer; returns the hash of all of it. */
async function fill(
  options: DownloadOptions,
  partial: { readonly handle: FileHandle; readonly isLost: () => boolean },
  layer: Layer,
  openBlob: OpenBlob,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<Hash> {
  let completedBytes = (await partial.handle.stat()).size;
  if (completedBytes > layer.size) {
    await partial.handle.truncate(0);
    completedBytes = 0;
  }
  const hash = await hashStart(partial.handle, completedBytes, emit, signal);

  const receive = async () => {
    const stream = await openBlob(completedBytes, signal);
    // A server without ranges starts over: skip what is there already.
    let skipBytes = completedBytes - stream.startsAt;
    if (skipBytes > 0) emit({ completedBytes, note: "the server can't resume and sends it from the beginning" });
    for await (const received of stream.body) {
      const chunk = received.subarray(Math.min(skipBytes, received.length));
      skipBytes -= received.length - chunk.length;
      if (chunk.length === 0) continue;
      if (completedBytes + chunk.length > layer.size)
        throw new PullFailed(`the server sends more than the announced ${layer.size} bytes`);
      if (partial.isLost()) throw takenOver(options.model);
      await options.writeAt(partial.handle, chunk, completedBytes);
      hash.update(chunk);
      completedBytes += chunk.length;
      emit({ completedBytes });
    }
    if (completedBytes < layer.size) throw new TransientFault("interrupted", "the connection ended early");
  };

  emit({ completedBytes });
  if (completedBytes === layer.size) return hash;
  await retryTransient(
    {
      attempt: receive,
      achieved: () => completedBytes,
      worthwhile: WORTHWHILE_BYTES,
      isWorthRetrying: () => true,
      onRetry: (fault, retry) =>
        emit({ completedBytes, note: `${fault.message}; retrying (${retry} of ${options.retry.retries})` }),
    },
    options.retry,
    signal,
  );
  return hash;
}

/** A hash of the first `sizeBytes` of a partial, because the file may differ from what was received. */
async function hashStart(
  handle: FileHandle,
  sizeBytes: number,
  emit: (event: DownloadEvent) => void,
  signal: AbortSignal,
): Promise<Hash> {
  const hash = createHash("sha256");
  if (sizeBytes === 0) return hash;
  emit({ completedBytes: sizeBytes, note: "verifying what was downloaded before" });
  const buffer = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
  for (let position = 0; position < sizeBytes;) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, sizeBytes - position), position);
    if (bytesRead === 0) throw new PullFailed("the partial download became shorter while it was read");
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
  return hash;
}

/**
 * Errors of network, disk and signals as the errors of a pull; other errors are returned as they are. `model` names the
 * model of a download, of which what has arrived is kept.
 */
export function asPullError(error: unknown, signal: AbortSignal, model?: string): unknown {
  if (signal.aborted) return new Cancelled("the pull was cancelled", { cause: error });
  if (error instanceof TransientFault) {
    const resume: NextStep = { step: "resumePull", ...(model !== undefined && { model }) };
    if (error.kind !== "unreachable") {
      return new PullFailed(`the download stopped: ${error.message}`, { next: resume, cause: error });
    }
    return new PullFailed(`the registry can't be reached: ${error.message}`, {
      next: [advice("check the connection (and HTTPS_PROXY, if you need a proxy)"), resume, { step: "importModel" }],
      cause: error,
    });
  }
  const code = errorCode(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const kept = model === undefined ? "" : "; what has arrived is kept";
    return new PullFailed(`the disk is full: ${errorText(error)}${kept}`, {
      next: [advice("free some disk space and try again"), storeElsewhere],
      cause: error,
    });
  }
  if (code !== undefined && !(error instanceof PullFailed)) {
    return new PullFailed(`a file can't be read or written: ${errorText(error)}`, {
      next: advice("check the permissions of that file and of the folder store.path"),
      cause: error,
    });
  }
  return error;
}

/** Bytes per second over the last few seconds; `undefined` until it can be measured. */
type SpeedMeter = (completedBytes: number) => number | undefined;

const SMOOTHING_MS = 3000;
/** Shorter intervals measure buffers rather than the network. */
const SAMPLE_MS = 200;

/** Smooths exponentially with a time constant of 3 s. `startBytes` were present before the transfer. */
export function createSpeedMeter(now: () => number, startBytes: number): SpeedMeter {
  let sampledAtMs = now();
  let sampledBytes = startBytes;
  let bytesPerSecond: number | undefined;
  return (completedBytes) => {
    const elapsedMs = now() - sampledAtMs;
    if (elapsedMs < SAMPLE_MS) return bytesPerSecond;
    const current = (Math.max(0, completedBytes - sampledBytes) / elapsedMs) * 1000;
    const weight = 1 - Math.exp(-elapsedMs / SMOOTHING_MS);
    bytesPerSecond = Math.round(
      bytesPerSecond === undefined ? current : bytesPerSecond + weight * (current - bytesPerSecond),
    );
    sampledAtMs = now();
    sampledBytes = completedBytes;
    return bytesPerSecond;
  };
}
