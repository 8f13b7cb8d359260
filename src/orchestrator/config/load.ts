import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { z } from "zod";
import { InvalidConfig } from "../errors.ts";
import { nearestNames } from "../text/nearest.ts";
import type { CallerSettings } from "../types.ts";
import { type SettingPath, settingPaths } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";

/** Settings given on the command line, under the names of the flags. */
export interface Flags {
  readonly model?: string;
  readonly host?: string;
  readonly temperature?: string;
  readonly maxTokens?: string;
  readonly contextSize?: string;
  readonly roots?: readonly string[];
}

export interface LoadedSettings {
  readonly settings: Settings;
  /** Things the user should know although the settings are valid. */
  readonly warnings: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;
type Tree = { [key: string]: unknown };
/** Where a value came from, for error messages: `OLLM_MODEL`, `--host`, `/home/me/.ollm/config.yaml:3`. */
type Sources = Map<string, string>;

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
  const warnings = applyEnvironment(tree, from.environment, known, sources);
  applyFlags(tree, from.flags, sources);
  const parsed = settingsSchema.safeParse(tree);
  if (!parsed.success) throw invalid(parsed.error, tree, sources, known, file);
  return { settings: parsed.data, warnings };
}

/** The part of the settings that travels with a caller. */
export function callerSettings(settings: Settings): CallerSettings {
  const { model, options, providers, privacy } = settings;
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
  };
}

async function readConfigFile(file: string, sources: Sources): Promise<Tree> {
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
  OLLAMA_HOST: ["providers", "ollama", "host"],
  OLLM_HOST: ["providers", "ollama", "host"],
  OLLM_TEMPERATURE: ["options", "temperature"],
  OLLM_MAX_TOKENS: ["options", "maxTokens"],
  OLLM_CONTEXT_SIZE: ["providers", "ollama", "options", "numCtx"],
};
/** `OLLM_*` names that are no settings of this schema. */
const otherNames: ReadonlySet<string> = new Set(["OLLM_HOME"]);

function applyEnvironment(
  tree: Tree,
  environment: Environment,
  known: readonly SettingPath[],
  sources: Sources,
): readonly string[] {
  const paths = new Map<string, readonly string[]>([
    ...Object.entries(shortNames),
    ...known.map((setting) => [setting.environmentName, setting.path] as const),
  ]);
  for (const [name, path] of paths) {
    const value = environment[name];
    if (value === undefined || value.trim() === "") continue;
    // Ollama's own variable is ambient: what was set for us, even in the file, is meant more.
    if (name === "OLLAMA_HOST" && sources.has(path.join("."))) continue;
    const type = known.find((setting) => setting.path.join(".") === path.join("."))?.type ?? "string";
    put(tree, path, parseText(value, type, name), name, sources);
  }
  const names = [...paths.keys()];
  return Object.keys(environment)
    .filter((name) => name.startsWith("OLLM_") && !name.startsWith("OLLM_TEST_"))
    .filter((name) => !paths.has(name) && !otherNames.has(name))
    .map((name) => `${name} is not a setting${didYouMean(name, names)}`);
}

function applyFlags(tree: Tree, flags: Flags, sources: Sources): void {
  const given: readonly (readonly [flag: string, path: readonly string[], value: unknown])[] = [
    ["--model", ["model", "default"], flags.model],
    ["--host", ["providers", "ollama", "host"], flags.host],
    ["--temperature", ["options", "temperature"], toNumber(flags.temperature)],
    ["--max-tokens", ["options", "maxTokens"], toNumber(flags.maxTokens)],
    ["--context-size", ["providers", "ollama", "options", "numCtx"], toNumber(flags.contextSize)],
  ];
  for (const [flag, path, value] of given) if (value !== undefined) put(tree, path, value, flag, sources);
  if (flags.roots !== undefined && flags.roots.length > 0) {
    const configured = isTree(tree["files"]) && Array.isArray(tree["files"]["roots"]) ? tree["files"]["roots"] : [];
    put(tree, ["files", "roots"], [...(configured as unknown[]), ...flags.roots], "--root", sources);
  }
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

function put(tree: Tree, path: readonly string[], value: unknown, source: string, sources: Sources): void {
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

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
