import { readFileSync } from "node:fs";

/**
 * Whether the process with this id, read from a file of this machine, is running. False for a zombie (which lasts forever
 * in a container without an init), true for a process of another user.
 */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true; // not Linux
  }
}
