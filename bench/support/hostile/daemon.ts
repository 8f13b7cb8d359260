import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { command } from "../environment.ts";
import type { Answer, LineClient } from "../line-client.ts";
import { withDaemon } from "../programs.ts";

/** A daemon of its own under attack, and what an attacker may do to it. */
export interface Target {
  readonly client: LineClient;
  /** `tools/call`; its answer in a few words, or that none came within `limitMs`. */
  call(tool: string, input: object, limitMs?: number): Promise<string>;
  /** Opens the HTTP listener, without a token. It closes with the daemon. */
  http(): Promise<string>;
}

export interface Peak {
  /** `VmHWM` of the daemon: the most that was ever resident. */
  readonly peakBytes: number;
  readonly seconds: number;
  /** The attack's own report, or that the daemon exited. */
  readonly outcome: string;
}

/** Runs `attack` against a fresh daemon. Linux only: elsewhere the system doesn't keep a process's peak. */
export async function underAttack(
  environment: Record<string, string>,
  workingDirectory: string,
  attack: (target: Target) => Promise<string>,
): Promise<Peak> {
  const run = async (client: LineClient): Promise<Peak> => {
    const pid = await daemonPid(environment);
    const opened: { kill(): boolean }[] = [];
    const target: Target = {
      client,
      call: (tool, input, limitMs = 20_000) =>
        within(limitMs, client.request("tools/call", { name: tool, arguments: input }).then(inWords)),
      async http() {
        const args = [command, "serve", "--port", "0", "--json", "--no-token"];
        const serving = spawn(process.execPath, args, { env: environment, stdio: ["ignore", "pipe", "inherit"] });
        opened.push(serving);
        const [line]: unknown[] = await once(createInterface({ input: serving.stdout }), "line");
        return (JSON.parse(String(line)) as { url: string }).url;
      },
    };
    let peakBytes = 0;
    const over = new AbortController();
    // A daemon that dies takes its peak with it.
    const watch = (async () => {
      while (!over.signal.aborted) {
        peakBytes = Math.max(peakBytes, (await residentPeak(pid)) ?? 0);
        await delay(50);
      }
    })();
    const startedAt = performance.now();
    try {
      const outcome = await attack(target);
      const seconds = (performance.now() - startedAt) / 1_000;
      const last = await residentPeak(pid);
      return { peakBytes: Math.max(peakBytes, last ?? 0), seconds, outcome: last === undefined ? ended : outcome };
    } finally {
      over.abort();
      await watch;
      for (const each of opened) each.kill();
    }
  };
  return await withDaemon(environment, run, workingDirectory);
}

/** Said of an attack that succeeded. */
export const ended = "THE DAEMON ENDED";

async function residentPeak(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

async function daemonPid(environment: Record<string, string>): Promise<number> {
  const status = [command, "daemon", "status", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, status, { env: environment });
  return (JSON.parse(stdout) as { pid: number }).pid;
}

async function within(limitMs: number, work: Promise<string>): Promise<string> {
  const stop = new AbortController();
  const tooLate = delay(limitMs, `no answer in ${limitMs / 1_000} s`, { signal: stop.signal }).catch(() => "");
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    stop.abort();
  }
}

function inWords(answer: Answer): string {
  const { result, error } = answer;
  if (result === undefined) return `error: ${JSON.stringify(error).slice(0, 80)}`;
  const [content] = (result as { content?: { text?: string }[] }).content ?? [];
  const text = (content?.text ?? "").replaceAll(/\s+/g, " ");
  return result.isError === true ? `refused: ${text.slice(0, 80)}` : text.slice(0, 60);
}
