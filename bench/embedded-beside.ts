import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { Ollama } from "ollama";
import { engineVersion } from "../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { median, rounded } from "./support/statistics.ts";

const startLimitMs = 120_000;
const answerTokens = 48;
const story = "Count from 1 to 200, and write each number in words.";
const filler = "The quick brown fox jumps over the lazy dog. ";
const charactersPerToken = 4.4;

/** One model in one program, with one window. */
interface Loaded {
  readonly loadMs: number;
  /** Asks for at most so many tokens at temperature 0. */
  ask(prompt: string, maxTokens: number): Promise<{ readonly promptTokens: number; readonly tokens: number }>;
  pids(): Promise<readonly number[]>;
  end(): Promise<void>;
}

/** A program that runs models, for comparing. */
interface Program {
  readonly name: string;
  readonly version: string;
  load(contextTokens: number): Promise<Loaded>;
}

type Call = (name: string, args: Record<string, unknown>) => Promise<Record<string, unknown>>;

/** The embedded engine, through a server that has the model. */
export function embeddedProgram(call: Call, model: string, home: string): Program {
  return {
    name: "embedded",
    version: `node-llama-cpp ${engineVersion}`,
    async load(contextTokens) {
      await call("manage_model", { action: "unload_all" });
      const startedAt = performance.now();
      await call("smart_load", { model, context_tokens: contextTokens });
      const loadMs = performance.now() - startedAt;
      return {
        loadMs,
        async ask(prompt, maxTokens) {
          const options = { temperature: 0, context_tokens: contextTokens, split: "none", explain: true };
          const answer = await call("route_and_generate", { model, prompt, max_tokens: maxTokens, ...options });
          return { promptTokens: Number(answer["prompt_tokens"]), tokens: Number(answer["completion_tokens"]) };
        },
        async pids() {
          const list: unknown = JSON.parse(await readFile(join(home, "run", "children.json"), "utf8"));
          return (list as { children: { pid: number }[] }).children.map(({ pid }) => pid);
        },
        end: async () => void (await call("manage_model", { action: "unload_all" })),
      };
    },
  };
}

/** A real `llama-server` with its defaults and so many slots, which share the window. End it with `ended`. */
export async function startLlamaServer(file: string, weights: string, contextTokens: number, slots: number) {
  const port = await freePort();
  const args = ["-m", weights, "-c", String(contextTokens), "--parallel", String(slots), "--port", String(port)];
  const server = spawn(file, args, { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  await answers(server, `${url}/health`);
  return { url, server };
}

/** A real `llama-server` with its defaults, and one slot. */
export async function llamaServer(file: string, weights: string): Promise<Program> {
  const { stdout, stderr } = await promisify(execFile)(file, ["--version"]);
  return {
    name: "llama-server",
    version: /version: (\S+)/.exec(stdout + stderr)?.[1] ?? "",
    async load(contextTokens) {
      const startedAt = performance.now();
      const { url, server } = await startLlamaServer(file, weights, contextTokens, 1);
      return {
        loadMs: performance.now() - startedAt,
        async ask(prompt, maxTokens) {
          const messages = [{ role: "user", content: prompt }];
          const { usage } = (await post(`${url}/v1/chat/completions`, {
            messages,
            max_tokens: maxTokens,
            temperature: 0,
          })) as { usage: { prompt_tokens: number; completion_tokens: number } };
          return { promptTokens: usage.prompt_tokens, tokens: usage.completion_tokens };
        },
        pids: async () => [server.pid ?? 0],
        end: () => ended(server),
      };
    },
  };
}

/** A real Ollama on this machine with its defaults, which gets the weights under a name of their own. */
export async function ollamaServer(url: string, weights: string): Promise<Program> {
  const [ollama, bytes] = [new Ollama({ host: url }), await readFile(weights)];
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const sent = await fetch(`${url}/api/blobs/${digest}`, { method: "POST", body: bytes });
  if (!sent.ok) throw new Error(`${url}: ${sent.status} ${await sent.text()}`);
  const model = "ollm-bench";
  await post(`${url}/api/create`, { model, files: { [basename(weights)]: digest }, stream: false });
  const [{ version }, { modelfile }] = [await ollama.version(), await ollama.show({ model })];
  // Ollama writes the weights anew.
  const file = /^FROM (\S+)/m.exec(modelfile)?.[1] ?? weights;
  return {
    name: "Ollama",
    version,
    async load(contextTokens) {
      const options = { num_ctx: contextTokens, temperature: 0 };
      const end = async () => {
        await ollama.generate({ model, prompt: "", keep_alive: 0 });
        while ((await ollama.ps()).models.length > 0) await pause(20);
      };
      await end();
      const startedAt = performance.now();
      await ollama.generate({ model, prompt: "", keep_alive: -1, options });
      return {
        loadMs: performance.now() - startedAt,
        async ask(prompt, maxTokens) {
          const messages = [{ role: "user", content: prompt }];
          const asked = { model, messages, keep_alive: -1, options: { ...options, num_predict: maxTokens } };
          const answer = await ollama.chat(asked);
          return { promptTokens: answer.prompt_eval_count, tokens: answer.eval_count };
        },
        async pids() {
          const all = (await readdir("/proc").catch(() => [])).map(Number).filter((pid) => pid > 0);
          const commands = all.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""));
          const found = (await Promise.all(commands)).map((command) => command.includes(file));
          return all.filter((_, index) => found[index] === true);
        },
        end,
      };
    },
  };
}

/**
 * Load, reading, writing and resident set of each program for each window. All have the model loaded at once and are asked
 * in turn, so that a busy moment of the machine touches all; times are those of a client.
 */
export async function compareWith(
  programs: readonly Program[],
  contexts: readonly number[],
  promptTokens: number,
  rounds: number,
) {
  const rows = [];
  for (const contextTokens of contexts) {
    const measured = [];
    try {
      for (const program of programs)
        measured.push({
          program,
          loaded: await program.load(contextTokens),
          reading: [] as number[],
          writing: [] as number[],
        });
      for (let round = 0; round < rounds; round += 1) {
        for (const { loaded, reading, writing } of measured) {
          const length = Math.min(promptTokens, contextTokens - 2 * answerTokens) * charactersPerToken - story.length;
          const prompt = `Number ${round}, ${contextTokens}. ${filler.repeat(length / filler.length)}${story}`;
          const first = await timed(() => loaded.ask(prompt, 1));
          reading.push((first.promptTokens * 1_000) / first.ms);
          const short = await timed(() => loaded.ask(prompt, 1));
          const long = await timed(() => loaded.ask(prompt, answerTokens + 1));
          if (long.tokens < answerTokens / 2) throw new Error(`the answer ended after ${long.tokens} tokens`);
          writing.push(((long.tokens - short.tokens) * 1_000) / (long.ms - short.ms));
        }
      }
      for (const { program, loaded, reading, writing } of measured)
        rows.push({
          program: `${program.name} ${program.version}`,
          context: contextTokens,
          load_s: rounded(loaded.loadMs / 1_000, 2),
          reads_per_s: rounded(median(reading)),
          writes_per_s: rounded(median(writing)),
          reads_ratio: rounded(ratio(measured[0]?.reading ?? [], reading), 2),
          writes_ratio: rounded(ratio(measured[0]?.writing ?? [], writing), 2),
          resident_mb: Math.round((await residentBytes(await loaded.pids())) / 1e6),
        });
    } finally {
      for (const { loaded } of measured) await loaded.end();
    }
  }
  return rows;
}

/** Round by round, because a shared machine is not equally fast in all of them. */
const ratio = (first: readonly number[], other: readonly number[]) =>
  median(first.map((speed, round) => speed / (other[round] ?? Number.NaN)));

async function timed<Result>(work: () => Promise<Result>): Promise<Result & { readonly ms: number }> {
  const startedAt = performance.now();
  return { ...(await work()), ms: performance.now() - startedAt };
}

async function post(url: string, body: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(600_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text.slice(0, 200)}`);
  return JSON.parse(text);
}

async function answers(server: ChildProcess, url: string): Promise<void> {
  const until = performance.now() + startLimitMs;
  while (
    !(await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (server.exitCode !== null || performance.now() > until) throw new Error(`${url} does not answer`);
    await pause(20);
  }
}

export async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const exited = once(server, "exit");
  server.kill("SIGTERM");
  await exited;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** 0 where the system doesn't say. */
async function residentBytes(pids: readonly number[]): Promise<number> {
  const sizes = pids.map(async (pid) => {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024;
  });
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}
