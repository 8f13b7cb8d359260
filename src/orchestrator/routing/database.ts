import type { DatabaseEntry } from "../api/facade.ts";
import type { Capability, ModelFacts } from "../api/types.ts";
import { isCodeName, matchesGlob, nameWords } from "./names.ts";
import { chatRows, specialRows, toEntry } from "./rows.ts";
import { defined } from "../util/defined.ts";

/**
 * Facts about model families that need no engine. A pattern is `name:tag`; `name` also matches longer names that begin
 * with it (`granite3.1:*` matches `granite3.1-dense`), unless a longer pattern does.
 */
export const modelDatabase: readonly DatabaseEntry[] = [...chatRows, ...specialRows].map(toEntry);

/** For models without a row: a window that every current model has, completion only, no profiles. */
export const safeDefaults: DatabaseEntry = {
  pattern: "*",
  family: "unknown",
  contextTokens: 4096,
  capabilities: ["completion"],
  profiles: [],
  source: "safe defaults for unknown models",
};

/** A model as routing sees it: the engine's facts, else the database, else safe defaults. */
export interface DescribedModel {
  /** From the database (`codellama`), else the file's architecture, which is `llama` for half of all models. */
  readonly family: string;
  readonly contextTokens: number;
  /** Limit of one answer in tokens, if the model card states one. */
  readonly outputTokens?: number;
  readonly capabilities: readonly Capability[];
  readonly profiles: readonly string[];
  /** The matching row; absent for unknown models. */
  readonly entry?: DatabaseEntry;
}

interface CompiledEntry {
  readonly entry: DatabaseEntry;
  readonly words: readonly string[];
  readonly tagGlob: string;
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
      const isTagMatch =
        matchesGlob(candidate.tagGlob, tag) || (rest !== "" && matchesGlob(candidate.tagGlob, `${rest}-${tag}`));
      if (isTagMatch && (best === undefined || isMoreSpecific(candidate, best))) best = candidate;
    }
    if (best !== undefined) return best.entry;
  }
  return undefined;
}

/**
 * Merges the engine's facts (window, capabilities) with the database. A code name adds `code` to the profiles of a known
 * completion model; an unknown model has no profiles, whatever its name.
 */
export function describeFromDatabase(name: string, facts: Partial<ModelFacts> = {}): DescribedModel {
  const entry = lookUp(name);
  const known = entry ?? safeDefaults;
  const capabilities =
    facts.capabilities !== undefined && facts.capabilities.length > 0 ? facts.capabilities : known.capabilities;
  return {
    family: entry?.family ?? familyOf(facts.architecture) ?? known.family,
    contextTokens: facts.contextTokens ?? known.contextTokens,
    ...defined({ outputTokens: known.outputTokens }),
    capabilities,
    profiles: capabilities.includes("completion") ? profilesOf(name, entry) : [],
    ...defined({ entry }),
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
    const group = byFirstWord.get(first) ?? [];
    group.push({ entry, words, tagGlob: tag, hasSuccessors });
    byFirstWord.set(first, group);
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
