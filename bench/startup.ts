import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { introduction } from "./support/line-client.ts";
import { withDaemon } from "./support/programs.ts";
import { median, rounded } from "./support/statistics.ts";
import type { Bench } from "./bench.ts";

const runs = 20;
/**
 * Times of a bare Node program's. The front keeps no compiled code, and checks the home before it connects (decision
 * 0026). A standalone server loads the SDK as it is published; comparable servers need 4.9 to 8.0.
 */
const bars = { front: 1.4, standalone: 4.3, frontMemory: 1.1, hookMs: 50 } as const;
/** A start that takes longer than this hangs. */
const startLimitMs = 10_000;

/** The least a Node program can do: answer one line with the same line. */
const bareProgram = 'process.stdin.once("data", (line) => process.stdout.write(line));\n';
/** The least a front can do: it knows where to connect, proves nothing and understands nothing. */
const twoLineFront = (socket: string): string => `import { connect } from "node:net";
const daemon = connect(${JSON.stringify(socket)}); process.stdin.pipe(daemon); daemon.pipe(process.stdout);
`;

const initialize = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: introduction });

interface Start {
  readonly ms: number;
  /** Resident set once it has answered; absent where the platform doesn't tell. */
  readonly residentBytes?: number;
}

export const startup: Bench = {
  name: "startup",
  summary: `spawn to the answer to initialize, beside a bare Node program: front at most ${bars.front} ×, standalone ${bars.standalone} ×; a run of the hook, at most ${bars.hookMs} ms`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      // Standalone is refused where a daemon lives.
      const apart = { ...environment, OLLM_HOME: join(environment["HOME"] ?? "", "standalone") };
      const folder = environment["HOME"] ?? "";
      const [bare, small] = [join(folder, "bare.mjs"), join(folder, "front.mjs")];
      const socket =
        process.platform === "win32" ? `\\\\.\\pipe\\ollm-bench-${process.pid}` : join(folder, "echo.sock");
      await writeFile(bare, bareProgram);
      await writeFile(small, twoLineFront(socket));
      // The reference is a program in a file, as clients start them; without reading one, Node is a tenth quicker.
      const programs = [
        { program: "bare Node", args: [bare], environment },
        { program: "bare Node, --eval", args: ["--input-type=module", "--eval", bareProgram], environment },
        { program: "two-line front", args: [small], environment },
        { program: "ollm, front with the daemon up", args: [command], environment },
        { program: "ollm --standalone", args: [command, "--standalone"], environment: apart },
      ] as const;
      const starts: readonly Start[][] = programs.map(() => []);
      const [hooks, empties]: [number[], number[]] = [[], []];
      const read = await largeRead(folder);
      await withEcho(socket, () =>
        withDaemon(environment, async () => {
          // One of each in turn, so that a busy moment of the machine touches all; the first round warms the file cache.
          for (let run = 0; run <= runs; run += 1) {
            for (const [index, program] of programs.entries()) {
              const start = await timeFirstAnswer(program.args, program.environment);
              if (run > 0) starts[index]?.push(start);
            }
            const [hook, empty] = [
              await timeRun([command, "hook", folder], environment, read),
              await timeRun(["-e", "0"], environment, ""),
            ];
            if (!hook.said.includes("tokens")) throw new Error(`the hook said nothing of a large file: ${hook.said}`);
            if (run > 0) hooks.push(hook.ms);
            if (run > 0) empties.push(empty.ms);
          }
        }),
      );
      const rows = programs.map(({ program }, index) => rowOf(program, starts[index] ?? [], starts[0] ?? []));
      const [, evaluated, , front, standalone] = rows;
      const beside = ((front?.median_ms ?? 0) / (evaluated?.median_ms ?? 1)).toFixed(2);
      const memory = front?.resident_ratio;
      const passed =
        (front?.ratio ?? Number.POSITIVE_INFINITY) <= bars.front &&
        (standalone?.ratio ?? Number.POSITIVE_INFINITY) <= bars.standalone &&
        (typeof memory !== "number" || memory <= bars.frontMemory) &&
        median(hooks) <= bars.hookMs;
      const [hookMs, emptyMs] = [rounded(median(hooks)), rounded(median(empties))];
      return {
        rows,
        verdict: `front ${front?.ratio} (bar ${bars.front}; ${beside} beside --eval), standalone ${standalone?.ratio} (bar ${bars.standalone}), front's resident set ${memory} (bar ${bars.frontMemory}); hook ${hookMs} ms to its end (bar ${bars.hookMs}), ${rounded(hookMs / emptyMs, 2)} × the ${emptyMs} ms of node -e 0; medians of ${runs}`,
        passed,
      };
    }),
};

/** What an assistant tells its hook before it reads a large file; the folder is a home with a model, too. */
async function largeRead(folder: string): Promise<string> {
  await writeFile(join(folder, "summary.json"), '{"models":[{"name":"smollm2:135m"}]}');
  await writeFile(join(folder, "large.log"), "The ferry left at noon.\n".repeat(4_000));
  return JSON.stringify({ cwd: folder, tool_input: { file_path: "large.log" } });
}

/** Spawn to exit, for which an assistant waits. Throws if it exits with another code than 0. */
async function timeRun(args: readonly string[], environment: Record<string, string>, input: string) {
  const started = performance.now();
  const child = spawn(process.execPath, args, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.on("error", () => undefined).end(input);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}`);
  return { ms: performance.now() - started, said };
}

/** What the two-line front connects to: every line comes back. */
async function withEcho<Result>(socket: string, run: () => Promise<Result>): Promise<Result> {
  const server = createServer((connection) => connection.on("error", () => undefined).pipe(connection));
  server.listen(socket);
  await once(server, "listening");
  try {
    return await run();
  } finally {
    server.close();
  }
}

function rowOf(program: string, starts: readonly Start[], bare: readonly Start[]) {
  const times = starts.map(({ ms }) => ms);
  const resident = residentOf(starts);
  const bareResident = residentOf(bare);
  return {
    program,
    median_ms: rounded(median(times)),
    fastest_ms: rounded(Math.min(...times)),
    ratio: rounded(median(times) / median(bare.map(({ ms }) => ms)), 2),
    resident_mib: resident === undefined ? "unmeasured" : rounded(resident / 1024 ** 2),
    resident_ratio:
      resident === undefined || bareResident === undefined ? "unmeasured" : rounded(resident / bareResident, 2),
  };
}

function residentOf(starts: readonly Start[]): number | undefined {
  const sizes = starts.flatMap(({ residentBytes }) => (residentBytes === undefined ? [] : [residentBytes]));
  return sizes.length === 0 ? undefined : median(sizes);
}

/** Spawn to the first line on stdout; the process is ended and waited for. */
async function timeFirstAnswer(args: readonly string[], environment: Record<string, string>): Promise<Start> {
  const started = performance.now();
  const child = spawn(process.execPath, args, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  try {
    child.stdin.write(`${initialize}\n`);
    const answer: unknown[] = await once(lines, "line", { signal: AbortSignal.timeout(startLimitMs) });
    const ms = performance.now() - started;
    const { id } = JSON.parse(String(answer[0])) as { id?: unknown };
    if (id !== 1) throw new Error(`not the answer to initialize: ${String(answer[0])}`);
    const residentBytes = await residentBytesOf(child.pid ?? 0);
    return { ms, ...(residentBytes !== undefined && { residentBytes }) };
  } finally {
    // As a client ends it: a server that is killed leaves a death behind, which the next start would have to look into.
    child.stdin.end();
    const kill = setTimeout(() => child.kill("SIGKILL"), startLimitMs);
    await exited;
    clearTimeout(kill);
    lines.close();
  }
}

/** Undefined where there is no `/proc`. */
async function residentBytesOf(pid: number): Promise<number | undefined> {
  if (process.platform !== "linux") return undefined;
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}
