import { join } from "node:path";
import type { CallerProject } from "../api/facade-projects.ts";
import type { CallerSettings } from "../api/types.ts";
import {
  type Environment,
  addRoots,
  environmentValues,
  flagValues,
  refuseRenamedVariables,
  unknownNames,
} from "./environment.ts";
import { readConfigFile } from "./file.ts";
import type { Flags } from "./flags.ts";
import { isOnThisMachine } from "./ollama-servers.ts";
import { type Sources, type Tree, at, isTree, put, settingPaths } from "./paths.ts";
import { parseSettings, settingsNotes } from "./problems.ts";
import { addProject } from "./project-values.ts";
import { type Settings, settingsSchema } from "./schema.ts";

export interface LoadedSettings {
  readonly settings: Settings;
  /** Problems of valid settings: one sentence each. */
  readonly warnings: readonly string[];
  readonly sources: Sources;
}

export type { Environment } from "./environment.ts";
export type { Flags } from "./flags.ts";

/** `config.yaml` as read. */
export interface SettingsFile {
  readonly tree: Tree;
  /** The position in the file of each value, by path. */
  readonly sources: Sources;
}

/**
 * Reads and checks the file. Throws `InvalidConfig`, also for values that a variable of this process overrides: callers
 * have other variables.
 */
export async function readSettingsFile(home: string): Promise<SettingsFile> {
  const sources: Sources = new Map();
  const file = join(home, "config.yaml");
  const tree = await readConfigFile(file, sources);
  parseSettings(tree, sources, file);
  return { tree, sources };
}

/**
 * Reads all settings: defaults < `home/config.yaml` < the project, if given < environment < flags. Throws
 * `InvalidConfig` with the source and path of each invalid value, and what is allowed.
 */
export async function loadSettings(from: {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
  /** Used in place of the file on disk. */
  readonly read?: SettingsFile;
  /** The caller's project; the daemon has none. */
  readonly project?: CallerProject;
}): Promise<LoadedSettings> {
  const known = settingPaths(settingsSchema);
  const file = join(from.home, "config.yaml");
  const { tree, sources } = await fileOf(file, from.read);
  addProject(tree, from.project, sources);
  refuseRenamedVariables(from.environment);
  for (const { name, path, read } of environmentValues(from.environment, known)) {
    // Ollama's own variables aren't set for ollm: anything set for ollm, even in the file, overrides them.
    if (name.startsWith("OLLAMA_") && sources.has(path.join("."))) continue;
    put(tree, path, read(), name, sources);
  }
  for (const { name, path, value } of flagValues(from.flags)) put(tree, path, value, name, sources);
  addRoots(tree, from.flags, sources);
  forgetOtherMachine(tree, sources);
  const settings = parseSettings(tree, sources, file);
  const warnings = [...unknownNames(from.environment, known), ...settingsNotes(settings, sources)];
  return { settings, warnings, sources };
}

/** Drops this machine's Ollama variables for a server on another machine. */
function forgetOtherMachine(tree: Tree, sources: Sources): void {
  const ollama = at(tree, ["providers", "ollama"]);
  if (!isTree(ollama) || typeof ollama["host"] !== "string" || isOnThisMachine(ollama["host"])) return;
  for (const name of ["parallel", "cacheType", "flashAttention"]) {
    const path = `providers.ollama.${name}`;
    if (sources.get(path)?.startsWith("OLLAMA_") !== true) continue;
    delete ollama[name];
    sources.delete(path);
  }
}

/** Reads the file, or copies `read`. Throws `InvalidConfig`. */
export async function fileOf(file: string, read: SettingsFile | undefined): Promise<SettingsFile> {
  if (read !== undefined) return { tree: structuredClone(read.tree), sources: new Map(read.sources) };
  const sources: Sources = new Map();
  return { tree: await readConfigFile(file, sources), sources };
}

/** The settings of scope caller and request. Without `sources`, every setting counts as set. */
export function callerSettings(settings: Settings, sources?: Sources): CallerSettings {
  const { model, models, options, providers, privacy, jobs, recall, queue, tools } = settings;
  const unset = (["temperature", "maxTokens"] as const).filter((name) => sources?.has(`options.${name}`) === false);
  return {
    privacy,
    ...(model.default === undefined ? {} : { defaultModel: model.default }),
    routing: {
      isEnabled: model.routing.enabled,
      defaultProfile: model.routing.defaultProfile,
      maxSwitchSeconds: model.routing.maxSwitchSeconds,
      overrides: model.routing.overrides,
    },
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...(options.topP === undefined ? {} : { topP: options.topP }),
    maxTokens: options.maxTokens,
    ...(unset.length > 0 && { unset }),
    ...(providers.ollama.options.numCtx === undefined ? {} : { contextTokens: providers.ollama.options.numCtx }),
    ...(model.provider === undefined ? {} : { provider: model.provider }),
    // Drops keys that are undefined.
    models: JSON.parse(JSON.stringify(models)) as CallerSettings["models"],
    injectTokens: recall.injectTokens,
    tools: { sets: tools.sets, disabled: tools.disabled, ...(tools.enabled && { enabled: tools.enabled }) },
    ...(queue.maxWaitMs === undefined ? {} : { maxWaitMs: queue.maxWaitMs }),
    patienceSeconds: jobs.patience,
  };
}
