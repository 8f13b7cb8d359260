import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { replaceFile, readRegularText } from "../../storage/replace-file.ts";
import type { Log } from "../../api/log.ts";
import { fieldsIn, messageOf } from "../../util/values.ts";
import type { MemorySample } from "./system-probe.ts";
import { within } from "../../util/timers.ts";

/** The work of one thread of the measurement. */
export interface BandwidthShare {
  /** Memory that it reads again and again. */
  readonly bytes: number;
  readonly measureMs: number;
}

interface BandwidthOptions {
  /** Absolute path of the built `bandwidth-worker.mjs`. */
  readonly workerEntry: string;
  /** Where the result is saved. */
  readonly file: string;
  /** Threads that read at the same time, as many as decode. */
  readonly threads: number;
  /** Names the machine and the build: a result of another one is measured again. */
  readonly key: string;
  /** While other programs use the processor, the result is not saved; with little memory nothing is measured. */
  readonly sample: () => Promise<Pick<MemorySample, "availableBytes" | "loadPerCore">>;
  readonly log: Log;
  /** Limit for one measurement. Default 600: it takes 150 ms on an idle machine, most of it to start threads. */
  readonly limitMs?: number;
  /** A clock that only goes forward, in milliseconds. */
  readonly steady?: () => number;
}

const mebibyte = 1024 ** 2;
/** More than the caches of most processors; split among the threads. */
const totalBytes = 64 * mebibyte;
const leastBytes = 16 * mebibyte;
/** What a thread takes besides. */
const threadBytes = 10 * mebibyte;
const measureMs = 60;
const defaultLimitMs = 600;
/** For how long a result is used that isn't saved: a busy machine has no time to measure for each list. */
const unsavedMs = 60_000;

/**
 * Returns the bandwidth of main memory for plain reading, in bytes per second, of all threads together; undefined if it
 * could not be measured in time. Measured in worker threads, once for each key. Never rejects.
 */
export function createBandwidthProbe(options: BandwidthOptions): () => Promise<number | undefined> {
  const { steady = () => performance.now() } = options;
  let result: Promise<number | undefined> | undefined;
  let measureAgainMs = Number.POSITIVE_INFINITY;

  async function find(): Promise<number | undefined> {
    const kept = await read(options);
    if (kept !== undefined) return kept;
    const { availableBytes, loadPerCore = 0 } = await options.sample();
    const wasBusy = loadPerCore > 1;
    const measured = await measure(options, availableBytes).catch((error: unknown) => {
      options.log.debug(`hardware: the memory's bandwidth can't be measured: ${messageOf(error)}`);
      return undefined;
    });
    if (measured !== undefined && !wasBusy) await save(options, measured);
    else measureAgainMs = steady() + unsavedMs;
    return measured;
  }

  return () => {
    if (result === undefined || steady() >= measureAgainMs) {
      measureAgainMs = Number.POSITIVE_INFINITY;
      result = find();
    }
    return result;
  };
}

async function measure({ workerEntry, threads, limitMs = defaultLimitMs }: BandwidthOptions, availableBytes: number) {
  const share: BandwidthShare = { bytes: Math.max(leastBytes, Math.floor(totalBytes / threads)), measureMs };
  // The other half is for what programs take meanwhile: in a container the process would be killed.
  if (threads * (share.bytes + threadBytes) > availableBytes / 2) throw new Error("too little memory is available");
  const workers = Array.from(
    { length: threads },
    () => new Worker(workerEntry, { workerData: share, execArgv: [], stdin: false }),
  );
  const rates = async (): Promise<readonly unknown[]> => {
    await Promise.all(workers.map(next));
    const measured = Promise.all(workers.map(next));
    // All begin at the same time, so that they share the memory as decoding threads do.
    for (const worker of workers) worker.postMessage("begin");
    return measured;
  };
  try {
    const measured = await within({ ms: limitMs }, rates, () => {
      throw new Error(`no result within ${limitMs} ms`);
    });
    const sum = measured.reduce<number>((total, rate) => total + Number(rate), 0);
    if (!Number.isFinite(sum) || sum <= 0) throw new Error("nothing was read");
    return sum;
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** The next message of a thread. Rejects if it ends before. */
function next(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("the thread ended")));
  });
}

/** In bytes per second; no machine's main memory is as quick. */
const mostKept = 1e14;
const maxFileBytes = 10_000;

async function read({ file, key }: BandwidthOptions): Promise<number | undefined> {
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > maxFileBytes) return undefined;
    const { key: of, bytesPerSecond = 0 } = fieldsIn(await readRegularText(file));
    return of === key && typeof bytesPerSecond === "number" && bytesPerSecond > 0 && bytesPerSecond < mostKept
      ? bytesPerSecond
      : undefined;
  } catch {
    // Missing or damaged: measured again.
    return undefined;
  }
}

async function save({ file, key, log }: BandwidthOptions, bytesPerSecond: number): Promise<void> {
  const kept = { key, bytesPerSecond: Math.round(bytesPerSecond) };
  await replaceFile(file, `${JSON.stringify(kept)}\n`, { mode: 0o600 }).catch((error: unknown) => {
    log.debug(`hardware: ${file} was not saved: ${messageOf(error)}`);
  });
}
