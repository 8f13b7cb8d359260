/**
 * `npm run demo`: from nothing to answers of a real local model, through the built front and daemon and a real
 * MCP client. Prints sizes before it downloads, and leaves no process running that it started.
 */
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { resolveHome } from "../src/orchestrator/config/home.ts";
import { loadSettings } from "../src/orchestrator/config/load.ts";
import { readEngineSize } from "../src/orchestrator/engines/llama-cpp/install/lock.ts";
import { currentPlatform, lockName } from "../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { formatBytes, formatDuration } from "../src/orchestrator/util/format-bytes.ts";
import { type DemoClient, connectDemoClient } from "./demo/client.ts";
import { demoDaemon } from "./demo/daemon.ts";
import { type Download, clientEntry, describePlan, heading, progressLine, say, sayAsItIs } from "./demo/print.ts";
import { ensureStarter, practiceName, starterName } from "./demo/starter.ts";
import { type FallbackTools, showFallback, showFile, showTasks } from "./demo/steps.ts";

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const script = path.join(repository, "dist", "cli.mjs");

interface Scene {
  readonly fallback: FallbackTools;
  readonly signal: AbortSignal;
}

async function main(): Promise<void> {
  const startedAtMs = Date.now();
  const interrupt = new AbortController();
  const { signal } = interrupt;
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => interrupt.abort(new Error("it was interrupted")));
  }
  const home = resolveHome(process.env, homedir());
  // Throws for settings that the daemon would refuse.
  await loadSettings({ home, environment: process.env, flags: {} });

  say("ollm-mcp demo: an MCP client hands work to a model on this machine.");
  say(`Engine and models are kept in ${home} (OLLM_HOME).`);

  const connect = (environment: Readonly<Record<string, string>> = {}) =>
    connectDemoClient({ node: process.execPath, script, roots: [repository], signal, environment });
  const daemon = demoDaemon(process.execPath, script);
  const line = progressLine();
  line.show("starting the server", undefined);
  const daemonBefore = await daemon.pid();
  let left = "";
  let shown: Shown = { downloadMs: 0 };
  try {
    const client = await connect().finally(() => line.clear());
    try {
      heading("1. Connected, as an assistant would be");
      say(`${client.server} over stdio; one daemon (pid ${await daemon.pid()}) serves all assistants.`);
      const fallback: FallbackTools = {
        connect: (model) => connect({ OLLM_MODEL_DEFAULT: model }),
        remove: (model) => daemon.remove(model),
      };
      shown = await show(client, { fallback, signal });
    } finally {
      await client.close();
    }
  } finally {
    line.clear();
    left = await daemon.leave(daemonBefore);
  }
  const { downloadMs, savings } = shown;
  const downloaded = downloadMs === 0 ? "" : `, ${seconds(downloadMs)} of them to download and install`;
  say("");
  say(`Done in ${seconds(Date.now() - startedAtMs)}${downloaded}; ${left}.`);
  const entry = clientEntry(process.execPath, script, repository);
  heading("What it saved");
  if (savings !== undefined) say(`Saved ${savings}. Each amount, with the formula:`);
  if (savings !== undefined) sayAsItIs(`  ${entry.command} stats --money`);
  say("Memory, requests and savings in your browser, with models to load and pull:");
  sayAsItIs(`  ${entry.command} dashboard`);
  heading("Add it to your assistant");
  say("This finds the assistants on this machine, and asks before it changes a file:");
  sayAsItIs(`  ${entry.setup}`);
  say("By hand, in Claude Code, and in the configuration file of others:");
  sayAsItIs(`  ${entry.claude}`);
  for (const each of entry.json) sayAsItIs(`  ${each}`);
  say("--root is the folder whose files the local models may be given.");
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

interface Shown {
  /** What downloads and their installation took. */
  readonly downloadMs: number;
  /** This month, as system_status words it. */
  readonly savings?: string | undefined;
}

async function show(client: DemoClient, { fallback, signal }: Scene): Promise<Shown> {
  heading("2. A first model");
  const startedAtMs = Date.now();
  const testRegistry = process.env["OLLM_TEST_REGISTRY"];
  const { model, told, isNew, suggestion } = await ensureStarter(client, {
    registry: { host: testRegistry ?? "registry.ollama.ai", isInsecure: testRegistry !== undefined },
    engine: await missingEngine(client),
    signal,
  });
  const downloadMs = isNew ? Date.now() - startedAtMs : 0;
  say(told);
  for (const line of describePlan(await client.call("smart_load", { model, dry_run: true }))) say(line);
  const load = await client.call("smart_load", { model });
  if (load.load_ms !== undefined && load.load_ms > 0) say(`Loaded in ${formatDuration(load.load_ms)}.`);

  /** A step that fails says so and ends neither the demo nor the steps after it. */
  const step = async (title: string, work: () => Promise<void>): Promise<void> => {
    heading(title);
    try {
      await work();
    } catch (error) {
      signal.throwIfAborted();
      say(`That failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  if (model === practiceName) {
    await step("3. What the practice model says", async () => {
      const answer = await client.call("route_and_generate", { model, prompt: "Hello?", use_memory: false });
      say(`${answer.text}`);
      say("Run the demo again with a network to see a real model.");
    });
  } else {
    await step("3. Small tasks, compared with the right answers", () => showTasks(client, model));
    await step("4. A file that the assistant does not read", () => showFile(client, model, repository));
  }
  await step("5. A model that fails, and why another one answers", () => showFallback(client, fallback));
  let savings: string | undefined;
  await step("6. Memory, and models for real work", async () => {
    const status = await client.call("system_status", {});
    const { loaded, ram } = status;
    savings = status.savings;
    const held = loaded.map(({ name, bytes }) => `${name} holds ${formatBytes(bytes)}`);
    const available = `${formatBytes(ram.available_bytes)} of ${formatBytes(ram.total_bytes)} are available`;
    say(`${[...held, available].join("; ")}.`);
    // What setup and `ollm models` suggest here; its speed is an estimate from this machine's memory.
    const [best] = suggestion?.reason.split("\n") ?? [];
    if (suggestion !== undefined) {
      const size = model === starterName ? "135 million parameters are" : "A practice model is";
      say(`${size} for trying things out. For real work, pull ${suggestion.model}: ${best}.`);
    }
  });
  return { downloadMs, savings };
}

/** The engine as a download, when it is not installed yet; sizes come from the lock that ships with us. */
async function missingEngine(client: DemoClient): Promise<Download | undefined> {
  const { engines } = await client.call("system_status", {});
  const name = lockName(currentPlatform());
  const isMissing = engines.some(({ id, health }) => id === "llama-cpp" && health === "not_installed");
  if (!isMissing || name === undefined) return undefined;
  const { downloadBytes } = readEngineSize(path.join(repository, "engine-lock", name));
  return { what: "the embedded engine llama.cpp", bytes: downloadBytes };
}

try {
  await main();
} catch (error) {
  console.error(`\nThe demo stopped: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
