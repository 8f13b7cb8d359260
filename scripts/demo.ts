/**
 * `npm run demo`: from nothing to a real answer of a real local model about a real file, through the built server and
 * a real MCP client. Says sizes before it downloads, and leaves no process behind.
 */
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { loadSettings, resolveHome } from "../src/orchestrator/config/load.ts";
import { connectDemoClient, type DemoClient } from "./demo/client.ts";
import { describePlan, formatGigabytes, heading, hostEntry, say } from "./demo/print.ts";
import { ensureStarter } from "./demo/starter.ts";

const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const script = path.join(repository, "dist", "cli.mjs");

interface ListedModel {
  readonly name: string;
  readonly engine: string;
  readonly size_bytes: number;
  readonly is_loaded: boolean;
  readonly capabilities?: readonly string[];
}

async function main(): Promise<void> {
  const startedAtMs = Date.now();
  const interrupt = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupt.abort("cancelled"));
  const home = resolveHome(process.env, homedir());
  const { settings } = await loadSettings({ home, environment: process.env, flags: {} });

  say("ollm-mcp demo: a local model answers a question about this project's README.");
  say(`Everything it needs goes to ${home} (OLLM_HOME): about 30 MB for the engine and 100 MB for a small model, once.`);

  heading("1. Start the server, as an assistant would");
  const client = await connectDemoClient({ node: process.execPath, script, roots: [repository], signal: interrupt.signal });
  try {
    say(`connected to ${client.server} over stdio`);
    heading("2. A model to start with");
    const starter = await ensureStarter(client, { registry: settings.registry.defaultHost, home });
    say(starter.told);

    heading("3. What is installed (list_models)");
    const { models } = await client.call<{ models: readonly ListedModel[] }>("list_models", { verbose: true });
    for (const model of models) {
      say(`- ${model.name} on ${model.engine}, ${formatGigabytes(model.size_bytes)}${model.is_loaded ? ", loaded" : ""}`);
    }

    heading("4. Does it fit? (smart_load, dry_run)");
    const dryRun = await client.call<Parameters<typeof describePlan>[0]>("smart_load", { model: starter.model, dry_run: true });
    for (const line of describePlan(dryRun)) say(line);
    const load = await client.call<{ load_ms?: number }>("smart_load", { model: starter.model });
    say(`loaded in ${load.load_ms ?? 0} ms`);

    heading("5. A question about a real file (route_and_generate)");
    await ask(client, starter.model, models.find((model) => model.name === starter.model)?.engine ?? "");
    const ollama = models.find((model) => model.engine === "ollama" && model.capabilities?.includes("completion") === true && !model.name.endsWith("cloud"));
    if (ollama !== undefined && ollama.name !== starter.model) {
      say("");
      say(`An Ollama server answers too; the same question to ${ollama.name}:`);
      await ask(client, ollama.name, "ollama");
    }

    heading("6. Memory (system_status)");
    const status = await client.call<{
      ram: { available_bytes: number; total_bytes: number };
      loaded: readonly { name: string; bytes: number }[];
    }>("system_status", {});
    for (const model of status.loaded) say(`- ${model.name} holds ${formatGigabytes(model.bytes)}`);
    say(`${formatGigabytes(status.ram.available_bytes)} of ${formatGigabytes(status.ram.total_bytes)} are free`);
  } finally {
    await client.close();
  }
  say("");
  say(`Done in ${((Date.now() - startedAtMs) / 1000).toFixed(1)} s; the server has ended and left nothing running.`);
  heading("Put it into your assistant");
  for (const line of hostEntry(process.execPath, script, repository)) say(line);
}

async function ask(client: DemoClient, model: string, engine: string): Promise<void> {
  const prompt = "In two sentences: what is ollm-mcp, and what does it do for an assistant?";
  say(`> ${prompt}  [README.md, read by the server: it costs the assistant no tokens]`);
  const answer = await client.call<{
    text?: string;
    model: string;
    reason: string;
    tokens_per_second: number;
    prompt_tokens: number;
    completion_tokens: number;
    timing: { load_ms: number; first_token_ms: number };
  }>("route_and_generate", { prompt, model, files: ["README.md"], max_tokens: 120, temperature: 0, explain: true });
  say("");
  say(answer.text ?? "");
  say("");
  say(
    `${answer.model} on ${engine}: ${answer.prompt_tokens} tokens read, ${answer.completion_tokens} written at ` +
      `${answer.tokens_per_second} tokens/s, first token after ${(answer.timing.first_token_ms / 1000).toFixed(1)} s; chosen because: ${answer.reason}`,
  );
}

try {
  await main();
} catch (error) {
  console.error(`\nThe demo stopped: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
