import { type Hash, createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { PullFailed } from "../api/errors.ts";
import { type RetryOptions, retrying } from "../util/retry.ts";
import { type ByteStream, TransientFault } from "./http.ts";

/** Content to download, whose size and checksum are known. */
interface Download {
  /** Continued after what it holds already, which is hashed again: it may differ from what was received. */
  readonly handle: FileHandle;
  /** Writes all of the bytes at that position of the file. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  readonly sizeBytes: number;
  readonly algorithm: "sha256" | "sha512";
  /** Hexadecimal. */
  readonly digest: string;
  /** Opens the content at a byte. */
  open(firstByte: number): Promise<ByteStream>;
  readonly retry: RetryOptions;
  emit(event: DownloadEvent): void;
  /** Throws if the file must not be written to any more. */
  check?(): void;
}

export interface DownloadEvent {
  readonly completedBytes: number;
  /** Set during anything other than receiving bytes. */
  readonly note?: string;
}

/** What arrived is not what was asked for. */
export class WrongContent extends Error {
  /** Absent: there are more bytes than announced. */
  readonly digest: string | undefined;

  constructor(message: string, digest?: string) {
    super(message);
    this.digest = digest;
  }
}

const HASH_CHUNK_BYTES = 1024 ** 2;
/** An attempt that received this much resets the number of retries. */
const WORTHWHILE_BYTES = 1024 ** 2;

/**
 * Completes a file: continues from what it holds, retries after a cut or a stall, and checks the result. Throws
 * `WrongContent`, what `open`, `write` and `check` throw (`TransientFault` after the last attempt), and an AbortError.
 */
export async function download(wanted: Download, signal: AbortSignal): Promise<void> {
  const { handle, sizeBytes, emit, retry } = wanted;
  let completedBytes = (await handle.stat()).size;
  if (completedBytes > sizeBytes) {
    await handle.truncate(0);
    completedBytes = 0;
  }
  const hash = await hashStart(wanted, completedBytes, signal);

  const receive = async (): Promise<void> => {
    const stream = await wanted.open(completedBytes);
    // A server without ranges starts over: skip what is there already.
    let skipBytes = completedBytes - stream.startsAt;
    if (skipBytes > 0) emit({ completedBytes, note: "the server can't resume and sends it from the beginning" });
    for await (const received of stream.body) {
      const chunk = received.subarray(Math.min(skipBytes, received.length));
      skipBytes -= received.length - chunk.length;
      if (chunk.length === 0) continue;
      if (completedBytes + chunk.length > sizeBytes)
        throw new WrongContent(`the server sends more than the announced ${sizeBytes} bytes`);
      wanted.check?.();
      await wanted.write(chunk, completedBytes);
      hash.update(chunk);
      completedBytes += chunk.length;
      emit({ completedBytes });
    }
    if (completedBytes < sizeBytes) throw new TransientFault("interrupted", "the connection ended early");
  };

  emit({ completedBytes });
  if (completedBytes < sizeBytes) {
    await retrying(
      {
        attempt: receive,
        progress: { achieved: () => completedBytes, worthwhile: WORTHWHILE_BYTES },
        faultOf: (error) => (error instanceof TransientFault ? error : undefined),
        onRetry: (fault, count) =>
          emit({ completedBytes, note: `${fault.message}; retrying (${count} of ${retry.retries})` }),
      },
      retry,
      signal,
    );
  }
  const digest = hash.digest("hex");
  if (digest !== wanted.digest) throw new WrongContent(`its ${wanted.algorithm} differs`, digest);
}

async function hashStart(wanted: Download, sizeBytes: number, signal: AbortSignal): Promise<Hash> {
  const hash = createHash(wanted.algorithm);
  if (sizeBytes === 0) return hash;
  wanted.emit({ completedBytes: sizeBytes, note: "verifying what was downloaded before" });
  const buffer = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
  for (let position = 0; position < sizeBytes;) {
    signal.throwIfAborted();
    const wantedBytes = Math.min(buffer.length, sizeBytes - position);
    const { bytesRead } = await wanted.handle.read(buffer, 0, wantedBytes, position);
    if (bytesRead === 0) throw new PullFailed("the partial download became shorter while it was read");
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
  return hash;
}

const SMOOTHING_MS = 3000;
/** Shorter intervals measure buffers rather than the network. */
const SAMPLE_MS = 200;

/** Bytes per second, smoothed exponentially with a time constant of 3 s; what was there at the first call doesn't count. */
export function createSpeedMeter(now: () => number): (completedBytes: number) => number | undefined {
  let sampled: { readonly bytes: number; readonly atMs: number } | undefined;
  let bytesPerSecond: number | undefined;
  return (completedBytes) => {
    sampled ??= { bytes: completedBytes, atMs: now() };
    const elapsedMs = now() - sampled.atMs;
    if (elapsedMs < SAMPLE_MS) return bytesPerSecond;
    const current = (Math.max(0, completedBytes - sampled.bytes) / elapsedMs) * 1000;
    const weight = bytesPerSecond === undefined ? 1 : 1 - Math.exp(-elapsedMs / SMOOTHING_MS);
    bytesPerSecond = Math.round((bytesPerSecond ?? 0) * (1 - weight) + current * weight);
    sampled = { bytes: completedBytes, atMs: now() };
    return bytesPerSecond;
  };
}
