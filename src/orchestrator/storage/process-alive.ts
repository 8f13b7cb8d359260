import { readFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { codeOf } from "../util/values.ts";

/**
 * Whether the process with this id, read from a file of this machine, is running. False for a zombie (which lasts forever
 * in a container without an init), true for a process of another user.
 */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false;
  }
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true; // not Linux
  }
}

/**
 * Returns the start time of a process in the system's own format. Together with the pid it identifies a process, because
 * pids are reused. Undefined when there is no such process or the system doesn't report it.
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
    // The command's name, in brackets, may contain anything; `starttime` is field 22, the 20th after it.
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie holds no memory.
    return fields?.[0] === "Z" ? undefined : fields?.[19];
  }
  const answer =
    process.platform === "win32"
      ? await run("powershell.exe", ["-NoProfile", "-Command", `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`])
      : await run("ps", ["-o", "lstart=", "-p", String(pid)]);
  return answer === "" ? undefined : answer;
}

/** With a timeout; PowerShell normally takes half a second. */
function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 5_000, windowsHide: true }, (error, stdout) =>
      resolve(error ? "" : stdout.trim()),
    );
  });
}
