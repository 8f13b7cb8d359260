/**
 * `npm run demo`: from nothing to a real answer of a real local model about a real file, through the built front and
 * daemon and a real MCP client. Prints sizes before it downloads, and leaves no process running that it started.
 */
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { resolveHome } from "../src/orchestrator/config/home.ts";
import { loadSettings } from "../src/orchestrator/config/load.ts";
import type { Settings } from "../src/orchestrator/config/schema.ts";
import { suggestModels } from "../src/orchestrator/catalog/suggest.ts";
import { readEngineSize } from "../src/orchestrator/engines/llama-cpp/install/lock.ts";
import { currentPlatform, lockName } from "../src/orchestrator/engines/llama-cpp/install/platform.ts";
import { formatBytes } from "../src/orchestrator/text/format-bytes.ts";
import { formatDuration } from "../src/orchestrator/text/format-duration.ts";
import type { ToolAnswers } from "../src/tools/index.ts";
import { connectDemoClient, type DemoClient } from "./demo/client.ts";
import { demoDaemon } from "./demo/daemon.ts";
import { describePlan, heading, clientEntry, say, type Download } from "./demo/print.ts";
import { ensureStarter } from "./demo/starter.ts";

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const script = path.join(repository, "dist", "cli.mjs");

/** A demo is short, and a small model is best in its first sentences. */
const maxTokens = 60;

type ListedModel = ToolAnswers["list_models"]["models"][number];

async function main(): Promise<void> {
  const startedAtMs = Date.now();
  const interrupt = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => interrupt.abort("it was interrupted"));
  }
  const home = resolveHome(process.env, homedir());
  const { settings } = await loadSettings({ home, environment: process.env, flags: {} });

  say("ollm-mcp demo: a local model answers a question about this project's README.");
  say(`Engine and models lie in ${home} (OLLM_HOME).`);

  heading("1. Start the server, as an assistant would");
  const daemon = demoDaemon(process.execPath, script);
  const daemonBefore = await daemon.pid();
  let left = "";
  try {
    const client = await connectDemoClient({
      node: process.execPath,
      script,
      roots: [repository],
      signal: interrupt.signal,
    });
    try {
      say(`connected to ${client.server} over stdio`);
      say(`the daemon, which all assistants share, is pid ${await daemon.pid()}`);
      await show(client, { settings, signal: interrupt.signal });
    } finally {
      await client.close();
    }
  } finally {
    left = await daemon.leave(daemonBefore);
  }
  say("");
  say(`Done in ${((Date.now() - startedAtMs) / 1000).toFixed(1)} s; ${left}.`);
  heading("Add it to your assistant");
  for (const line of clientEntry(process.execPath, script, repository)) say(line);
}

async function show(
  client: DemoClient,
  { settings, signal }: { readonly settings: Settings; readonly signal: AbortSignal },
): Promise<void> {
  heading("2. A model to start with");
  const starter = await ensureStarter(client, {
    registry: settings.registry.defaultHost,
    engine: await missingEngine(client),
    signal,
  });
  say(starter.told);

  heading("3. What is installed (list_models)");
  const { models } = await client.call("list_models", { verbose: true });
  for (const model of models) {
    const size = model.is_remote === true ? "runs in the cloud" : formatBytes(model.size_bytes);
    say(`- ${model.name} on ${model.engine}, ${size}${model.is_loaded ? ", loaded" : ""}`);
  }

  heading("4. Does it fit? (smart_load, dry_run)");
  const dryRun = await client.call("smart_load", {
    model: starter.model,
    dry_run: true,
  });
  for (const line of describePlan(dryRun)) say(line);
  const load = await client.call("smart_load", { model: starter.model });
  say(`loaded in ${formatDuration(load.load_ms ?? 0)}`);

  heading("5. A question about a real file (route_and_generate)");
  await ask(client, starter.model, models.find((model) => model.name === starter.model)?.engine ?? "");
  const others = models.filter(({ name, engine }) => engine === "ollama" && name !== starter.model);
  await askOllama(client, others);

  heading("6. Memory (system_status)");
  const status = await client.call("system_status", {});
  for (const model of status.loaded) say(`- ${model.name} holds ${formatBytes(model.bytes)}`);
  say(`${formatBytes(status.ram.available_bytes)} of ${formatBytes(status.ram.total_bytes)} are available`);
  if (starter.model === "smollm2:135m") {
    const { bufferBytes } = settings.memory;
    const larger = suggestModels({ availableBytes: status.ram.available_bytes, bufferBytes });
    say("");
    say("SmolLM2 with its 135 million parameters shows that everything works, not what local models can do.");
    say(`For real work let your assistant pull ${larger.name}: ${larger.reason}.`);
  }
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

/** An extra that must not spoil the demo: the smallest chat model that fits is asked the same. */
async function askOllama(client: DemoClient, models: readonly ListedModel[]): Promise<void> {
  const [smallest] = models
    .filter(
      ({ is_remote, fits, capabilities }) =>
        is_remote !== true && fits === true && capabilities?.includes("completion") === true,
    )
    .toSorted((a, b) => a.size_bytes - b.size_bytes);
  if (smallest === undefined) return;
  say("");
  say(`An Ollama server answers too; the same question to ${smallest.name}:`);
  try {
    await ask(client, smallest.name, "ollama");
  } catch (error) {
    say(`that failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function ask(client: DemoClient, model: string, engine: string): Promise<void> {
  const prompt = "What is the purpose of ollm-mcp, as described in the README above?";
  say(`> ${prompt}  [README.md, read by the server: it costs the assistant no tokens]`);
  const answer = await client.call("route_and_generate", {
    prompt,
    model,
    files: ["README.md"],
    max_tokens: maxTokens,
    temperature: 0,
    explain: true,
  });
  say("");
  say(`${answer.text ?? ""}${answer.finish_reason === "length" ? ` ... (cut after ${maxTokens} tokens)` : ""}`);
  say("");
  say(
    `${answer.model} on ${engine}: ${answer.prompt_tokens} tokens read, ${answer.completion_tokens} written at ` +
      `${answer.tokens_per_second} tokens/s, first token after ${((answer.timing?.first_token_ms ?? 0) / 1000).toFixed(1)} s; chosen because: ${answer.reason}`,
  );
}

try {
  await main();
} catch (error) {
  console.error(`\nThe demo stopped: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
