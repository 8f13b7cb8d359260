import { ExponentialBackoff, type IBackoff } from "cockatiel";
import { type Hash, createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { PullFailed } from "../api/errors.ts";
import { type ByteStream, TransientFault } from "./http.ts";

export interface RetryOptions {
  /** Further attempts after the first one, in a row without progress. */
  readonly retries: number;
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

interface RetryWork<Result> {
  attempt(): Promise<Result>;
  /** Measures progress; an attempt that adds `worthwhile` to it resets the number of retries. */
  achieved(): number;
  readonly worthwhile: number;
  isWorthRetrying(fault: TransientFault): boolean;
  onRetry(fault: TransientFault, retry: number): void;
}

/**
 * Repeats `attempt` while it fails with a `TransientFault`, waiting longer each time (decorrelated jitter). cockatiel's
 * own retry policy is not used because its waits can't be aborted; an abort here rejects at once with an AbortError.
 */
export async function retryTransient<Result>(
  work: RetryWork<Result>,
  options: RetryOptions,
  signal: AbortSignal,
): Promise<Result> {
  const delays = new ExponentialBackoff({ initialDelay: options.initialDelayMs, maxDelay: options.maxDelayMs });
  let retry = 0;
  let backoff: IBackoff<unknown> | undefined;
  for (;;) {
    const achievedBefore = work.achieved();
    try {
      return await work.attempt();
    } catch (error) {
      if (!(error instanceof TransientFault) || !work.isWorthRetrying(error)) throw error;
      if (work.achieved() - achievedBefore >= work.worthwhile) {
        retry = 0;
        backoff = undefined;
      }
      if (retry >= options.retries) throw error;
      retry += 1;
      work.onRetry(error, retry);
      backoff = backoff === undefined ? delays.next() : backoff.next(undefined);
      await delay(backoff.duration, undefined, { signal });
    }
  }
}

/** Content to download, whose size and checksum are known. */
export interface Download {
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
    await retryTransient(
      {
        attempt: receive,
        achieved: () => completedBytes,
        worthwhile: WORTHWHILE_BYTES,
        isWorthRetrying: () => true,
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
