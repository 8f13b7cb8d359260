import { delimiter } from "node:path";
import { InvalidConfig } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { cacheTypes } from "../api/types.ts";
import { hideKeys } from "../util/control-characters.ts";
import { meantBy } from "../util/nearest.ts";
import { parseJson } from "../util/values.ts";
import type { Flags } from "./flags.ts";
import type { SettingPath } from "./paths.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Short published names beside those of `SettingPath.environmentName`; the long name wins. */
export const shortNames: Readonly<Record<string, readonly string[]>> = {
  OLLM_MODEL: ["model", "default"],
  OLLM_PROVIDER: ["model", "provider"],
  OLLAMA_HOST: ["providers", "ollama", "host"],
  OLLM_HOST: ["providers", "ollama", "host"],
  OLLAMA_NUM_PARALLEL: ["providers", "ollama", "parallel"],
  OLLAMA_KV_CACHE_TYPE: ["providers", "ollama", "cacheType"],
  OLLAMA_FLASH_ATTENTION: ["providers", "ollama", "flashAttention"],
  OLLM_TEMPERATURE: ["options", "temperature"],
  OLLM_MAX_TOKENS: ["options", "maxTokens"],
  OLLM_CONTEXT_SIZE: ["providers", "ollama", "options", "numCtx"],
};
/** Variables that an Ollama server reads for itself, parsed as it does; undefined: it uses its default. */
const serverVariables: Readonly<Record<string, (value: string) => unknown>> = {
  OLLAMA_NUM_PARALLEL: (value) => (/^\d{1,9}$/.test(value) ? Math.max(1, Number(value)) : undefined),
  OLLAMA_KV_CACHE_TYPE: (value) => cacheTypes.find((type) => type === value.toLowerCase()),
  OLLAMA_FLASH_ATTENTION: (value) => !/^(0|f|false)$/i.test(value),
};

/** `OLLM_*` variables that aren't settings. */
const otherNames: ReadonlySet<string> = new Set(["OLLM_HOME"]);

/** The settings among the variables, in order of precedence. `read` throws `InvalidConfig`. */
export function environmentValues(environment: Environment, known: readonly SettingPath[]) {
  return [...pathsByName(known)].flatMap(([name, path]) => {
    // `set NAME=value & ...` on Windows leaves a trailing space.
    const value = environment[name]?.trim();
    if (value === undefined || value === "") return [];
    const own = serverVariables[name];
    if (own !== undefined) {
      const meant = own(value);
      return meant === undefined ? [] : [{ name, path, read: () => meant }];
    }
    const type = known.find((setting) => setting.path.join(".") === path.join("."))?.type ?? "string";
    return [{ name, path, read: () => parseText(value, type, name) }];
  });
}

/**
 * The variables without those of caller settings: an invalid one must not keep the daemon from serving other callers.
 * `models` is kept, because it also sets memory and keep-alive.
 */
export function daemonVariables(environment: Environment, known: readonly SettingPath[]): Environment {
  const callers = new Set(
    known.flatMap(({ path, scope }) => (scope === "daemon" || path[0] === "models" ? [] : [path.join(".")])),
  );
  const paths = pathsByName(known);
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => {
      const path = paths.get(name)?.join(".");
      return path === undefined || !callers.has(path);
    }),
  );
}

/** One sentence for each `OLLM_*` variable that is neither a setting nor one of `keys`, which hold keys of servers. */
export function unknownNames(
  environment: Environment,
  known: readonly SettingPath[],
  keys: ReadonlySet<string>,
): readonly string[] {
  const paths = pathsByName(known);
  return Object.keys(environment)
    .filter((name) => name.startsWith("OLLM_") && !name.startsWith("OLLM_TEST_"))
    .filter((name) => !paths.has(name) && !otherNames.has(name) && !keys.has(name))
    .map((name) => `${name} is not a setting${meantBy(name, [...paths.keys()])}`);
}

function pathsByName(known: readonly SettingPath[]): ReadonlyMap<string, readonly string[]> {
  return new Map<string, readonly string[]>([
    ...Object.entries(shortNames),
    ...known.map((setting) => [setting.environmentName, setting.path] as const),
  ]);
}

/** The settings among the flags, except `--root`. */
export function flagValues(flags: Flags) {
  const given: readonly { readonly name: string; readonly path: readonly string[]; readonly value: unknown }[] = [
    { name: "--model", path: ["model", "default"], value: flags.model },
    { name: "--provider", path: ["model", "provider"], value: flags.provider },
    { name: "--host", path: ["providers", "ollama", "host"], value: flags.host },
    { name: "--temperature", path: ["options", "temperature"], value: toNumber(flags.temperature) },
    { name: "--max-tokens", path: ["options", "maxTokens"], value: toNumber(flags.maxTokens) },
    { name: "--context-size", path: ["providers", "ollama", "options", "numCtx"], value: toNumber(flags.contextSize) },
    { name: "--tools", path: ["tools", "sets"], value: flags.tools && commaList(flags.tools) },
  ];
  return given.filter(({ value }) => value !== undefined);
}

/** A text converted to the setting's type; `name` is its variable. Throws `InvalidConfig`. */
function parseText(value: string, type: SettingPath["type"], name: string): unknown {
  switch (type) {
    case "number":
      return toNumber(value);
    case "boolean":
      if (/^(1|true|yes|on)$/i.test(value)) return true;
      if (/^(0|false|no|off)$/i.test(value)) return false;
      throw new InvalidConfig(`${name} must be true or false, not ${JSON.stringify(value)}`, {
        next: advice(`set ${name} to true or false`),
        isOfProcess: true,
      });
    case "list":
      // The schema rejects empty entries: they come from unset variables.
      return value.split(delimiter);
    case "commaList":
      return commaList(value);
    case "record":
    case "entryList":
      try {
        return parseJson(value);
      } catch (error) {
        throw new InvalidConfig(`${name} is not JSON: ${hideKeys(value)}`, {
          next: advice(`write it like ${type === "record" ? '{"code": "name"}' : '[{"id": "kimi"}]'}`),
          cause: error,
          isOfProcess: true,
        });
      }
    case "string":
      return value;
  }
}

function commaList(text: string): readonly string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/** A number where the text is one, else the text itself, so that the schema's message shows it. */
function toNumber(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  const value = Number(text);
  return text.trim() === "" || Number.isNaN(value) ? text : value;
}
