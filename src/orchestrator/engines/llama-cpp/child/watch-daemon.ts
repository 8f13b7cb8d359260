import { Worker } from "node:worker_threads";

/**
 * Runs in a thread of its own, so a busy event loop can't keep it from looking. On Windows a parent's pid stays after
 * its death, hence the second question. Plain JavaScript, because the bundle is one file.
 */
const watcher = `
const daemon = Number(require("node:worker_threads").workerData);
const isGone = () => {
  if (process.platform !== "win32") return process.ppid !== daemon;
  try { process.kill(daemon, 0); return false; } catch (error) { return error.code === "ESRCH"; }
};
setInterval(() => { if (isGone()) process.kill(process.pid, "SIGKILL"); }, 500);
`;

/** Kills this process within a second of the daemon's death, however it died and whatever this process is doing. */
export function watchDaemon(daemonPid: number): void {
  const worker = new Worker(watcher, {
    eval: true,
    workerData: daemonPid,
    stdout: false,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 },
  });
  worker.unref();
}
