/**
 * A thread of the bandwidth measurement: reads its own memory with `memchr`, the quickest plain read that Node has.
 * Sends the time of each chunk's read when told to begin.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { BandwidthShare } from "./bandwidth.ts";

/** Small enough that most chunks are read without an interruption by other threads. */
const chunkBytes = 4 * 1024 ** 2;
const absent = 0;

const { bytes, measureMs } = workerData as BandwidthShare;
// Filled, so that every page is memory of its own.
const memory = Buffer.alloc(bytes, 1);

function measure(): number {
  const rates: number[] = [];
  const until = performance.now() + measureMs;
  for (let from = 0; performance.now() < until; from = (from + chunkBytes) % bytes) {
    const chunk = memory.subarray(from, from + chunkBytes);
    const startedAt = performance.now();
    chunk.indexOf(absent);
    const tookMs = performance.now() - startedAt;
    if (tookMs > 0) rates.push((chunk.length * 1000) / tookMs);
  }
  // The upper quartile: interruptions by other programs only make chunks slower.
  return rates.toSorted((a, b) => a - b)[Math.floor(rates.length * 0.75)] ?? 0;
}

parentPort?.once("message", () => parentPort?.postMessage(measure()));
parentPort?.postMessage("ready");
