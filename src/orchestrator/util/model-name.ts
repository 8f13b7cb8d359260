import { InvalidRequest } from "../api/errors.ts";
import { shortened } from "./format-bytes.ts";

/** A complete model name, split into its parts: `registry.ollama.ai` / `library` / `smollm2` : `135m`. */
export interface ModelName {
  readonly host: string;
  readonly namespace: string;
  readonly model: string;
  readonly tag: string;
}

/** The host of names without one. A mirror (`registry.defaultHost`) changes the source of the download, not the name. */
export const DEFAULT_HOST = "registry.ollama.ai";
const DEFAULT_NAMESPACE = "library";
const DEFAULT_TAG = "latest";
const HUGGING_FACE_HOSTS = ["hf.co", "huggingface.co"];

type Part = keyof ModelName;

/** Character and length rules of Ollama's `types/model/name.go`. */
const PART_RULES: Readonly<Record<Part, { readonly pattern: RegExp; readonly maxLength: number }>> = {
  host: { pattern: /^[A-Za-z0-9_][A-Za-z0-9_.:-]*$/, maxLength: 350 },
  namespace: { pattern: /^[A-Za-z0-9_][A-Za-z0-9_-]*$/, maxLength: 80 },
  model: { pattern: /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, maxLength: 80 },
  tag: { pattern: /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/, maxLength: 80 },
};

/** Windows opens a device instead of a file with one of these names, whatever follows the first dot or colon. */
const WINDOWS_DEVICE = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])([.:]|$)/i;

/**
 * Parses `[host/][namespace/]model[:tag]` with Ollama's defaults; a leading `https://` is dropped and `huggingface.co`
 * becomes `hf.co`. Throws `InvalidRequest` for names that can't be folders of the store on every platform, so a parsed
 * name can't leave its folder.
 */
export function parseModelName(text: string): ModelName {
  const trimmed = text.trim().replace(/^https:\/\//i, "");
  const parts = splitName(trimmed);
  if (parts === undefined) throw invalidName(text, "it has more parts than host/namespace/model:tag");
  const problem = (["host", "namespace", "model", "tag"] as const)
    .map((part) => partProblem(part, parts[part]))
    .find((found) => found !== undefined);
  if (problem !== undefined) throw invalidName(text, problem);
  const isHuggingFace = HUGGING_FACE_HOSTS.includes(parts.host.toLowerCase());
  return isHuggingFace ? { ...parts, host: "hf.co" } : parts;
}

/** Requests name the same models again, and each needs the parts several times. */
const parsedNames = new Map<string, ModelName>();
const maxParsedNames = 2_000;

/** Like `parseModelName`, but `undefined` for invalid names. */
export function tryParseModelName(text: string): ModelName | undefined {
  const known = parsedNames.get(text);
  if (known !== undefined) return known;
  try {
    const parsed = parseModelName(text);
    if (parsedNames.size >= maxParsedNames) parsedNames.clear();
    parsedNames.set(text, parsed);
    return parsed;
  } catch (error) {
    if (error instanceof InvalidRequest) return undefined;
    throw error;
  }
}

/**
 * The host that a name contains, as `https://hf.co`; undefined for names without a host, which come from the default
 * one. Throws `InvalidRequest` for an invalid name or host.
 */
export function registryOf(text: string): URL | undefined {
  const { host } = parseModelName(text.trim().replace(/^http:\/\//i, ""));
  if (host.toLowerCase() === DEFAULT_HOST) return undefined;
  if (!URL.canParse(`https://${host}`)) throw invalidName(text, `its host "${host}" is not valid`);
  return new URL(`https://${host}`);
}

/** As Ollama prints it: without default host and namespace, with the tag (`smollm2:135m`, `hf.co/org/repo:Q4_K_M`). */
export function formatModelName(name: ModelName): string {
  const model = `${name.model}:${name.tag}`;
  if (name.host.toLowerCase() !== DEFAULT_HOST) return `${name.host}/${name.namespace}/${model}`;
  return name.namespace.toLowerCase() === DEFAULT_NAMESPACE ? model : `${name.namespace}/${model}`;
}

/** Equal for names of the same model: case doesn't matter, nor whether a default is written out. */
export function modelKey(name: ModelName): string {
  const host = name.host.toLowerCase();
  return [HUGGING_FACE_HOSTS.includes(host) ? "hf.co" : host, name.namespace, name.model, name.tag]
    .join("/")
    .toLowerCase();
}

/** `model:tag` in lower case, as most names are: the key, which every call needs, is computed without parsing. */
const PLAIN_NAME =
  /^(?!(?:con|prn|aux|nul|com\d|lpt\d)[.:])[a-z0-9_][a-z0-9_.-]{0,78}[a-z0-9_-]:(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[a-z0-9_][a-z0-9_.-]{0,78}[a-z0-9_-]$/;

/** `modelKey` of a name as text; invalid names are their own key. */
export function keyOfName(text: string): string {
  if (PLAIN_NAME.test(text)) return `${DEFAULT_HOST}/${DEFAULT_NAMESPACE}/${text.replace(":", "/")}`;
  const parsed = tryParseModelName(text);
  return parsed === undefined ? text.trim().toLowerCase() : modelKey(parsed);
}

/** The name in lower case and with its tag, without what is the default: equal for names of the same model. */
export function canonicalName(text: string): string {
  if (PLAIN_NAME.test(text)) return text;
  const parsed = tryParseModelName(text);
  return (parsed === undefined ? text.trim() : formatModelName(parsed)).toLowerCase();
}

/** Whether two names mean the same model: no tag is `:latest`, case is ignored. Invalid names are compared as text. */
export function sameModel(a: string, b: string): boolean {
  return a === b || keyOfName(a) === keyOfName(b);
}

/** Ollama's cloud models (`:cloud`, `-cloud`): they run elsewhere and have no weights to pull. */
export function isCloudName(name: string): boolean {
  return /[:-]cloud$/i.test(name.trim());
}

/** The names that `text`, which has no tag, means with some tag; empty if it has one. */
export function taggedNames(text: string, names: readonly string[]): readonly string[] {
  const wanted = text.slice(text.lastIndexOf("/") + 1).includes(":") ? undefined : tryParseModelName(text);
  if (wanted === undefined) return [];
  const keyWithTag = (tag: string) => modelKey({ ...wanted, tag });
  return names.filter((name) => {
    const parsed = tryParseModelName(name);
    return parsed !== undefined && modelKey(parsed) === keyWithTag(parsed.tag);
  });
}

/**
 * The four folders of a manifest below `manifests/`. A host's port keeps its colon, as in Ollama's store, except on
 * Windows, where a colon opens an alternate data stream.
 */
export function nameToSegments(name: ModelName, platform: NodeJS.Platform): readonly [string, string, string, string] {
  const host = platform === "win32" ? name.host.replaceAll(":", "%3A") : name.host;
  return [host, name.namespace, name.model, name.tag];
}

/** The inverse of `nameToSegments`; `undefined` for folders that don't belong to a model (`.DS_Store`). */
export function nameFromSegments(segments: readonly string[]): ModelName | undefined {
  const [host, namespace, model, tag] = segments;
  if (segments.length !== 4 || host === undefined || namespace === undefined) return undefined;
  if (model === undefined || tag === undefined) return undefined;
  const name = { host: host.replaceAll("%3A", ":"), namespace, model, tag };
  const isValid = (Object.keys(PART_RULES) as Part[]).every((part) => partProblem(part, name[part]) === undefined);
  return isValid ? name : undefined;
}

function splitName(text: string): ModelName | undefined {
  const colon = text.lastIndexOf(":");
  const hasTag = colon > text.lastIndexOf("/");
  const tag = hasTag ? text.slice(colon + 1) : DEFAULT_TAG;
  const segments = (hasTag ? text.slice(0, colon) : text).split("/");
  const [model, namespace = DEFAULT_NAMESPACE, host = DEFAULT_HOST, ...rest] = segments.toReversed();
  if (model === undefined || rest.length > 0) return undefined;
  return { host, namespace, model, tag };
}

function partProblem(part: Part, value: string): string | undefined {
  const { pattern, maxLength } = PART_RULES[part];
  if (value === "") return `its ${part} is empty`;
  if (value.length > maxLength) return `its ${part} is longer than ${maxLength} characters`;
  if (!pattern.test(value)) {
    const wrong = Array.from(value).find(
      (character, index) => !pattern.test(index === 0 ? character : `x${character}`),
    );
    return `${JSON.stringify(wrong)} is not allowed in its ${part}`;
  }
  if (value.endsWith(".")) return `its ${part} ends with a dot`;
  if (WINDOWS_DEVICE.test(value)) return `its ${part} "${value}" is a device name on Windows`;
  return undefined;
}

function invalidName(text: string, problem: string): InvalidRequest {
  return new InvalidRequest(`"${shortened(text, 100)}" is not a model name: ${problem}`, {
    next: { step: "useModelName" },
  });
}
