import { readFileSync } from "node:fs";

/**
 * Whether a process is running. A zombie counts as ended: in some containers it takes seconds until the first process
 * collects it.
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
