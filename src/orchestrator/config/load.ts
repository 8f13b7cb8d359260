import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { z } from "zod";
import { InvalidConfig } from "../errors.ts";
import { nearestNames } from "../text/nearest.ts";
import type { CallerSettings } from "../types.ts";
import type { Flags } from "./flags.ts";
import { type SettingPath, settingPaths } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";

export interface LoadedSettings {
  readonly settings: Settings;
  /** Things the user should know although the settings are valid. */
  readonly warnings: readonly string[];
}

export type { Flags } from "./flags.ts";

export type Environment = Readonly<Record<string, string | undefined>>;
export type Tree = { [key: string]: unknown };
/** Where a value came from, for error messages: `OLLM_MODEL`, `--host`, `/home/me/.ollm/config.yaml:3`. */
export type Sources = Map<string, string>;

/**
 * Reads all settings: defaults < `home/config.yaml` < environment < flags.
 * Throws `InvalidConfig` that names where a wrong value came from, its path, and what is allowed.
 */
export async function loadSettings(from: {
  readonly home: string;
  readonly environment: Environment;
  readonly flags: Flags;
}): Promise<LoadedSettings> {
  const known = settingPaths(settingsSchema);
  const sources: Sources = new Map();
  const file = join(from.home, "config.yaml");
  const tree = await readConfigFile(file, sources);
  for (const { name, path, read } of environmentValues(from.environment, known)) {
    // Ollama's own variable is ambient: what was set for us, even in the file, is meant more.
    if (name === "OLLAMA_HOST" && sources.has(path.join("."))) continue;
    put(tree, path, read(), name, sources);
  }
  for (const { name, path, value } of flagValues(from.flags)) put(tree, path, value, name, sources);
  addRoots(tree, from.flags, sources);
  const settings = parseSettings(tree, sources, known, file);
  return { settings, warnings: unknownNames(from.environment, known) };
}

/** Throws `InvalidConfig` that names each wrong value's source. */
export function parseSettings(tree: Tree, sources: Sources, known: readonly SettingPath[], file: string): Settings {
  const parsed = settingsSchema.safeParse(tree);
  if (!parsed.success) throw invalid(parsed.error, tree, sources, known, file);
  return parsed.data;
}

/** The part of the settings that travels with a caller. */
export function callerSettings(settings: Settings): CallerSettings {
  const { model, models, options, providers, privacy, jobs, memory, tools } = settings;
  return {
    privacy,
    ...(model.default === undefined ? {} : { defaultModel: model.default }),
    routing: {
      isEnabled: model.routing.enabled,
      defaultProfile: model.routing.defaultProfile,
      overrides: model.routing.overrides,
    },
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...(options.topP === undefined ? {} : { topP: options.topP }),
    maxTokens: options.maxTokens,
    ...(providers.ollama.options.numCtx === undefined ? {} : { contextTokens: providers.ollama.options.numCtx }),
    ...(model.provider === undefined ? {} : { provider: model.provider }),
    // zod's optional keys may be undefined; ours are absent then, and JSON leaves those out.
    models: JSON.parse(JSON.stringify(models)) as CallerSettings["models"],
    injectTokens: memory.injectTokens,
    tools: { sets: tools.sets, disabled: tools.disabled, ...(tools.enabled && { enabled: tools.enabled }) },
    patienceSeconds: jobs.patience,
  };
}

/** The file as it stands, an empty tree when there is none; `sources` learns each value's line. Throws `InvalidConfig`. */
export async function readConfigFile(file: string, sources: Sources): Promise<Tree> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return {};
    throw new InvalidConfig(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}`, {
      hint: "make it readable, or move it away to start with the defaults",
      cause: error,
    });
  }
  const { parseDocument, LineCounter, isMap, isScalar, isNode } = await import("yaml");
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, merge: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const { line } = lines.linePos(error.pos[0]);
    throw new InvalidConfig(`${file}:${line}: ${error.message.split("\n")[0] ?? "not valid YAML"}`, {
      hint: "mend that line, or move the file away to start with the defaults",
      cause: error,
    });
  }
  if (document.contents === null) return {};
  if (!isMap(document.contents)) {
    throw new InvalidConfig(`${file} holds no settings: expected lines like "privacy: local_only"`, {
      hint: "mend the file, or move it away to start with the defaults",
    });
  }
  const note = (node: unknown, path: readonly string[]): void => {
    if (isNode(node) && node.range) sources.set(path.join("."), `${file}:${lines.linePos(node.range[0]).line}`);
    if (!isMap(node)) return;
    for (const pair of node.items) {
      if (isScalar(pair.key)) note(pair.value ?? pair.key, [...path, String(pair.key.value)]);
    }
  };
  note(document.contents, []);
  // 100 aliases are far more than settings need, and far fewer than a bomb.
  return document.toJS({ maxAliasCount: 100 }) as Tree;
}

/** Short published names beside the rule of `SettingPath.environmentName`; the long name wins. */
const shortNames: Readonly<Record<string, readonly string[]>> = {
  OLLM_MODEL: ["model", "default"],
  OLLM_PROVIDER: ["model", "provider"],
  OLLAMA_HOST: ["providers", "ollama", "host"],
  OLLM_HOST: ["providers", "ollama", "host"],
  OLLM_TEMPERATURE: ["options", "temperature"],
  OLLM_MAX_TOKENS: ["options", "maxTokens"],
  OLLM_CONTEXT_SIZE: ["providers", "ollama", "options", "numCtx"],
};
/** `OLLM_*` names that are no settings of this schema. */
const otherNames: ReadonlySet<string> = new Set(["OLLM_HOME"]);

/** A value that somebody set outside the file, under the name it was set by. */
export interface GivenValue {
  /** `OLLM_MODEL`, `--model` */
  readonly name: string;
  readonly path: readonly string[];
}

/** Settings among the variables, in order of precedence. `read` throws `InvalidConfig`. */
export function environmentValues(
  environment: Environment,
  known: readonly SettingPath[],
): readonly (GivenValue & { read(): unknown })[] {
  return [...pathsByName(known)].flatMap(([name, path]) => {
    const value = environment[name];
    if (value === undefined || value.trim() === "") return [];
    const type = known.find((setting) => setting.path.join(".") === path.join("."))?.type ?? "string";
    return [{ name, path, read: () => parseText(value, type, name) }];
  });
}

/** A sentence for each variable that looks like a setting and is none. */
export function unknownNames(environment: Environment, known: readonly SettingPath[]): readonly string[] {
  const paths = pathsByName(known);
  return Object.keys(environment)
    .filter((name) => name.startsWith("OLLM_") && !name.startsWith("OLLM_TEST_"))
    .filter((name) => !paths.has(name) && !otherNames.has(name))
    .map((name) => `${name} is not a setting${didYouMean(name, [...paths.keys()])}`);
}

function pathsByName(known: readonly SettingPath[]): ReadonlyMap<string, readonly string[]> {
  return new Map<string, readonly string[]>([
    ...Object.entries(shortNames),
    ...known.map((setting) => [setting.environmentName, setting.path] as const),
  ]);
}

/** Settings among the flags, `--root` apart. */
export function flagValues(flags: Flags): readonly (GivenValue & { readonly value: unknown })[] {
  const given: readonly (GivenValue & { readonly value: unknown })[] = [
    { name: "--model", path: ["model", "default"], value: flags.model },
    { name: "--provider", path: ["model", "provider"], value: flags.provider },
    { name: "--host", path: ["providers", "ollama", "host"], value: flags.host },
    { name: "--temperature", path: ["options", "temperature"], value: toNumber(flags.temperature) },
    { name: "--max-tokens", path: ["options", "maxTokens"], value: toNumber(flags.maxTokens) },
    { name: "--context-size", path: ["providers", "ollama", "options", "numCtx"], value: toNumber(flags.contextSize) },
  ];
  return given.filter(({ value }) => value !== undefined);
}

/** `--root` adds to the configured folders: the other flags replace. */
export function addRoots(tree: Tree, flags: Flags, sources: Sources): void {
  if (flags.roots === undefined || flags.roots.length === 0) return;
  const configured = isTree(tree["files"]) && Array.isArray(tree["files"]["roots"]) ? tree["files"]["roots"] : [];
  put(tree, ["files", "roots"], [...(configured as unknown[]), ...flags.roots], "--root", sources);
}

function parseText(value: string, type: SettingPath["type"], name: string): unknown {
  switch (type) {
    case "number":
      return toNumber(value);
    case "boolean":
      if (/^(1|true|yes|on)$/i.test(value)) return true;
      if (/^(0|false|no|off)$/i.test(value)) return false;
      throw new InvalidConfig(`${name} is ${JSON.stringify(value)}, which is neither true nor false`, {
        hint: `set ${name} to true or false`,
      });
    case "list":
      return value.split(delimiter).filter((item) => item !== "");
    case "commaList":
      return value
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== "");
    case "record":
      try {
        return JSON.parse(value) as unknown;
      } catch (error) {
        throw new InvalidConfig(`${name} is not JSON: ${value}`, {
          hint: `write it like {"code": "name"}`,
          cause: error,
        });
      }
    case "string":
      return value;
  }
}

/** A number where the text is one; the text itself otherwise, so that the schema's message shows it. */
function toNumber(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  const value = Number(text);
  return text.trim() === "" || Number.isNaN(value) ? text : value;
}

/** Sets a value, making the branches it hangs on. */
export function put(tree: Tree, path: readonly string[], value: unknown, source: string, sources: Sources): void {
  let node = tree;
  for (const key of path.slice(0, -1)) {
    const next = node[key];
    if (isTree(next)) node = next;
    else node = node[key] = {};
  }
  node[path.at(-1) ?? ""] = value;
  sources.set(path.join("."), source);
}

function invalid(
  error: z.ZodError,
  tree: Tree,
  sources: Sources,
  known: readonly SettingPath[],
  file: string,
): InvalidConfig {
  const problems = error.issues.map((issue) => {
    const path = issue.path.map(String);
    const where = sourceOf(path, sources) ?? file;
    if (issue.code === "unrecognized_keys") {
      return issue.keys
        .map((key) => {
          const full = [...path, key].join(".");
          const names = known.map((setting) => setting.path.join("."));
          return `${sources.get(full) ?? where}: ${full} is not a setting${didYouMean(full, names)}`;
        })
        .join("; ");
    }
    const value = path.reduce<unknown>((node, key) => (isTree(node) ? node[key] : undefined), tree);
    return `${where}: ${path.join(".")} is ${JSON.stringify(value)}: ${issue.message}`;
  });
  return new InvalidConfig(problems.join("; "), { hint: "mend the value where it was set", cause: error });
}

function sourceOf(path: readonly string[], sources: Sources): string | undefined {
  for (let length = path.length; length >= 0; length -= 1) {
    const source = sources.get(path.slice(0, length).join("."));
    if (source !== undefined) return source;
  }
  return undefined;
}

function didYouMean(name: string, names: readonly string[]): string {
  const [nearest] = nearestNames(name, names, 1);
  return nearest === undefined ? "" : `; did you mean ${nearest}?`;
}

export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
