import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { type FakeModel, type FakeOllama, startFakeOllama } from "../test/support/fake-ollama.ts";
import { type FakeRegistry, startFakeRegistry } from "../test/support/fake-registry.ts";
import { smolLm2 } from "../test/support/weights.ts";

const run = promisify(execFile);
const command = fileURLToPath(new URL("../dist/cli.mjs", import.meta.url));
/** A command may install the engine, or load a model. */
const commandLimitMs = 300_000;

/** Real weights, under this name, in the embedded engine of every world. */
export const realModel = "smollm2:135m";
/** The same weights once more: for comparisons, and to be deleted. */
export const otherModel = "smollm2-copy:135m";

/** A home of its own with the built daemon, real weights, an Ollama and a registry. */
export interface World {
  readonly home: string;
  readonly ollama: FakeOllama;
  readonly registry: FakeRegistry;
  /** The weights' GGUF file. */
  readonly weights: string;
  /** The output of the built command. Rejects with what it said when it fails. */
  ollm(...words: readonly string[]): Promise<string>;
  /** Its output as JSON. */
  ollmJson<Data>(...words: readonly string[]): Promise<Data>;
  /** Connects as an assistant does: a front over stdio. The caller closes it. */
  connect(name: string, extensions?: Record<string, { readonly mimeTypes: string[] }>): Promise<Client>;
  close(): Promise<void>;
}

export interface Scene {
  readonly world: World;
  readonly browser: Browser;
}

/** Rejects with what is wrong. Checks run in the order of the list, in one world. */
export type Check = readonly [name: string, run: (scene: Scene) => Promise<void>];

interface WorldOptions {
  /** Models of the embedded engine, by name; default: the starter weights, twice. */
  readonly weights?: Readonly<Record<string, string>>;
  /** Models of an Ollama beside it; none without them. */
  readonly ollama?: readonly FakeModel[];
}

/**
 * Starts a daemon with an empty home and imports weights, which installs the embedded engine from npm's cache or registry.
 * Throws when weights or engine can't be had, and says why.
 */
export async function openWorld({ weights: given, ollama: models }: WorldOptions): Promise<World> {
  const weights = given ?? (await starterWeights());
  const [file = ""] = Object.values(weights);
  const home = await realpath(await mkdtemp(join(tmpdir(), "ollm-browser-")));
  const ollama = await startFakeOllama({ models: models ?? [], tokensPerSecond: 20 });
  const registry = await startFakeRegistry();
  const engine: Record<string, string> =
    models === undefined ? { OLLM_PROVIDERS_OLLAMA_ENABLED: "false" } : { OLLAMA_HOST: ollama.url };
  // A pull without a host goes there, never to the real registry.
  const environment = environmentFor(home, { ...engine, OLLM_TEST_REGISTRY: registry.host });
  const ollm = async (...words: readonly string[]): Promise<string> => {
    try {
      const options = { env: environment, timeout: commandLimitMs, maxBuffer: 64 * 1024 * 1024 };
      return (await run(process.execPath, [command, ...words], options)).stdout;
    } catch (error) {
      const { stderr = "" } = error as { readonly stderr?: string };
      throw new Error(`ollm ${words.join(" ")}: ${stderr.trim() || String(error)}`, { cause: error });
    }
  };
  const world: World = {
    home: join(home, ".ollm"),
    ollama,
    registry,
    weights: file,
    ollm,
    ollmJson: async (...words) => JSON.parse(await ollm(...words, "--json")) as never,
    async connect(name, extensions) {
      const client = new Client(
        { name, version: "1.0.0" },
        { capabilities: extensions === undefined ? {} : { extensions } },
      );
      const server = { command: process.execPath, args: [command], env: environment, stderr: "ignore" as const };
      await client.connect(new StdioClientTransport(server));
      return client;
    },
    async close() {
      // A daemon outlives its clients, and would write into a home that is being removed.
      await ollm("daemon", "stop").catch(() => undefined);
      await Promise.all([ollama.close(), registry.close()]);
      await rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
  try {
    await mkdir(world.home, { mode: 0o700 });
    const settings = {
      tools: { sets: ["all"] },
    };
    await writeFile(join(world.home, "config.yaml"), JSON.stringify(settings));
    const client = await world.connect("browser-checks");
    for (const [model, from] of Object.entries(weights)) {
      const call = { name: "pull_model", arguments: { model, from, engine: "llama-cpp" } };
      const { isError, content } = await client.callTool(call, { timeout: commandLimitMs });
      if (isError === true) throw new Error(`${model} can't be imported: ${JSON.stringify(content)}`);
    }
    await client.close();
    return world;
  } catch (error) {
    await world.close();
    throw error;
  }
}

async function starterWeights(): Promise<Readonly<Record<string, string>>> {
  const { file, reason } = await smolLm2();
  if (file === undefined) throw new Error(`there are no weights: ${reason}`);
  return { [realModel]: file, [otherModel]: file };
}

function environmentFor(home: string, own: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(process.env).flatMap(([name, value]) =>
    value !== undefined && /^(PATH|TMPDIR|npm_config_.*|https?_proxy|no_proxy|NODE_EXTRA_CA_CERTS)$/i.test(name)
      ? [[name, value] as const]
      : [],
  );
  return {
    npm_config_cache: join(homedir(), ".npm"),
    ...Object.fromEntries(kept),
    HOME: home,
    OLLM_HOME: join(home, ".ollm"),
    ...own,
  };
}

/** Unloads every model, pins included. */
export async function unloadAll(world: World): Promise<void> {
  const client = await world.connect("browser-checks");
  await client.callTool({ name: "manage_model", arguments: { action: "unload_all" } });
  await client.close();
}

/** The process that holds the home. */
export async function daemonPid(world: World): Promise<number> {
  const { pid } = await world.ollmJson<{ readonly pid?: number }>("daemon", "status");
  if (pid === undefined) throw new Error("no daemon runs");
  return pid;
}

/** `config.yaml` as it is written now. */
export function readConfig({ home }: World): Promise<string> {
  return readFile(join(home, "config.yaml"), "utf8");
}
