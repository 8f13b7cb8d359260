import { execFile, type ExecFileException } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import path from "node:path";
import { oneLine } from "../../util/control-characters.ts";
import type { GpuMemory } from "./probe.ts";

/** Takes 20 ms, but up to 2 s while no program uses the cards, since the driver is initialised first. */
const timeoutMs = 10_000;
const mebibyte = 1024 ** 2;

const query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"];

/**
 * Runs `nvidia-smi`, which is installed with NVIDIA's driver, also in containers and under WSL. Resolves to its output:
 * a line `name, total, free` for each card, in MiB; empty if it hangs or writes without end, undefined if there is none
 * or it fails.
 */
export async function runNvidiaSmi(
  searchPath = process.env["PATH"] ?? "",
  limitMs = timeoutMs,
): Promise<string | undefined> {
  const program = await findProgram(searchPath);
  if (program === undefined) return undefined;
  const options = { timeout: limitMs, killSignal: "SIGKILL", windowsHide: true } as const;
  return new Promise((resolve) => {
    execFile(program, query, options, (error, stdout) =>
      resolve(error === null ? stdout : isEndless(error) ? "" : undefined),
    );
  });
}

function isEndless({ killed, code }: ExecFileException): boolean {
  return killed === true || String(code) === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER";
}

/** Never in the current folder, which may be a stranger's: Windows would look there first. */
async function findProgram(searchPath: string): Promise<string | undefined> {
  const name = process.platform === "win32" ? "nvidia-smi.exe" : "nvidia-smi";
  for (const folder of searchPath.split(path.delimiter).filter((each) => path.isAbsolute(each))) {
    const file = path.join(folder, name);
    const canRun = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (canRun) return file;
  }
  return undefined;
}

/** More than a machine has; a program of that name may write anything. */
const maxCards = 64;
const maxNameLength = 100;

/** Cards that share the RAM report `[N/A]` as their memory: they are left out. */
export function parseNvidiaSmi(text: string): readonly GpuMemory[] {
  const cards = text.split("\n").flatMap((line) => {
    const [, name, total, free = ""] = /^(.+), (\d{1,9}), (\S+)\s*$/.exec(line) ?? [];
    if (name === undefined || total === undefined || Number(total) === 0) return [];
    return {
      name: oneLine(name).trim().slice(0, maxNameLength),
      totalBytes: Number(total) * mebibyte,
      ...(/^\d{1,9}$/.test(free) ? { freeBytes: Number(free) * mebibyte } : {}),
    };
  });
  return cards.slice(0, maxCards);
}
