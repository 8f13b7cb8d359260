import picomatch from "picomatch";
import { keyOfName } from "../util/model-name.ts";
import type { ModelOverrides } from "../api/types.ts";

interface Name {
  readonly key: string;
  /** The given name, and its short forms without default parts. */
  readonly spellings: readonly string[];
}

type Matcher = (name: Name) => boolean;

/** Longer than any model name; longer patterns match nothing, to bound the cost. */
const maxPatternLength = 300;

/**
 * Compiled patterns per (immutable) settings object: routing matches all installed models, and compiling a pattern costs
 * as much as matching a hundred names.
 */
const compiled = new WeakMap<object, readonly Rule[]>();

interface Rule {
  readonly pattern: string;
  readonly matches: Matcher;
  readonly overrides: ModelOverrides;
}

/**
 * The `models` settings for one model. If several patterns match, the last one wins, option by option (also in `options`).
 */
export function overridesOf(models: Readonly<Record<string, ModelOverrides>>, name: string): ModelOverrides {
  const rules = compiled.get(models) ?? compile(models);
  if (rules.length === 0) return {};
  const named = nameOf(name);
  let found: ModelOverrides = {};
  for (const { matches, overrides } of rules) {
    if (!matches(named)) continue;
    const options = { ...found.options, ...overrides.options };
    found = { ...found, ...overrides, ...(Object.keys(options).length > 0 && { options }) };
  }
  return found;
}

function compile(models: Readonly<Record<string, ModelOverrides>>): readonly Rule[] {
  const rules = Object.entries(models).map(([pattern, overrides]) => ({
    pattern,
    matches: matcherOf(pattern),
    overrides,
  }));
  compiled.set(models, rules);
  return rules;
}

/** The pattern from which `overridesOf` takes an option. */
export function patternOf(
  models: Readonly<Record<string, ModelOverrides>>,
  name: string,
  option: string,
): string | undefined {
  const named = nameOf(name);
  return (compiled.get(models) ?? compile(models)).findLast(
    ({ matches, overrides }) => matches(named) && (option in overrides || option in (overrides.options ?? {})),
  )?.pattern;
}

/**
 * Whether a pattern of the settings (`qwen2.5*`, `{llama,phi}*:latest`, `*`) matches a model. No tag means `:latest`, in
 * the pattern and the name; case and an explicit default host and namespace are ignored. `*` also matches slashes.
 */
export function matchesName(pattern: string, name: string): boolean {
  return matcherOf(pattern)(nameOf(name));
}

function matcherOf(given: string): Matcher {
  const pattern = given.trim().toLowerCase();
  if (pattern.length > maxPatternLength) return () => false;
  // Without glob characters it is a name, perhaps with host and namespace.
  if (!/[*?[\]{}()!+@|]/.test(pattern)) {
    const wanted = keyOfName(pattern);
    return ({ key }) => key === wanted;
  }
  // `bash`: a single star also matches slashes.
  const isMatch = picomatch(pattern, { bash: true, dot: true });
  return ({ spellings }) => spellings.some((spelling) => isMatch(spelling));
}

function nameOf(name: string): Name {
  const key = keyOfName(name);
  const lower = name.trim().toLowerCase();
  const slash = key.lastIndexOf("/");
  const full = `${key.slice(0, slash)}:${key.slice(slash + 1)}`;
  // The key of an invalid name is the name itself.
  const short = key === lower ? lower : full.replace(/^registry\.ollama\.ai\/(library\/)?/, "");
  return { key, spellings: [lower, short, short.replace(/:latest$/, "")] };
}
