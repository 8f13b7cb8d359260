import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Settings } from "../orchestrator/config/schema.ts";
import type { Engine } from "../orchestrator/engines/engine.ts";
import { createEngineInstallation } from "../orchestrator/engines/llama-cpp/install/installation.ts";
import { currentPlatform } from "../orchestrator/engines/llama-cpp/install/platform.ts";
import { createLlamaCppEngine } from "../orchestrator/engines/llama-cpp/index.ts";
import { createOllamaEngine } from "../orchestrator/engines/ollama/index.ts";
import { createGgufInspector } from "../orchestrator/gguf/inspector.ts";
import { PullFailed } from "../orchestrator/errors.ts";
import type { Log } from "../orchestrator/log.ts";
import { createAddressGuard } from "../orchestrator/store/address-guard.ts";
import { createHttpGet } from "../orchestrator/store/http.ts";
import { ollamaStoreCandidates } from "../orchestrator/store/layout.ts";
import { createModelStore } from "../orchestrator/store/model-store.ts";
import { findNode } from "./node-executable.ts";

export interface EngineWorld {
  readonly settings: Settings;
  /** `OLLM_HOME`, made and writable. */
  readonly home: string;
  readonly userHome: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Cores of this machine, for the threads of all embedded models together. */
  readonly cores: number;
  readonly version: string;
  readonly log: Log;
}

/** The configured engines with the real disk, network and processes behind them, in order of preference. */
export function createEngines(world: EngineWorld): readonly Engine[] {
  const { providers, network } = world.settings;
  const { log } = world;
  const engines: Engine[] = [];
  if (providers.ollama.enabled) {
    const timeouts = { pullStallMs: world.settings.registry.stallTimeoutMs };
    engines.push(
      createOllamaEngine({
        host: providers.ollama.host,
        now: Date.now,
        log,
        timeouts,
        allowedHosts: network.allowedHosts,
      }),
    );
  }
  const node = findNode({
    execPath: process.execPath,
    isElectron: process.versions["electron"] !== undefined,
    platform: process.platform,
    searchPath: world.environment["PATH"] ?? "",
  });
  if (providers.llamaCpp.enabled && node === undefined) {
    log.warn(
      "the embedded engine is off: this program runs inside an application and found no Node to start processes with",
    );
  }
  if (providers.llamaCpp.enabled && node !== undefined) engines.push(createEmbedded(world, node));
  return engines;
}

function createEmbedded(world: EngineWorld, nodeExecutable: string): Engine {
  const { settings, home, environment, log } = world;
  const inspect = createGgufInspector({ childEntry: builtFile("gguf-child.mjs"), nodeExecutable, environment });
  const folder = path.resolve(settings.store.path ?? path.join(home, "models"));
  const store = createModelStore({
    folder,
    readOnlyFolders: settings.store.readOllama
      ? ollamaStoreCandidates(environment, process.platform, world.userHome)
      : [],
    registry: settings.registry,
    http: createHttpGet(environment, registryGuard(settings)),
    userAgent: `ollm-mcp/${world.version}`,
    inspect,
    log,
  });
  const installation = createEngineInstallation({
    enginesFolder: path.join(home, "engines"),
    lockFolder: builtFile("engine-lock"),
    platform: { ...currentPlatform(), node: { execPath: nodeExecutable } },
    environment,
    log,
    now: Date.now,
  });
  return createLlamaCppEngine({
    store,
    inspect,
    installation,
    childEntry: builtFile("engine-child.mjs"),
    nodeExecutable,
    runFolder: path.join(home, "run"),
    threads: settings.providers.llamaCpp.threads ?? world.cores,
    keepAliveSeconds: settings.model.keepAlive.timeout,
    now: Date.now,
    log,
  });
}

/** What the owner names as a registry is named; a name to pull, and whatever it leads to, is not. */
function registryGuard({ network, registry }: Settings) {
  return createAddressGuard({
    allowedHosts: [...network.allowedHosts, ...registry.insecureHosts, registry.defaultHost],
    refuse: (message, hint) => new PullFailed(message, { hint }),
  });
}

/**
 * A file beside the built command. The bundler puts this code into `dist/chunks/` or `dist/`, and `npm run dev` runs it
 * from `src/server/`: the first `dist` folder upwards that holds the file is the right one.
 */
function builtFile(name: string): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const folders = [here, path.join(here, ".."), path.join(here, "..", "..", "dist")];
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  return found ?? path.join(here, name);
}
