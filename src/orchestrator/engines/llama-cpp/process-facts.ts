import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";

export interface ProcessMemory {
  /** Anonymous pages in RAM, which are freed when the process ends. */
  readonly anonymousBytes: number;
  /** Pages of mapped files in RAM, which the system counts as available. */
  readonly mappedBytes: number;
}

/** Returns the resident memory of a process; undefined on systems other than Linux, or when the process has ended. */
export async function readProcessMemory(pid: number): Promise<ProcessMemory | undefined> {
  const status = await readProc(pid, "status");
  if (status === undefined) return undefined;
  const kilobytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN);
  const [anonymous, mapped] = [kilobytes("RssAnon"), kilobytes("RssFile")];
  if (Number.isNaN(anonymous) || Number.isNaN(mapped)) return undefined;
  return { anonymousBytes: anonymous * 1024, mappedBytes: mapped * 1024 };
}

/**
 * Returns the start time of a process in the system's own format. Together with the pid it identifies a process, because
 * pids are reused. Undefined when there is no such process or the system doesn't report it.
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const stat = await readProc(pid, "stat");
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

async function readProc(pid: number, file: string): Promise<string | undefined> {
  if (process.platform !== "linux") return undefined;
  // The process may have ended.
  return readFile(`/proc/${pid}/${file}`, "utf8").catch(() => undefined);
}

/** With a timeout; PowerShell normally takes half a second. */
function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 5_000, windowsHide: true }, (error, stdout) =>
      resolve(error ? "" : stdout.trim()),
    );
  });
}
