import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { median, rounded } from "./support/statistics.ts";
import type { Bench } from "./bench.ts";

const runs = 20;
const bar = 3.5;
/** A start that takes longer than this hangs. */
const startLimitMs = 10_000;

/** The least a Node program can do: answer one line with the same line. */
const bareProgram = 'process.stdin.once("data", (line) => process.stdout.write(line));';

const initialize = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
});

export const startup: Bench = {
  name: "startup",
  summary: `spawn to the answer to initialize, beside a bare Node program: at most ${bar} ×`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const bareMs: number[] = [];
      const serverMs: number[] = [];
      // One of each in turn, so that a busy moment of the machine touches both; the first pair warms the file cache.
      for (let run = 0; run <= runs; run += 1) {
        const bare = await timeFirstAnswer(["--input-type=module", "--eval", bareProgram], environment);
        const server = await timeFirstAnswer([command, "--standalone"], environment);
        if (run === 0) continue;
        bareMs.push(bare);
        serverMs.push(server);
      }
      const ratio = median(serverMs) / median(bareMs);
      const row = (program: string, times: readonly number[]) => ({
        program,
        median_ms: rounded(median(times)),
        fastest_ms: rounded(Math.min(...times)),
        ratio: rounded(median(times) / median(bareMs), 2),
      });
      return {
        rows: [row("bare Node", bareMs), row("ollm --standalone", serverMs)],
        verdict: `ratio ${ratio.toFixed(2)}, bar ${bar}, medians of ${runs}`,
        passed: ratio <= bar,
      };
    }),
};

/** Milliseconds from spawn to the first line on stdout; the process is ended and waited for. */
async function timeFirstAnswer(args: readonly string[], environment: Record<string, string>): Promise<number> {
  const started = performance.now();
  const child = spawn(process.execPath, args, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  try {
    child.stdin.write(`${initialize}\n`);
    const answer: unknown[] = await once(lines, "line", { signal: AbortSignal.timeout(startLimitMs) });
    const elapsed = performance.now() - started;
    const { id } = JSON.parse(String(answer[0])) as { id?: unknown };
    if (id !== 1) throw new Error(`not the answer to initialize: ${String(answer[0])}`);
    return elapsed;
  } finally {
    child.kill("SIGKILL");
    await exited;
    lines.close();
  }
}
