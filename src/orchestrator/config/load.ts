import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { InvalidConfig, StoreFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { taskOf } from "../api/facade-route.ts";
import type { CallerProject, CallerSettings } from "../api/types.ts";
import { replaceFile, NotRegular, readRegularText } from "../storage/replace-file.ts";
import { type lineAt, parseYaml } from "../util/parse-yaml.ts";
import { type Environment, environmentValues, flagValues, unknownNames } from "./environment.ts";
import type { Flags } from "./flags.ts";
import { keyVariables } from "./openai-servers.ts";
import { type Sources, type Tree, at, formatPath, put, settingPaths } from "./paths.ts";
import { addProject, parseSettings, settingsNotes } from "./problems.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { shownValue } from "./shown.ts";
import { defined, isMissing, isRecord, messageOf, orUndefined } from "../util/values.ts";
import { parseOllamaHost } from "../util/ollama-host.ts";

export interface LoadedSettings {
  readonly settings: Settings;
  /** Problems of valid settings: one sentence each. */
  readonly warnings: readonly string[];
  readonly sources: Sources;
}

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
  const file = join(home, "config.yaml");
  const read = await fileOf(file, undefined);
  parseSettings(read.tree, read.sources, file);
  return read;
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
  for (const { name, path, read } of environmentValues(from.environment, known)) {
    // Ollama's own variables aren't set for ollm: anything set for ollm, even in the file, overrides them.
    if (name.startsWith("OLLAMA_") && sources.has(path.join("."))) continue;
    put(tree, path, read(), name, sources);
  }
  for (const { name, path, value } of flagValues(from.flags)) put(tree, path, value, name, sources);
  addRoots(tree, from.flags, sources);
  forgetOtherMachine(tree, sources);
  const settings = parseSettings(tree, sources, file);
  const warnings = [
    ...unknownNames(from.environment, known, keyVariables(settings.providers.openai)),
    ...settingsNotes(settings, sources),
  ];
  return { settings, warnings, sources };
}

/** Drops this machine's Ollama variables for a server on another machine. */
function forgetOtherMachine(tree: Tree, sources: Sources): void {
  const ollama = at(tree, ["providers", "ollama"]);
  if (!isRecord(ollama) || typeof ollama["host"] !== "string" || !isElsewhere(ollama["host"])) return;
  for (const name of ["parallel", "cacheType", "flashAttention"]) {
    const path = `providers.ollama.${name}`;
    if (sources.get(path)?.startsWith("OLLAMA_") !== true) continue;
    delete ollama[name];
    sources.delete(path);
  }
}

/** An Ollama server on another machine; false for an invalid address, which is reported elsewhere. */
function isElsewhere(host: string): boolean {
  return orUndefined(() => parseOllamaHost(host).isLoopback) === false;
}

/** Reads the file, or copies `read`. Throws `InvalidConfig`. */
async function fileOf(file: string, read: SettingsFile | undefined): Promise<SettingsFile> {
  if (read !== undefined) return { tree: structuredClone(read.tree), sources: new Map(read.sources) };
  const sources: Sources = new Map();
  return { tree: await parseConfigText(await readConfigText(file), file, sources), sources };
}

/** The settings of scope caller and request. Without `sources`, every setting counts as set. */
export function callerSettings(settings: Settings, sources?: Sources): CallerSettings {
  // The type of `all` is the check that `CallerSettings` has the names of the schema.
  const all: Omit<CallerSettings, "profiles" | "models" | "options"> = settings;
  const own: Tree = {};
  for (const { path, scope } of settingPaths(settingsSchema)) {
    if (scope !== "daemon") put(own, path, at(all, path), "", new Map());
  }
  put(own, ["model", "routing", "overrides"], withoutAliases(all.model.routing.overrides), "", new Map());
  const unset = (["temperature", "maxTokens"] as const).filter((name) => sources?.has(`options.${name}`) === false);
  // Drops keys that are undefined.
  return { ...(JSON.parse(JSON.stringify(own)) as CallerSettings), ...(unset.length > 0 && { unset }) };
}

/** Aliases of a task are replaced by its name, which wins where both are there. */
function withoutAliases(overrides: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const named = Object.entries(overrides).map(([key, model]) => [taskOf(key) ?? key, model] as const);
  return { ...Object.fromEntries(named), ...overrides };
}

/** Far more than all settings need. */
export const maxConfigBytes = 256 * 1024;
const useDefaults = advice("move the file away to start with the defaults");

/** The file's text, "" when there is no file. Throws `InvalidConfig`. */
export async function readConfigText(file: string): Promise<string> {
  try {
    return await readRegularText(file);
  } catch (error) {
    if (isMissing(error)) return "";
    const reason = messageOf(error);
    throw new InvalidConfig(reason.startsWith(file) ? reason : `${file} can't be read: ${reason}`, {
      next: error instanceof NotRegular ? useDefaults : [advice("make it readable"), useDefaults],
      cause: error,
    });
  }
}

/**
 * Replaces the file atomically, readable only by its user; follows a link. Throws `StoreFailed` and leaves the file
 * unchanged.
 */
export async function writeConfigText(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await replaceFile(file, text, { mode: 0o600 });
  } catch (error) {
    const reason = messageOf(error);
    throw new StoreFailed(`nothing was changed: ${file} can't be written: ${reason}`, {
      next: advice("free some disk space, or make the folder writable"),
      cause: error,
    });
  }
}

/**
 * The settings of a text, which may not be in `file` yet; a key without a value is not set. Adds each value's line to
 * `sources`. Throws `InvalidConfig`.
 */
export async function parseConfigText(text: string, file: string, sources: Sources): Promise<Tree> {
  const parsed = await parseYaml(text, maxConfigBytes);
  if ("problem" in parsed) {
    const where = parsed.line === undefined ? file : `${file}:${parsed.line}:`;
    throw new InvalidConfig(`${where} ${parsed.problem}`, {
      next: [{ step: "editSettings" }, useDefaults],
    });
  }
  if (parsed.value === null || parsed.value === undefined) return {};
  if (!isRecord(parsed.value)) {
    throw new InvalidConfig(`${file} contains no settings: expected lines such as "privacy: local_only"`, {
      next: [{ step: "editSettings" }, useDefaults],
    });
  }
  await noteLines(parsed, file, sources);
  return withoutNulls(parsed.value);
}

async function noteLines({ document, lines }: Parameters<typeof lineAt>[0], file: string, sources: Sources) {
  const { isAlias, isMap, isNode, isScalar, isSeq } = await import("yaml");
  const note = (node: unknown, path: readonly string[], depth: number): void => {
    if (isNode(node) && node.range) sources.set(formatPath(path), `${file}:${lines.linePos(node.range[0]).line}`);
    const map = isAlias(node) ? node.resolve(document) : node;
    if (isSeq(map) && depth <= 8) {
      for (const [index, item] of map.items.entries()) if (isMap(item)) note(item, [...path, String(index)], depth + 1);
    }
    // Settings nest less deeply; the values of an alias share one line.
    if (!isMap(map) || depth > 8) return;
    for (const { key, value } of map.items) {
      if (!isScalar(key)) continue;
      // The key's line, which is where people look for a block.
      const own = [...path, String(key.value)];
      note(value ?? key, own, depth + 1);
      if (key.range) sources.set(formatPath(own), `${file}:${lines.linePos(key.range[0]).line}`);
    }
  };
  note(document.contents, [], 0);
}

/** An empty one would be no limit, in silence. */
const neverEmpty: ReadonlySet<string> = new Set(["monthlyBudget"]);

/** Removes keys without a value: people comment out a section's lines and leave its name. */
function withoutNulls(tree: Tree): Tree {
  const within = (value: unknown): unknown => (isRecord(value) ? withoutNulls(value) : value);
  return Object.fromEntries(
    Object.entries(tree)
      .filter(([key, value]) => value !== null || neverEmpty.has(key))
      .map(([key, value]) => [key, Array.isArray(value) ? value.map(within) : within(value)]),
  );
}

/**
 * The settings of one caller of a running daemon: defaults < `home/config.yaml` < its project < its variables < its
 * flags. Settings of scope `daemon` that the caller sets are ignored, with a warning where they differ from `daemon`.
 * Throws `InvalidConfig` like `loadSettings`.
 */
export async function callerSettingsFrom(
  from: Parameters<typeof loadSettings>[0] & {
    readonly daemon: Settings;
    /** Whether the file can't change a setting (`memory.bufferBytes`), because the daemon was started with a value for it. */
    readonly isFixed?: (path: string) => boolean;
  },
) {
  const known = settingPaths(settingsSchema);
  const file = join(from.home, "config.yaml");
  const { tree, sources } = await fileOf(file, from.read);
  addProject(tree, from.project, sources);
  const projectSource = from.project?.settings.model === undefined ? undefined : sources.get("model.default");
  const warnings: string[] = [];
  const given = [
    ...environmentValues(from.environment, known),
    ...flagValues(from.flags).map(({ value, ...rest }) => ({ ...rest, read: () => value })),
  ];
  for (const { name, path, read } of given) {
    const setting = path.join(".");
    const isDaemonScope = known.find((candidate) => candidate.path.join(".") === setting)?.scope === "daemon";
    if (!isDaemonScope) {
      put(tree, path, read(), name, sources);
      continue;
    }
    const inForce = at(from.daemon, path);
    if (isSame(path, readQuietly(read), inForce)) continue;
    // Addresses with a password are rejected when they are used; until then no other caller may see the password.
    const now = shownValue(path, inForce);
    const isFixed = from.isFixed?.(setting) === true;
    const by = isFixed ? ", set when the daemon started" : `; change it in ${file}`;
    warnings.push(`${name} is ignored: ${setting} is ${now} for all clients of this home${by}`);
  }
  addRoots(tree, from.flags, sources);
  const settings = parseSettings(tree, sources, file);
  warnings.push(...daemonPart(settings.models, from.daemon.models, sources.get("models"), file));
  const keys = keyVariables([...from.daemon.providers.openai, ...settings.providers.openai]);
  const systemPrompt = from.project?.settings.systemPrompt;
  const isProjectModel = projectSource !== undefined && sources.get("model.default") === projectSource;
  return {
    settings: {
      ...callerSettings(settings, sources),
      ...(isProjectModel && { isProjectModel }),
      ...defined({ systemPrompt }),
    },
    fileRoots: settings.files.roots,
    detectsProjects: settings.projects.detect,
    warnings: [...unknownNames(from.environment, known, keys), ...warnings, ...settingsNotes(settings, sources)],
    configured: { settings, sources },
  };
}

/** Models are shared: what they are, their memory, keep-alive and parallelism belong to the daemon, other options to the caller. */
function daemonPart(own: Settings["models"], inForce: Settings["models"], source: string | undefined, file: string) {
  if (source === undefined || source.startsWith(file)) return [];
  return Object.entries(own).flatMap(([pattern, overrides]) =>
    (["keepAlive", "sizeBytes", "maxParallel", "family", "capabilities", "profiles"] as const)
      .filter((key) => overrides[key] !== undefined && !isDeepStrictEqual(overrides[key], inForce[pattern]?.[key]))
      .map((key) => {
        const path = formatPath(["models", pattern, key]);
        const now = shownValue([], inForce[pattern]?.[key]);
        return `${path} of ${source} is ignored: it is ${now} for all clients of this home; change it in ${file}`;
      }),
  );
}

/** Whether a value as written is the one in force, which has defaults in it where it is a list of sections. */
function isSame(path: readonly string[], written: unknown, inForce: unknown): boolean {
  if (JSON.stringify(written) === JSON.stringify(inForce)) return true;
  const tree: Tree = {};
  put(tree, path, written, "", new Map());
  const { data } = settingsSchema.safeParse(tree);
  return data !== undefined && JSON.stringify(at(data, path)) === JSON.stringify(inForce);
}

/** An unreadable value equals no other. */
function readQuietly(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return { isUnreadable: true };
  }
}

/** Adds the folders of `--root` to the configured ones; all other flags replace. */
function addRoots(tree: Tree, flags: Flags, sources: Sources): void {
  if (flags.roots === undefined || flags.roots.length === 0) return;
  const configured = isRecord(tree["files"]) && Array.isArray(tree["files"]["roots"]) ? tree["files"]["roots"] : [];
  put(tree, ["files", "roots"], [...(configured as unknown[]), ...flags.roots], "--root", sources);
}
