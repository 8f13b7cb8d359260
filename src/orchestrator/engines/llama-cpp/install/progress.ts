import type { Report } from "../../engine.ts";
import { formatBytes } from "../../../util/format-bytes.ts";

/** Reports the sum of parallel downloads, at most every 200 ms. */
export interface DownloadProgress {
  /** Sets the bytes of the package at `path`; a restarted download sets fewer than before. */
  update(path: string, bytes: number): void;
}

const intervalMs = 200;

/** `now` in milliseconds. Never reports fewer bytes than before, even when a download restarts. */
export function createDownloadProgress(totalBytes: number, report: Report, now: () => number): DownloadProgress {
  const bytesOf = new Map<string, number>();
  const startedAtMs = now();
  let sum = 0;
  let reportedBytes = 0;
  let reportedAtMs = startedAtMs;
  return {
    update(path, bytes) {
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
