import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";

export interface ProcessMemory {
  /** Anonymous pages in RAM: what its end gives back for sure. */
  readonly anonymousBytes: number;
  /** Pages of mapped files in RAM: the system counts them as available. */
  readonly mappedBytes: number;
}

/** Resident memory of a process; undefined where the system doesn't tell it (all but Linux) or the process is gone. */
export async function readProcessMemory(pid: number): Promise<ProcessMemory | undefined> {
  const status = await readProc(pid, "status");
  if (status === undefined) return undefined;
  const kilobytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN);
  const [anonymous, mapped] = [kilobytes("RssAnon"), kilobytes("RssFile")];
  if (Number.isNaN(anonymous) || Number.isNaN(mapped)) return undefined;
  return { anonymousBytes: anonymous * 1024, mappedBytes: mapped * 1024 };
}

/**
 * When a process was started, in the system's own words: together with the pid it names one process for ever, because
 * pids are used again. Undefined when there is no such process or the system doesn't say.
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const stat = await readProc(pid, "stat");
    // The command's name, in brackets, may hold anything; `starttime` is field 22, the 20th behind it.
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A dead process whose parent has not looked yet holds nothing any more.
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
  // Gone between two looks is an answer.
  return readFile(`/proc/${pid}/${file}`, "utf8").catch(() => undefined);
}

/** Bounded: PowerShell needs half a second when it is well. */
function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 5_000, windowsHide: true }, (error, stdout) =>
      resolve(error ? "" : stdout.trim()),
    );
  });
}
