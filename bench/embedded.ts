import { execFile } from "node:child_process";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { median, rounded } from "./support/statistics.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { compareWith, embeddedProgram, llamaServer, ollamaServer } from "./embedded-beside.ts";

const model = "smollm2:135m";
const tokens = 128;
const rounds = 7;
const decodeBar = 0.9;
const reuseBar = 20;
/** The prompt as the model's template renders it, for the direct way. */
const question = "Write a very long story about a fox and a dog.";
const rendered = `<|im_start|>system\nYou tell stories.<|im_end|>\n<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n`;
const directProgram = fileURLToPath(new URL("support/direct-llama.ts", import.meta.url));
/** 1,500 tokens. */
const fileText = "The quick brown fox jumps over the lazy dog. ".repeat(150);

/** Of a real llama-server. */
const besideBar = 0.95;

export const embedded: Bench = {
  name: "embedded",
  summary: `decode speed through the server ÷ direct (at least ${decodeBar}), and first token of a second question about a file (${reuseBar} × sooner)`,
  options: ["llama-server", "ollama", "weights", "contexts", "prompt", "rounds"],
  help: [
    "--llama-server PATH: instead of all that, load, reading, writing and memory beside that program with its defaults and one slot:",
    `at least ${besideBar} of its speeds. *_ratio: the embedded engine's speed ÷ this program's, the median of rounds.`,
    "--weights FILE.gguf instead of SmolLM2-135M, --contexts 4096,16384: windows in tokens, --prompt N: tokens read (1000), --rounds N.",
    "--ollama URL: a real Ollama of this machine beside them; it gets the weights as ollm-bench.",
    "resident_mb: of the process that has the model; Linux only, else 0.",
  ].join("\n"),
  run: (options) => (options["llama-server"] === undefined ? runDirect() : runBeside(options["llama-server"], options)),
};

async function runBeside(program: string, options: Readonly<Record<string, string | undefined>>): Promise<BenchResult> {
  const { weights, ollama, contexts = "4096", prompt = "1000", rounds: given = "5" } = options;
  const [windows, promptTokens, times] = [contexts.split(",").map(Number), Number(prompt), Number(given)];
  const file = weights === undefined ? undefined : resolve(weights);
  const named = file === undefined ? undefined : { name: basename(file, ".gguf"), file };
  return await withSmolLm2(
    async (call, at) => {
      const programs = [
        embeddedProgram(call, named?.name ?? model, at.home),
        await llamaServer(resolve(program), at.file),
        ...(ollama === undefined ? [] : [await ollamaServer(ollama, at.file)]),
      ];
      const rows = await compareWith(programs, windows, promptTokens, times);
      const least = (key: "reads_ratio" | "writes_ratio") => Math.min(...rows.map((row) => row[key]));
      const [reads, writes] = [least("reads_ratio"), least("writes_ratio")];
      return {
        rows,
        verdict:
          `reading at ${reads}, writing at ${writes} of the slowest comparison, bar ${besideBar}; ` +
          `the machine's load was ${rounded(loadavg()[0] ?? 0)}`,
        passed: Math.min(reads, writes) >= besideBar,
      };
    },
    named === undefined ? {} : { weights: named },
  );
}

const runDirect = (): Promise<BenchResult> =>
  withSmolLm2(async (call, { root, modulePath, file }) => {
    await call("smart_load", { model, context_tokens: 4_096 });
    const decode = await compareDecoding(call, (threads) => timeDirect(modulePath, file, threads));
    const reuse = await measureReuse(call, root);
    return {
      rows: [...decode.rows, ...reuse.rows],
      verdict:
        `decoding at ${decode.ratio.toFixed(2)} of the direct speed, bar ${decodeBar}; ` +
        `second question ${reuse.ratio.toFixed(0)} × sooner, bar ${reuseBar}`,
      passed: decode.ratio >= decodeBar && reuse.ratio >= reuseBar,
    };
  });

/**
 * Runs `work` with a server in a temporary home that has the embedded engine and SmolLM2 as `smollm2:135m`, or other weights.
 * `start` has arguments of Node, variables of the server, and the client's name.
 */
export function withSmolLm2<Result>(
  work: (
    call: Call,
    at: Readonly<Record<"root" | "home" | "modulePath" | "file", string>> & { readonly client: Client },
  ) => Promise<Result>,
  start: ServerStart = {},
): Promise<Result> {
  return withCleanEnvironment(async (environment) => {
    const { weights } = start;
    const { file, reason } = weights === undefined ? await smolLm2() : { ...weights, reason: undefined };
    if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
    const { modulePath, enginesFolder } = await installedEngine();
    const home = environment["OLLM_HOME"] ?? "";
    const root = join(environment["HOME"] ?? "", "root");
    await mkdir(home, { recursive: true });
    await mkdir(root);
    await symlink(enginesFolder, join(home, "engines"), "junction");
    return await withServer({ ...environment, ...start.environment }, root, start, async (call, client) => {
      await call("pull_model", { model: weights?.name ?? model, from: file, engine: "llama-cpp" });
      return await work(call, { root, home, modulePath, file, client });
    });
  });
}

interface ServerStart {
  /** Instead of SmolLM2. */
  readonly weights?: { readonly name: string; readonly file: string };
  readonly nodeArgs?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly clientName?: string;
}

export type Call = (name: string, args: Record<string, unknown>) => Promise<Record<string, unknown>>;

type Row = Readonly<Record<"what" | "unit", string> & Record<"median" | "best", number>>;

/** One of each in turn, so that a busy moment of the machine touches all; the first round warms up. */
async function compareDecoding(
  call: Call,
  timeDirectly: (threads: number) => Promise<number>,
): Promise<{ readonly ratio: number; readonly rows: readonly Row[] }> {
  const cores = availableParallelism();
  const threadCounts = [...new Set([1, Math.max(1, cores - 1), cores])];
  const direct = new Map<number, number[]>(threadCounts.map((threads) => [threads, []]));
  const server: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const served = await timeServer(call);
    if (round > 0) server.push(served);
    for (const threads of threadCounts) {
      const taken = await timeDirectly(threads);
      if (round > 0) direct.get(threads)?.push(taken);
    }
  }
  const bestDirect = [...direct.values()].reduce((best, times) => (median(times) < median(best) ? times : best));
  // Round by round, because a shared machine is not equally fast in all of them.
  const ratio = median(server.map((served, round) => (bestDirect[round] ?? Number.NaN) / served));
  const row = (what: string, times: readonly number[]): Row => ({
    what,
    median: rounded(1_000 / median(times)),
    best: rounded(1_000 / Math.min(...times)),
    unit: "tokens/s",
  });
  return {
    ratio,
    rows: [
      row("decode through the server", server),
      ...[...direct].map(([threads, times]) => row(`decode directly, ${threads} threads`, times)),
    ],
  };
}

/** Milliseconds of one more token of an answer, seen by the client: a long answer's time less a short one's. */
async function timeServer(call: Call): Promise<number> {
  const ask = async (maxTokens: number) => {
    const startedAt = performance.now();
    const answer = await call("route_and_generate", {
      model,
      system: "You tell stories.",
      prompt: question,
      max_tokens: maxTokens,
      temperature: 0,
      context_tokens: 4_096,
    });
    return { ms: performance.now() - startedAt, tokens: Number(answer["completion_tokens"]) };
  };
  await ask(1);
  const short = await ask(1);
  const long = await ask(tokens + 1);
  if (long.tokens < tokens / 2) throw new Error(`the story ended after ${long.tokens} tokens`);
  return (long.ms - short.ms) / (long.tokens - short.tokens);
}

async function timeDirect(modulePath: string, weights: string, threads: number): Promise<number> {
  const args = ["--import", "tsx", directProgram, modulePath, weights, rendered, String(tokens), String(threads)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
  return (JSON.parse(stdout) as { msPerToken: number }).msPerToken;
}

async function measureReuse(
  call: Call,
  root: string,
): Promise<{ readonly ratio: number; readonly rows: readonly Row[] }> {
  const firstMs: number[] = [];
  const secondMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const file = join(root, `file-${round}.txt`);
    // Its beginning differs, so that nothing of another round is reused.
    await writeFile(file, `Chapter ${round}, written by number ${round}. ${fileText}`);
    const ask = async (prompt: string) => {
      const options = {
        model,
        files: [file],
        prompt,
        max_tokens: 2,
        temperature: 0,
        context_tokens: 4_096,
        explain: true,
      };
      const { timing } = await call("route_and_generate", options);
      return (timing as { first_token_ms: number }).first_token_ms;
    };
    firstMs.push(await ask("Which animal is quick?"));
    secondMs.push(await ask("And which one is lazy?"));
  }
  const row = (what: string, times: readonly number[]): Row => ({
    what,
    median: rounded(median(times)),
    best: Math.min(...times),
    unit: "ms",
  });
  return {
    ratio: median(firstMs) / Math.max(1, median(secondMs)),
    rows: [row("first token, first question", firstMs), row("first token, second question", secondMs)],
  };
}

async function withServer<Result>(
  environment: Record<string, string>,
  root: string,
  { nodeArgs = [], clientName = "bench" }: ServerStart,
  run: (call: Call, client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ name: clientName, version: "1" });
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [...nodeArgs, command, "--standalone", "--root", root],
      // Relative names are tried there first.
      cwd: root,
      env: { ...environment, OLLM_PROVIDERS_OLLAMA_ENABLED: "false" },
      stderr: "inherit",
    }),
  );
  try {
    return await run(async (name, args) => {
      const result = await client.callTool(
        { name, arguments: args, _meta: { "ollm/details": true } },
        { timeout: 300_000 },
      );
      if (result.isError === true) throw new Error(JSON.stringify(result.content));
      return result.structuredContent as Record<string, unknown>;
    }, client);
  } finally {
    await client.close();
  }
}
