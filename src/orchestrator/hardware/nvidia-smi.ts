import { execFile } from "node:child_process";
import type { GpuMemory } from "./probe.ts";

/** Takes 20 ms, but up to 2 s while no program uses the cards, since the driver is initialised first. */
const timeoutMs = 10_000;
const mebibyte = 1024 ** 2;

const query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"];

/**
 * Runs `nvidia-smi`, which is installed with NVIDIA's driver, also in containers and under WSL. Resolves to its output:
 * a line `name, total, free` for each card, in MiB; empty if it hangs, undefined if there is none or it fails.
 */
export function runNvidiaSmi(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("nvidia-smi", query, { timeout: timeoutMs, windowsHide: true }, (error, stdout) =>
      resolve(error === null ? stdout : error.killed === true ? "" : undefined),
    );
  });
}

/** Cards that share the RAM report `[N/A]` as their memory: they are left out. */
export function parseNvidiaSmi(text: string): readonly GpuMemory[] {
  return text.split("\n").flatMap((line) => {
    const [, name, total, free] = /^(.+), (\d+), (\S+)\s*$/.exec(line) ?? [];
    if (name === undefined || total === undefined || Number(total) === 0) return [];
    const freeMib = Number(free);
    return {
      name: name.trim(),
      totalBytes: Number(total) * mebibyte,
      ...(Number.isNaN(freeMib) ? {} : { freeBytes: freeMib * mebibyte }),
    };
  });
}
