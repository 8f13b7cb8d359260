import type { DatabaseEntry } from "../api/facade-route.ts";
import type { Capability, ModelFacts, ModelOverrides } from "../api/types.ts";
import { defined, getOrInsert } from "../util/values.ts";
import byCapability from "./capabilities.json" with { type: "json" };
import rows from "./rows.json" with { type: "json" };

/**
 * One line of `rows.json`. Windows are those of the GGUF files that Ollama serves where these differ from the model's
 * card; capabilities are letters, profiles words.
 */
type Row = readonly [
  pattern: string,
  family: string,
  contextTokens: number,
  capabilities: string,
  profiles: string,
  released: string,
  source: string,
  outputTokens?: number,
];

/** By capability: what a model with it does, and its letter in `rows.json`. */
export const capabilityFacts: Readonly<
  Record<
    Capability,
    {
      readonly does: string;
      readonly letter?: string;
      /** A model to suggest, which every engine runs. None for vision, which few engines have. */
      readonly example?: string;
    }
  >
> = byCapability;
const letters = new Map(Object.entries(capabilityFacts).map(([name, { letter }]) => [letter, name as Capability]));

/**
 * Facts about model families that need no engine. A pattern is `name:tag`; `name` also matches longer names that begin
 * with it (`granite3.1:*` matches `granite3.1-dense`), unless a longer pattern does.
 */
export const modelDatabase: readonly DatabaseEntry[] = (Object.values(rows).flat() as unknown as readonly Row[]).map(
  ([pattern, family, contextTokens, capabilities, profiles, released, source, outputTokens]) => ({
    pattern,
    family,
    contextTokens,
    ...defined({ outputTokens }),
    capabilities: capabilities.split("").flatMap((letter) => letters.get(letter) ?? []),
    profiles: profiles.split(" ").filter((profile) => profile !== ""),
    released,
    source,
  }),
);

/** For models without a row: a window that every current model has, completion only, no profiles. */
export const safeDefaults: DatabaseEntry = {
  pattern: "*",
  family: "unknown",
  contextTokens: 4096,
  capabilities: ["completion"],
  profiles: [],
  source: "safe defaults for unknown models",
};

/**
 * A model as routing sees it: the engine's facts, else the database, else safe defaults. Its family is of the database
 * (`codellama`), else the file's architecture, which is `llama` for half of all models; its month of release that of the row,
 * else of the first model of its architecture.
 */
export interface DescribedModel extends Omit<DatabaseEntry, "pattern" | "source"> {
  /** The matching row; absent for unknown models. */
  readonly entry?: DatabaseEntry;
}

interface CompiledEntry {
  readonly entry: DatabaseEntry;
  readonly words: readonly string[];
  readonly tagGlob: string;
  readonly ofTag: RegExp;
  /** There are rows for later generations (`gemma2:*` for `gemma:*`), so the row must not match unknown generations. */
  readonly hasSuccessors: boolean;
}

/** Compiled on first use; every route looks up all installed models. */
let compiled: ReadonlyMap<string, readonly CompiledEntry[]> | undefined;

/**
 * The row whose pattern matches `name` best. Host, namespace and case are ignored; no tag means `latest`.
 *
 * Best is: earliest in the name (`dolphin-llama3` is a dolphin; `my-mistral` still a mistral), then most words
 * (`qwen2.5-coder` before `qwen2.5`), then the longest tag (`llama3.2:1b*` before `llama3.2:*`). A tag pattern may
 * also match what follows the words in the name: `hf.co/bartowski/gemma-3-1b-it-GGUF:Q8_0` is `gemma3:1b*`.
 * A generation without a row (`gemma9`) is unknown and does not match the row of the first generation.
 */
export function lookUp(name: string): DatabaseEntry | undefined {
  compiled ??= compile(modelDatabase);
  const { base, tag, words, ends } = nameWords(name);
  for (const [start, word] of words.entries()) {
    let best: CompiledEntry | undefined;
    for (const candidate of compiled.get(word) ?? []) {
      if (!candidate.words.every((expected, index) => words[start + index] === expected)) continue;
      if (candidate.hasSuccessors && isGeneration(words[start + candidate.words.length])) continue;
      const rest = base.slice(ends[start + candidate.words.length - 1]).replace(/^[-_. ]+/, "");
      const isTagMatch = candidate.ofTag.test(tag) || (rest !== "" && candidate.ofTag.test(`${rest}-${tag}`));
      if (isTagMatch && (best === undefined || isMoreSpecific(candidate, best))) best = candidate;
    }
    if (best !== undefined) return best.entry;
  }
  return undefined;
}

/**
 * Merges the engine's facts (window, capabilities) with the database. A code name adds `code` to the profiles of a known
 * completion model; an unknown model has no profiles, whatever its name. A family and profiles among the facts are the
 * user's, and count before all others.
 */
export function describeFromDatabase(
  name: string,
  facts: Partial<ModelFacts> & Pick<ModelOverrides, "family" | "profiles"> = {},
): DescribedModel {
  const entry = lookUp(name);
  const known = entry ?? safeDefaults;
  const capabilities =
    facts.capabilities !== undefined && facts.capabilities.length > 0 ? facts.capabilities : known.capabilities;
  return {
    family: facts.family ?? entry?.family ?? familyOf(facts.architecture) ?? known.family,
    contextTokens: facts.contextTokens ?? known.contextTokens,
    ...defined({ outputTokens: known.outputTokens }),
    capabilities,
    profiles: facts.profiles ?? (capabilities.includes("completion") ? profilesOf(name, entry) : []),
    ...defined({ entry, released: entry?.released ?? lookUp(facts.architecture ?? "")?.released }),
  };
}

function profilesOf(name: string, entry: DatabaseEntry | undefined): readonly string[] {
  if (entry === undefined) return safeDefaults.profiles;
  return !isCodeName(name) || entry.profiles.includes("code") ? entry.profiles : [...entry.profiles, "code"];
}

/** `qwen3moe` → `qwen`: the common part of an architecture's generations. */
function familyOf(architecture: string | undefined): string | undefined {
  const family = architecture?.replace(/\d.*$/, "");
  return family === "" ? architecture : family;
}

function compile(entries: readonly DatabaseEntry[]): ReadonlyMap<string, readonly CompiledEntry[]> {
  const named = entries.map((entry) => ({ entry, name: nameWords(entry.pattern) }));
  const byFirstWord = new Map<string, CompiledEntry[]>();
  for (const { entry, name } of named) {
    const { tag, words } = name;
    const hasSuccessors = named.some(
      ({ name: other }) =>
        words.every((word, index) => other.words[index] === word) && isGeneration(other.words[words.length]),
    );
    const [first = ""] = words;
    const ofTag = new RegExp(`^${tag.replaceAll(".", String.raw`\.`).replaceAll("*", ".*")}$`, "s");
    getOrInsert(byFirstWord, first, () => []).push({ entry, words, tagGlob: tag, ofTag, hasSuccessors });
  }
  return byFirstWord;
}

/** A small number without a unit: not `7b`, not the month of `command-r-08-2024`, not the date of `mistral-large-2407`. */
function isGeneration(word: string | undefined): boolean {
  return word !== undefined && /^[1-9]\d?(?:\.\d+)*$/.test(word);
}

function isMoreSpecific(a: CompiledEntry, b: CompiledEntry): boolean {
  if (a.words.length !== b.words.length) return a.words.length > b.words.length;
  return a.tagGlob.replaceAll("*", "").length > b.tagGlob.replaceAll("*", "").length;
}

/**
 * Splits a name so that different spellings yield the same words: `llama3.2` and `Llama-3.2` are both `llama` `3.2`. A
 * number includes its unit (`7b`, `135m`, `128k`): `gemma-2b` is `gemma` `2b`, `gemma2` is `gemma` `2`. `base` is the name
 * in lower case, without host, namespace and tag; `ends[i]` is the offset in it after `words[i]`.
 */
export function nameWords(name: string) {
  const lower = name.trim().toLowerCase();
  const last = lower.slice(lower.lastIndexOf("/") + 1);
  const colon = last.indexOf(":");
  const base = colon < 0 ? last : last.slice(0, colon);
  const tag = colon < 0 || colon === last.length - 1 ? "latest" : last.slice(colon + 1);
  const words: string[] = [];
  const ends: number[] = [];
  for (const match of base.matchAll(/\d+(?:\.\d+)*(?:[bmkt](?![a-z]))?|[a-z]+/g)) {
    words.push(match[0]);
    ends.push(match.index + match[0].length);
  }
  return { base, tag, words, ends };
}

/**
 * Whether the name contains "code" or "coder", which suggests a code model; `encoder`, `decoder` and `transcoder` don't
 * count.
 */
export function isCodeName(name: string): boolean {
  const { base, tag } = nameWords(name);
  return `${base}:${tag}`.replaceAll(/(?:en|de|trans)cod(?:er|e)/g, "").includes("code");
}

/**
 * Whether the name is that of a model that only continues texts (`qwen2.5-coder:1.5b-base`, `mistral:7b-text`), or judges
 * them (`bespoke-minicheck`, `granite3-guardian`, `llama-guard3`).
 */
export function isBaseName(name: string): boolean {
  const { base, tag } = nameWords(name);
  if (/minicheck|guardian|llama-guard|shieldgemma/.test(base)) return true;
  return /(?:^|[-_:])(?:base|text|pt|pretrain(?:ed)?)(?:$|[-_.])/.test(`${base.replace(/embed-text/, "")}:${tag}`);
}

/** What a file's name says of how its weights are stored: `q4_K_M`, `IQ3_XS`, `fp16`, `qat`. */
const storage =
  /(?<![a-z0-9])(?:ud-)?(?:i?q\d+(?:[_-](?:\d|k|s|m|l|x{1,2}[sl]|nl))*|tq\d_\d|b?fp?(?:16|32|8)|mxfp4|int[48]|[48]bit|qat|awq|gptq|mlx|exl2|gguf)(?![a-z0-9])/g;
/** What the usual file of a model may or may not have in its name. */
const usual: ReadonlySet<string> = new Set(["instruct", "chat", "it", "latest"]);
const sizeWord = /^\d+(?:\.\d+)?[bm]$/;

/** A model without its quantization: its words, and its size if the name states one. */
function variantOf(name: string): { readonly words: string; readonly parameters: number | undefined } {
  const { base, tag } = nameWords(name);
  const words = nameWords(`${base}-${tag}`.replaceAll(storage, "")).words.filter((word) => !usual.has(word));
  const at = words.findIndex((word) => sizeWord.test(word));
  return { words: words.filter((_word, index) => index !== at).join(" "), parameters: parametersIn(words[at]) };
}

function parametersIn(word: string | undefined): number | undefined {
  return word === undefined ? undefined : Number.parseFloat(word) * (word.endsWith("b") ? 1e9 : 1e6);
}

/** The parameters that a name states: 7e9 for `qwen2.5-7b`. */
export function statedParameters(name: string): number | undefined {
  return variantOf(name).parameters;
}

/** Whether the names mean the same model, of the same size, in two quantizations (`llama3:8b` and `llama3:8b-instruct-q8_0`). */
export function isOtherQuantization(
  a: { readonly model: string; readonly parameterCount?: number },
  b: typeof a,
): boolean {
  const [one, other] = [variantOf(a.model), variantOf(b.model)];
  if (a.model === b.model || one.words !== other.words) return false;
  const [left, right] =
    one.parameters === undefined || other.parameters === undefined
      ? [a.parameterCount ?? one.parameters, b.parameterCount ?? other.parameters]
      : [one.parameters, other.parameters];
  // `7b` of one name is `7.6B` in a file.
  return left !== undefined && right !== undefined && Math.abs(left - right) <= 0.1 * Math.max(left, right);
}
