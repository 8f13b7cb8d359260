import picomatch from "picomatch";
import { keyOfName } from "../store/model-name.ts";
import type { ModelOverrides } from "../types.ts";

interface Name {
  readonly key: string;
  /** As people write it: as it was given, and without what is a default. */
  readonly spellings: readonly string[];
}

type Matcher = (name: Name) => boolean;

/** Longer than any name of a model; a longer pattern is no pattern, and costs no time. */
const maxPatternLength = 300;

/**
 * Derived from settings that never change themselves, and gone with them: a choice of a model asks for all installed
 * ones, and a pattern takes as long to compile as a hundred names to match.
 */
const compiled = new WeakMap<object, readonly { readonly matches: Matcher; readonly overrides: ModelOverrides }[]>();

/**
 * What `models` of the settings says of one model. Of several patterns that match, the last one wins, option by option
 * (those in `options` too).
 */
export function overridesOf(models: Readonly<Record<string, ModelOverrides>>, name: string): ModelOverrides {
  let rules = compiled.get(models);
  if (rules === undefined) {
    rules = Object.entries(models).map(([pattern, overrides]) => ({ matches: matcherOf(pattern), overrides }));
    compiled.set(models, rules);
  }
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

/**
 * Whether a pattern of the settings (`qwen2.5*`, `{llama,phi}*:latest`, `*`) means a model. A name without a tag is that
 * of its `:latest`, in the pattern as in the name; case, and a default host and namespace that are written out, don't
 * count. `*` also stands for slashes.
 */
export function matchesName(pattern: string, name: string): boolean {
  return matcherOf(pattern)(nameOf(name));
}

function matcherOf(given: string): Matcher {
  const pattern = given.trim().toLowerCase();
  if (pattern.length > maxPatternLength) return () => false;
  // Without a character of globs it is a name, and may be written in full.
  if (!/[*?[\]{}()!+@|]/.test(pattern)) {
    const wanted = keyOfName(pattern);
    return ({ key }) => key === wanted;
  }
  // `bash`: one star is enough for names with slashes.
  const isMatch = picomatch(pattern, { bash: true, dot: true });
  return ({ spellings }) => spellings.some((spelling) => isMatch(spelling));
}

function nameOf(name: string): Name {
  const key = keyOfName(name);
  const lower = name.trim().toLowerCase();
  const slash = key.lastIndexOf("/");
  const full = `${key.slice(0, slash)}:${key.slice(slash + 1)}`;
  // The key of a name that no store could hold is the name itself.
  const short = key === lower ? lower : full.replace(/^registry\.ollama\.ai\/(library\/)?/, "");
  return { key, spellings: [lower, short, short.replace(/:latest$/, "")] };
}
