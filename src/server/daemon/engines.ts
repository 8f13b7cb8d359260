import path from "node:path";
import { PullFailed } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { readApiKey } from "../../orchestrator/config/api-key.ts";
import { ollamaServers } from "../../orchestrator/config/ollama-servers.ts";
import { connectionKeepAliveMs, engineOptions, keyVariables } from "../../orchestrator/config/openai-servers.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import { createAddressGuard } from "../../orchestrator/engines/address-guard.ts";
import type { PoolOptions } from "../../orchestrator/engines/connection-pools.ts";
import type { Engine } from "../../orchestrator/engines/engine.ts";
import { createGgufInspector } from "../../orchestrator/engines/gguf/inspector.ts";
import { createHttpGet } from "../../orchestrator/engines/http.ts";
import { createChildrenList } from "../../orchestrator/engines/llama-cpp/child/children-list.ts";
import { ComputeGate } from "../../orchestrator/engines/llama-cpp/compute-gate.ts";
import { createLlamaCppEngine } from "../../orchestrator/engines/llama-cpp/index.ts";
import { createEngineInstallation } from "../../orchestrator/engines/llama-cpp/install/installation.ts";
import { currentPlatform, lockName } from "../../orchestrator/engines/llama-cpp/install/platform.ts";
import { ollamaStoreCandidates } from "../../orchestrator/engines/llama-cpp/store/layout.ts";
import { createModelStore } from "../../orchestrator/engines/llama-cpp/store/model-store.ts";
import { createOllamaEngine } from "../../orchestrator/engines/ollama/index.ts";
import { isOllamaInstalled } from "../../orchestrator/engines/ollama/installed.ts";
import { createOpenAiEngine } from "../../orchestrator/engines/openai/index.ts";
import { parseOllamaHost } from "../../orchestrator/util/ollama-host.ts";
import { builtFile, findNode } from "../../orchestrator/util/programs.ts";
import { defined } from "../../orchestrator/util/values.ts";

interface EngineWorld {
  /** `OLLM_HOME`, made and writable. */
  readonly home: string;
  readonly userHome: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Cores of this machine, for the threads of all embedded models together. */
  readonly cores: number;
  readonly version: string;
  readonly log: Log;
  /** Whether the settings leave it open that there is an Ollama server. */
  readonly isOllamaOptional: () => boolean;
  /** The settings in force, from the first ones on. Those that engines are made for may not be in force yet. */
  readonly current: () => Pick<Settings, "store" | "network" | "model"> | undefined;
}

/** A monotonic clock for durations: setting the system clock does not affect it. */
const steady = (): number => performance.now();

/** Questions of one program that follow each other are this close; a batch loses little by waiting. */
const graceMs = 250;

/**
 * Makes the configured engines, in order of preference, with the real disk, network and processes. Called again, it
 * returns the same engine where its settings are unchanged, so that only the others are replaced. Throws `InvalidConfig`
 * for a malformed address, and keeps the engines of the previous call.
 */
export function createEngineMaker(world: EngineWorld): (settings: Settings) => readonly Engine[] {
  const { log } = world;
  const node = findNode({
    execPath: process.execPath,
    isElectron: process.versions["electron"] !== undefined,
    platform: process.platform,
    searchPath: world.environment["PATH"] ?? "",
  });
  const inspect = node === undefined ? undefined : inspectorOf(world, node);
  const shared = {
    children: createChildrenList(path.join(world.home, "run"), log),
    gate: new ComputeGate(steady, graceMs),
  };
  const allowedHosts = () => allowedBy(world);
  const storeOf = inspect && createStores(world, inspect);
  const keys = takenKeys(world.environment);
  let made = new Map<string, Engine>();
  /** Applied in place: a replaced engine would unload its models. */
  let pool: PoolOptions = { connections: 10, keepAliveMs: connectionKeepAliveMs };
  const isOptional = async (): Promise<boolean> =>
    node !== undefined &&
    lockName(currentPlatform()) !== undefined &&
    world.isOllamaOptional() &&
    !(await isOllamaInstalled({ ...world, platform: process.platform }));

  return ({ providers, store, network }) => {
    // What an engine reads when it needs it doesn't replace it: an engine that is replaced unloads its models.
    const guard = guardOf(() => network.allowedHosts);
    const isNamed = (address: string) => guard.isNamed(new URL(address));
    const next = new Map<string, Engine>();
    pool = { connections: providers.ollama.connections, keepAliveMs: connectionKeepAliveMs };
    const keep = (signature: unknown, make: () => Engine): void => {
      const key = JSON.stringify(signature);
      next.set(key, made.get(key) ?? make());
    };
    if (providers.ollama.enabled) {
      for (const { id, host, memoryBytes, serverOptions } of ollamaServers(providers.ollama)) {
        keep([id, host, memoryBytes, serverOptions, isNamed(parseOllamaHost(host).baseUrl)], () =>
          createOllamaEngine({
            id,
            host,
            ...defined({ memoryBytes }),
            serverOptions,
            ...(id === "ollama" && { isOptional }),
            now: steady,
            log,
            pool: () => pool,
            allowedHosts,
            ...defined({ inspect }),
          }),
        );
      }
    }
    if (providers.llamaCpp.enabled && node === undefined) {
      log.warn(
        "the embedded engine is off: this program runs inside an application and found no Node to start processes with",
      );
    }
    if (providers.llamaCpp.enabled && node !== undefined && inspect && storeOf) {
      // Throws for a folder that can't be used.
      storeOf(store);
      const current = () => storeOf(world.current()?.store ?? store);
      keep(["llama-cpp", providers.llamaCpp], () =>
        createEmbedded(world, providers.llamaCpp, node, { shared, store: current, inspect }),
      );
    }
    keys.take(keyVariables(providers.openai));
    for (const entry of providers.openai) {
      keep(["openai", entry, isNamed(entry.baseUrl)], () =>
        createOpenAiEngine({
          ...engineOptions(entry),
          apiKey: () => readApiKey(entry, { variable: keys.of, userHome: world.userHome, platform: process.platform }),
          allowedHosts,
          now: steady,
          log,
        }),
      );
    }
    made = next;
    return [...next.values()];
  };
}

/** Keys leave this process's environment once the settings name them: its child processes inherit the rest. */
function takenKeys(environment: EngineWorld["environment"]) {
  const taken = new Map<string, string>();
  return {
    take(names: ReadonlySet<string>): void {
      for (const name of names) {
        const value = environment[name];
        if (value === undefined) continue;
        taken.set(name, value);
        if (process.env[name] === value) delete process.env[name];
      }
    },
    of: (name: string): string | undefined => taken.get(name) ?? environment[name],
  };
}

function createEmbedded(
  world: EngineWorld,
  settings: Settings["providers"]["llamaCpp"],
  nodeExecutable: string,
  shared: Pick<Parameters<typeof createLlamaCppEngine>[0], "shared" | "store" | "inspect">,
): Engine {
  const { home, environment, log } = world;
  const { backend = "cpu" } = settings;
  const installation = createEngineInstallation({
    enginesFolder: path.join(home, "engines"),
    lockFolder: builtFile("engine-lock"),
    platform: { ...currentPlatform(backend), node: { execPath: nodeExecutable } },
    environment,
    log,
    now: Date.now,
  });
  return createLlamaCppEngine({
    ...shared,
    installation,
    childEntry: builtFile("engine-child.mjs"),
    nodeExecutable,
    backend,
    runFolder: path.join(home, "run"),
    threads: settings.threads ?? world.cores,
    get keepAliveSeconds() {
      return world.current()?.model.keepAlive.timeout ?? -1;
    },
    promptsFolder: path.join(home, "cache", "prompts"),
    get promptCacheBytes() {
      return world.current()?.store.promptCacheBytes;
    },
    now: Date.now,
    steady,
    log,
  });
}

/** Makes the store of given settings; the same one for the same settings, since its lock and its downloads are shared. */
function createStores(world: EngineWorld, inspect: ReturnType<typeof inspectorOf>) {
  const { home, environment, log } = world;
  // Set by tests alone, which must not reach the internet.
  const testRegistry = environment["OLLM_TEST_REGISTRY"];
  const hosts = () => [...allowedBy(world), ...(testRegistry === undefined ? [] : [testRegistry])];
  const http = createHttpGet(environment, guardOf(hosts));
  const stores = new Map<string, ReturnType<typeof createModelStore>>();
  return ({ path: chosen, readOllama }: Settings["store"]) => {
    const folder = path.resolve(chosen ?? path.join(home, "models"));
    const key = JSON.stringify([folder, readOllama]);
    const store =
      stores.get(key) ??
      createModelStore({
        folder,
        readOnlyFolders: readOllama ? ollamaStoreCandidates(environment, process.platform, world.userHome) : [],
        registry: { defaultHost: testRegistry },
        http,
        userAgent: `ollm-mcp/${world.version}`,
        inspect,
        log,
      });
    stores.set(key, store);
    return store;
  };
}

function inspectorOf({ environment }: EngineWorld, nodeExecutable: string) {
  return createGgufInspector({ childEntry: builtFile("gguf-child.mjs"), nodeExecutable, environment });
}

const allowedBy = ({ current }: EngineWorld): readonly string[] => current()?.network.allowedHosts ?? [];

/** Allows hosts that the settings name. The host in a model's name, and its redirects, are checked. */
function guardOf(allowedHosts: () => readonly string[]) {
  return createAddressGuard({ allowedHosts, refuse: (message, next) => new PullFailed(message, { next }) });
}
