import { readFileSync } from "node:fs";

/**
 * Whether the process runs that wrote its id into a file of this machine. A zombie, which has ended and waits for its
 * parent (in a container without an init for ever), does not; another user's does.
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
