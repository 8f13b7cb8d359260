import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { median, rounded } from "./support/statistics.ts";

const calls = 300;
const barMs = 0.3;

/** How the two ways alternate. The first is judged; the second says how much of it are cold caches and young code. */
const phases = [
  { phase: "call by call", warmUpCalls: 50, turn: 1 },
  { phase: "warm, turns of 100", warmUpCalls: 700, turn: 100 },
] as const;
const model = "smollm2:135m";
const prompt = "Name three colours.";
const fakeProgram = fileURLToPath(new URL("../test/support/fake-ollama.ts", import.meta.url));

export const overhead: Bench = {
  name: "overhead",
  summary: `route_and_generate through the server beside a direct request to the same engine: at most +${barMs} ms`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const requestsPerCall = await countRequests(environment);
      const measured = await timePhases(environment);
      const rows = measured.flatMap(({ phase, directMs, serverMs }) => {
        const row = (way: string, times: readonly number[]) => ({
          phase,
          way,
          median_ms: rounded(median(times), 3),
          fastest_ms: rounded(Math.min(...times), 3),
          over_direct_ms: rounded(median(times) - median(directMs), 3),
        });
        return [row("direct fetch", directMs), row("route_and_generate", serverMs)];
      });
      const differences = measured.map(({ directMs, serverMs }) => median(serverMs) - median(directMs));
      const told = measured
        .map(({ phase }, index) => `${phase} +${(differences[index] ?? 0).toFixed(3)} ms`)
        .join("; ");
      return {
        rows,
        verdict: `${told}; bar +${barMs} ms call by call, medians of ${calls}; ${requestsPerCall} backend requests per call, bar 1`,
        passed: (differences[0] ?? Number.POSITIVE_INFINITY) <= barMs && requestsPerCall === 1,
      };
    }),
};

interface Phase {
  readonly phase: string;
  readonly directMs: readonly number[];
  readonly serverMs: readonly number[];
}

/** The fake runs as a process of its own, so that the direct and the indirect way pay the same for it. */
async function timePhases(environment: Record<string, string>): Promise<readonly Phase[]> {
  const fake = spawn(process.execPath, ["--import", "tsx", fakeProgram, "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const url = await urlOf(fake);
    return await withServer(environment, url, async (client) => {
      const measured: Phase[] = [];
      for (const { phase, warmUpCalls, turn } of phases) {
        const directMs: number[] = [];
        const serverMs: number[] = [];
        for (let call = -warmUpCalls; call < calls; call += turn) {
          for (const [way, times] of [
            [() => askDirectly(url), directMs],
            [() => askServer(client), serverMs],
          ] as const) {
            for (let repeat = 0; repeat < turn; repeat += 1) {
              const elapsed = await timed(way);
              if (call >= 0) times.push(elapsed);
            }
          }
        }
        measured.push({ phase, directMs, serverMs });
      }
      return measured;
    });
  } finally {
    const exited = once(fake, "exit");
    fake.kill("SIGKILL");
    await exited;
  }
}

async function countRequests(environment: Record<string, string>): Promise<number> {
  const fake = await startFakeOllama();
  const counted = 20;
  try {
    return await withServer(environment, fake.url, async (client) => {
      // The second call looks at what the first one loaded; from then on the facts are known.
      for (let call = 0; call < 2; call += 1) await askServer(client);
      const before = fake.requests.length;
      for (let call = 0; call < counted; call += 1) await askServer(client);
      return (fake.requests.length - before) / counted;
    });
  } finally {
    await fake.close();
  }
}

/** A client that costs next to nothing, so that the server is measured: lines out, lines in, one at a time. */
interface LineClient {
  request(method: string, params: object): Promise<{ readonly result?: { readonly isError?: boolean } }>;
}

async function withServer<Result>(
  environment: Record<string, string>,
  url: string,
  run: (client: LineClient) => Promise<Result>,
): Promise<Result> {
  const server = spawn(process.execPath, [command, "--standalone"], {
    env: { ...environment, OLLM_HOST: url, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(server, "exit");
  const client = createLineClient(server.stdin, server.stdout);
  try {
    const clientInfo = { name: "bench", version: "1" };
    await client.request("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo });
    return await run(client);
  } finally {
    server.stdin.end();
    await exited;
  }
}

function createLineClient(input: Writable, output: Readable): LineClient {
  let id = 0;
  let rest = "";
  let answer: (line: string) => void = () => undefined;
  output.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString("utf8")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) answer(line);
  });
  return {
    request: (method, params) =>
      new Promise((resolve) => {
        id += 1;
        answer = (line) => resolve(JSON.parse(line) as { result?: { isError?: boolean } });
        input.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
      }),
  };
}

async function askServer(client: LineClient): Promise<void> {
  const answered = await client.request("tools/call", { name: "route_and_generate", arguments: { prompt, model } });
  if (answered.result === undefined || answered.result.isError === true) throw new Error(JSON.stringify(answered));
}

async function askDirectly(url: string): Promise<void> {
  const response = await fetch(`${url}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: prompt }],
      stream: true,
      options: { num_ctx: 4096, num_predict: 4096 },
    }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

async function urlOf(fake: ChildProcess): Promise<string> {
  if (fake.stdout === null) throw new Error("the fake has no stdout");
  const [line]: unknown[] = await once(createInterface({ input: fake.stdout }), "line", {
    signal: AbortSignal.timeout(20_000),
  });
  return (JSON.parse(String(line)) as { url: string }).url;
}
