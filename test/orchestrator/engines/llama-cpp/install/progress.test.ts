import { expect, test } from "vitest";
import type { Progress } from "../../../../../src/orchestrator/api/types.ts";
import { createDownloadProgress } from "../../../../../src/orchestrator/engines/llama-cpp/install/installation.ts";

test("bytes of parallel downloads are added, never decrease after a restart, and determine the total speed", () => {
  let now = 0;
  const reports: Progress[] = [];
  const progress = createDownloadProgress(
    1000,
    (report) => reports.push(report),
    () => now,
  );
  const at = (atMs: number, path: string, bytes: number): void => {
    now = atMs;
    progress.update(path, bytes);
  };
  at(100, "a", 100); // too early for a report
  at(300, "b", 200);
  at(600, "b", 0); // restarts
  at(900, "b", 150);
  at(1200, "b", 300);
  at(1210, "a", 700); // the last byte is always reported
  expect(reports.map((report) => [report.completedBytes, report.bytesPerSecond])).toEqual([
    [300, 1000],
    [400, 333],
    [1000, 826],
  ]);
});
