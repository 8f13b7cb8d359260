import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import type { Bench } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { median, rounded } from "./support/statistics.ts";

const calls = 300;
const warmUpCalls = 50;
const barMs = 0.3;
const model = "smollm2:135m";
const prompt = "Name three colours.";
const fakeProgram = fileURLToPath(new URL("../test/support/fake-ollama.ts", import.meta.url));

export const overhead: Bench = {
  name: "overhead",
  summary: `route_and_generate through the server beside a direct request to the same engine: at most +${barMs} ms`,
  run: () =>
    withCleanEnvironment(async (environment) => {
      const requestsPerCall = await countRequests(environment);
      const { directMs, serverMs } = await timeCalls(environment);
      const difference = median(serverMs) - median(directMs);
      const row = (way: string, times: readonly number[]) => ({
        way,
        median_ms: rounded(median(times), 3),
        fastest_ms: rounded(Math.min(...times), 3),
        over_direct_ms: rounded(median(times) - median(directMs), 3),
      });
      return {
        rows: [row("direct fetch", directMs), row("route_and_generate", serverMs)],
        verdict: `+${difference.toFixed(3)} ms, bar +${barMs} ms, medians of ${calls}; ${requestsPerCall} backend requests per call, bar 1`,
        passed: difference <= barMs && requestsPerCall === 1,
      };
    }),
};

/** The fake runs as a process of its own, so that the direct and the indirect way pay the same for it. */
async function timeCalls(environment: Record<string, string>): Promise<{ directMs: number[]; serverMs: number[] }> {
  const fake = spawn(process.execPath, ["--import", "tsx", fakeProgram, "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const url = await urlOf(fake);
    return await withServer(environment, url, async (client) => {
      const directMs: number[] = [];
      const serverMs: number[] = [];
      for (let call = -warmUpCalls; call < calls; call += 1) {
        const direct = await timed(() => askDirectly(url));
        const server = await timed(() => askServer(client));
        if (call < 0) continue;
        directMs.push(direct);
        serverMs.push(server);
      }
      return { directMs, serverMs };
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
      await askServer(client);
      const before = fake.requests.length;
      for (let call = 0; call < counted; call += 1) await askServer(client);
      return (fake.requests.length - before) / counted;
    });
  } finally {
    await fake.close();
  }
}

async function withServer<Result>(
  environment: Record<string, string>,
  url: string,
  run: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ name: "bench", version: "1" });
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [command, "--standalone"],
      env: { ...environment, OLLM_HOST: url, OLLM_PROVIDERS_LLAMA_CPP_ENABLED: "false" },
      stderr: "inherit",
    }),
  );
  try {
    return await run(client);
  } finally {
    await client.close();
  }
}

async function askServer(client: Client): Promise<void> {
  const result = await client.callTool({ name: "route_and_generate", arguments: { prompt, model } });
  if (result.isError === true) throw new Error(JSON.stringify(result.content));
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
