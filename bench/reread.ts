import { mkdir, readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import type { Bench } from "./bench.ts";
import { command, withCleanEnvironment } from "./support/environment.ts";
import { rounded } from "./support/statistics.ts";

const model = "bench:latest";
const sizes = [3_000, 16_000, 120_000];
const defaultBar = 10;
/** Reading a long file again only to compare answers takes too long. */
const shortBytes = 16_000;
const charactersPerToken = 3.8;
const limitMs = 60 * 60_000;

export const reread: Bench = {
  name: "reread",
  summary: `first token of a second question about a file after an unload, a restart and a kill -9, beside the first question: at least ${defaultBar} × sooner`,
  options: ["weights", "sizes", "context", "bar"],
  help: [
    "--weights FILE.gguf instead of SmolLM2-135M, --sizes 3000,16000 in bytes, --bar N.",
    "--context N: window in tokens, default 8192; a file that is longer is cut to it, and prompt_tokens says what was read.",
    "Times are from the loaded model to the first token, in ms; load_ms is the load before it. anew_ms: the first question, nothing was read.",
    "The kill is of the whole server, after the file was written in idle time. unload_ms: of an unload right after an answer, which writes state_mb;",
    "same: the answers at temperature 0 are that of the second question before the unload. as_anew: for short files, that of the same prompt",
    "read whole; where it is no, batches of other sizes rounded otherwise, which a prefix in memory does, too.",
  ].join("\n"),
  run: ({ weights, sizes: given, context = "8192", bar = String(defaultBar) }) =>
    withCleanEnvironment(async (environment) => {
      const [contextTokens, least] = [Number(context), Number(bar)];
      const bytes = given === undefined ? sizes : given.split(",").map(Number);
      if (![contextTokens, least, ...bytes].every((each) => each > 0))
        throw new InvalidRequest("--sizes, --context and --bar take numbers from 1");
      const { file, reason } = weights === undefined ? await smolLm2() : { file: resolve(weights), reason: undefined };
      if (file === undefined) throw new Error(`no weights to measure: ${reason}`);
      const home = environment["OLLM_HOME"] ?? "";
      const root = join(environment["HOME"] ?? "", "root");
      await mkdir(home, { recursive: true });
      await mkdir(root);
      await symlink((await installedEngine()).enginesFolder, join(home, "engines"), "junction");
      const server = new Server(environment, root, contextTokens);
      try {
        await server.start();
        await server.call("pull_model", { model, from: file, engine: "llama-cpp" });
        const rows = [];
        for (const size of bytes) rows.push(await measure(server, home, root, size, contextTokens));
        const slowest = Math.min(...rows.map(({ times_sooner }) => times_sooner));
        const isSame = rows.every(({ same }) => same === "yes");
        return {
          rows,
          verdict: `at least ${slowest} × sooner (bar ${least}), answers ${isSame ? "identical" : "differ"}; the machine's load was ${rounded(loadavg()[0] ?? 0)}`,
          passed: slowest >= least && isSame,
        };
      } finally {
        await server.stop();
      }
    }),
};

async function measure(server: Server, home: string, root: string, size: number, contextTokens: number) {
  const [first, second] = ["What is this text about?", "Name one thing that the text says."];
  const about = (await longText()).slice(0, Math.min(size, (contextTokens - 512) * charactersPerToken));
  const write = async (chapter: number) => {
    const name = `about-${size}-${chapter}.txt`;
    // Its beginning differs, so that nothing of another one is found.
    await writeFile(join(root, name), `Chapter ${chapter} of ${size}.\n${about}`);
    return name;
  };
  let name = await write(1);
  await server.call("manage_model", { action: "unload_all" });
  const anew = await server.ask(name, first);
  const inMemory = await server.ask(name, second);
  // A conversation that was written while it was idle is not written again.
  const unwritten = size > shortBytes ? name : await write(2);
  if (unwritten !== name) await server.ask(unwritten, first);
  const unloadedAt = performance.now();
  await server.call("manage_model", { action: "unload_all" });
  const unloadMs = performance.now() - unloadedAt;
  const afterUnload = await server.ask(unwritten, second);
  const stateBytes = Math.max(0, ...(await states(home)).map((each) => each.bytes));
  await server.stop();
  await server.start();
  const afterRestart = await server.ask(name, second);
  if (size <= shortBytes) {
    name = await write(3);
    const before = await states(home);
    await server.ask(name, first);
    const ends = Date.now() + 30_000;
    const known = new Set(before.map(({ path }) => path));
    while ((await states(home)).every(({ path }) => known.has(path)) && Date.now() < ends) await pause(50);
  }
  await server.kill();
  await server.start();
  const afterKill = await server.ask(name, second);
  // The others are about other chapters, for short files.
  const alike = size > shortBytes ? [afterUnload, afterRestart, afterKill] : [afterRestart];
  const isSame = alike.every(({ text }) => text === inMemory.text);
  let asAnew = "";
  if (size <= shortBytes) {
    await server.call("manage_model", { action: "unload_all" });
    const read = await server.ask(name, second, { cache_prompt: false });
    asAnew = read.text === afterKill.text ? "yes" : "no";
  }
  const slowest = Math.max(afterUnload.firstMs, afterRestart.firstMs, afterKill.firstMs);
  return {
    file_kb: rounded(about.length / 1_000),
    prompt_tokens: anew.promptTokens,
    anew_ms: anew.firstMs,
    in_memory_ms: inMemory.firstMs,
    after_unload_ms: afterUnload.firstMs,
    after_restart_ms: afterRestart.firstMs,
    after_kill_ms: afterKill.firstMs,
    times_sooner: rounded(anew.firstMs / slowest),
    load_ms: afterKill.loadMs,
    state_mb: rounded(stateBytes / 1e6),
    unload_ms: Math.round(unloadMs),
    from_disk: [afterUnload, afterRestart, afterKill].every(({ cached }) => cached.endsWith("from disk"))
      ? "yes"
      : "no",
    same: isSame ? "yes" : "no",
    as_anew: asAnew,
  };
}

async function states(home: string): Promise<readonly { readonly path: string; readonly bytes: number }[]> {
  const folder = join(home, "cache", "prompts");
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const paths = names.filter((each) => each.endsWith(".state")).map((each) => join(folder, each));
  return Promise.all(paths.map(async (path) => ({ path, bytes: (await stat(path)).size })));
}

/** The documentation of this repository. */
async function longText(): Promise<string> {
  const folder = resolve("docs");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".md")).toSorted();
  return (await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")))).join("\n");
}

class Server {
  readonly #environment: Record<string, string>;
  readonly #root: string;
  readonly #contextTokens: number;
  #client: Client | undefined;
  #pid: number | null = null;

  constructor(environment: Record<string, string>, root: string, contextTokens: number) {
    this.#environment = environment;
    this.#root = root;
    this.#contextTokens = contextTokens;
  }

  async start(): Promise<void> {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [command, "--standalone", "--root", this.#root],
      cwd: this.#root,
      env: { ...this.#environment, OLLM_PROVIDERS_OLLAMA_ENABLED: "false", OLLM_JOBS_PATIENCE: "3600" },
      stderr: "inherit",
    });
    this.#client = new Client({ name: "bench", version: "1" });
    await this.#client.connect(transport);
    this.#pid = transport.pid;
  }

  async stop(): Promise<void> {
    await this.#client?.close();
  }

  async kill(): Promise<void> {
    if (this.#pid !== null) process.kill(this.#pid, "SIGKILL");
    await this.stop();
    // Its child ends within a second.
    await pause(1_500);
  }

  async call(name: string, args: Record<string, unknown>): Promise<Record<string, unknown>> {
    const result = await this.#client?.callTool(
      { name, arguments: args, _meta: { "ollm/details": true } },
      { timeout: limitMs },
    );
    if (result === undefined || result.isError === true) throw new Error(JSON.stringify(result?.content));
    return result.structuredContent as Record<string, unknown>;
  }

  async ask(file: string, prompt: string, options: Record<string, unknown> = {}) {
    // A window that is full leaves room for question and answer.
    const answered = await this.call("route_and_generate", {
      model,
      files: [file],
      prompt,
      max_tokens: 24,
      temperature: 0,
      context_tokens: this.#contextTokens,
      split: "none",
      explain: true,
      ...options,
    });
    const timing = answered["timing"] as { first_token_ms: number; load_ms: number; cached?: string };
    return {
      text: String(answered["text"]),
      promptTokens: Number(answered["prompt_tokens"]),
      firstMs: timing.first_token_ms,
      loadMs: timing.load_ms,
      cached: timing.cached ?? "",
    };
  }
}
