import { Worker } from "node:worker_threads";

/**
 * Runs in its own thread, so that a busy event loop can't delay it. On Windows `ppid` doesn't change when the parent ends,
 * so the pid is checked there. Plain JavaScript, because the bundle is one file.
 */
const watcher = `
const daemon = Number(require("node:worker_threads").workerData);
const isGone = () => {
  if (process.platform !== "win32") return process.ppid !== daemon;
  try { process.kill(daemon, 0); return false; } catch (error) { return error.code === "ESRCH"; }
};
setInterval(() => { if (isGone()) process.kill(process.pid, "SIGKILL"); }, 500);
`;

/** Kills this process within a second of the end of the daemon, even if this process is busy. */
export function watchDaemon(daemonPid: number): void {
  const worker = new Worker(watcher, {
    eval: true,
    workerData: daemonPid,
    stdout: false,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 },
  });
  worker.unref();
}
