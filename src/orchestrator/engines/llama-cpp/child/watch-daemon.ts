import { Worker } from "node:worker_threads";

/**
 * Runs in a thread of its own, so a busy event loop can't keep it from looking. On Windows a parent's pid stays after
 * its death, hence the second question. Plain JavaScript, because the bundle is one file.
 */
const watcher = `
const owner = Number(require("node:worker_threads").workerData);
const isGone = () => {
  if (process.platform !== "win32") return process.ppid !== owner;
  try { process.kill(owner, 0); return false; } catch (error) { return error.code === "ESRCH"; }
};
setInterval(() => { if (isGone()) process.kill(process.pid, "SIGKILL"); }, 500);
`;

/** Kills this process within a second of the owner's death, however it died and whatever this process is doing. */
export function watchOwner(ownerPid: number): void {
  const worker = new Worker(watcher, {
    eval: true,
    workerData: ownerPid,
    stdout: false,
    resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1 },
  });
  worker.unref();
}
