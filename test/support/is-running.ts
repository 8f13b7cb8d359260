import { readFileSync } from "node:fs";

/**
 * Whether a process still runs. An orphan that has ended stays in the list until the system's first process looks,
 * which takes seconds in some containers: it holds nothing any more, so it counts as gone.
 */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== "linux") return true;
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !stat.slice(stat.lastIndexOf(")")).startsWith(") Z");
  } catch {
    return false;
  }
}
