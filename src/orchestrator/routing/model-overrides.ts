import picomatch from "picomatch";
import type { SamplingOptions } from "../api/chat.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { samplingNames } from "../api/sampling.ts";
import type { CallerSettings, ModelFacts, ModelOverrides, Profile } from "../api/types.ts";
import { defined } from "../util/values.ts";
import { keyOfName } from "../util/model-name.ts";

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
export function overridesOf(
  models: Readonly<Record<string, { readonly [Option in keyof ModelOverrides]?: unknown }>>,
  name: string,
): ModelOverrides {
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

function compile(models: Parameters<typeof overridesOf>[0]): readonly Rule[] {
  const rules = Object.entries(models).map(([pattern, overrides]) => ({
    pattern,
    matches: matcherOf(pattern),
    overrides: overrides as ModelOverrides,
  }));
  compiled.set(models, rules);
  return rules;
}

/** The pattern from which `overridesOf` takes an option. */
export function patternOf(models: Parameters<typeof overridesOf>[0], name: string, option: string): string | undefined {
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

/** A model's own defaults, from the `SYSTEM` and `PARAMETER` lines of its manifest. */
interface OwnDefaults {
  readonly system?: string;
  readonly temperature?: number;
  /** `num_predict` */
  readonly maxTokens?: number;
  /** `num_ctx` */
  readonly contextTokens?: number;
}

/** Which layer has a value, the first one wins. */
type Layer = "request" | "conversation" | "profile" | "project" | "models" | "settings" | "model" | "default";

/** The options of a request on one model. */
export interface ResolvedForModel {
  readonly system: string | undefined;
  readonly maxTokens: number;
  /** At least this many. */
  readonly contextTokens: number | undefined;
  readonly sampling: SamplingOptions;
  readonly from: Readonly<Partial<Record<"system" | "contextTokens" | SampledName, Layer>>>;
}

/** Options with the same layers: those of sampling, and the limit of an answer. */
const sampled = [...samplingNames, "maxTokens"] as const;
type SampledName = (typeof sampled)[number];

/** What `forModel` needs of a request; loads have less. */
interface Layers extends Pick<GenerateRequest, "system" | "contextTokens" | "chat" | SampledName> {
  readonly settings: CallerSettings;
  readonly decided?: { readonly profile: Profile };
  readonly systemFrom?: Layer;
  readonly seed?: number;
}

/** The most that an answer may have if its program sets no limit: it ends with the model's window. */
export const unlimitedTokens = 1_000_000;
/** The same where answers are paid for: what an answer may cost is reserved before it is sent. */
const unlimitedPaidTokens = 32_768;

/** The limit of an answer that is paid for. */
export const paidLimit = (maxTokens: number): number =>
  maxTokens >= unlimitedTokens ? unlimitedPaidTokens : maxTokens;

/** The options of a request on one model, each from the first layer that has it; a program's conversation has its own. Pure. */
export function forModel(resolved: Layers, model: string, own: OwnDefaults): ResolvedForModel {
  const { settings, decided, systemFrom = "request" } = resolved;
  const overrides = overridesOf(settings.models, model);
  const layers: readonly (readonly [Layer, Partial<Record<SampledName, number>> | undefined])[] = [
    ["request", resolved],
    ["profile", decided?.profile],
    ["models", overrides.options],
    ["settings", settings.options],
    ["model", own],
    ["default", settings.options],
  ];
  const from: Partial<Record<keyof ResolvedForModel["from"], Layer>> = {};
  const values: Partial<Record<SampledName, number>> = {};
  for (const name of sampled) {
    for (const [layer, given] of layers) {
      const value = given?.[name];
      // A default of the settings applies after the model's own.
      if (value === undefined || (layer === "settings" && settings.unset?.includes(name as never) === true)) continue;
      values[name] = value;
      from[name] = layer;
      break;
    }
  }
  const { maxTokens: limit = settings.options.maxTokens, ...others } = values;
  const { chat } = resolved;
  const maxTokens = chat === undefined ? limit : (resolved.maxTokens ?? own.maxTokens ?? unlimitedTokens);
  const sampling: SamplingOptions = chat?.sampling ?? others;
  const system = chat === undefined ? (resolved.system ?? overrides.system ?? own.system) : undefined;
  if (system !== undefined) from.system = layerOf(resolved.system, systemFrom, overrides.system, "models");
  const { numCtx } = settings.providers.ollama.options;
  const contextTokens = resolved.contextTokens ?? overrides.contextTokens ?? numCtx ?? own.contextTokens;
  if (contextTokens !== undefined) {
    const below = layerOf(overrides.contextTokens, "models", numCtx, "settings");
    from.contextTokens = resolved.contextTokens === undefined ? below : "request";
  }
  return {
    system,
    maxTokens,
    contextTokens,
    sampling: resolved.seed === undefined ? sampling : { ...sampling, seed: resolved.seed },
    from: chat === undefined ? from : {},
  };
}

const layerOf = (one: unknown, first: Layer, other: unknown, second: Layer): Layer =>
  one === undefined ? (other === undefined ? "model" : second) : first;

/** Per facts of a model, which are the same object as long as they are cached. */
const defaultsOf = new WeakMap<ModelFacts, OwnDefaults>();

/** Empty while its facts are not known. */
export function defaultsIn(facts: ModelFacts | undefined): OwnDefaults {
  if (facts === undefined) return {};
  const known = defaultsOf.get(facts);
  if (known !== undefined) return known;
  const { system, parameters = {} } = facts;
  const temperature = numberOf(parameters["temperature"]);
  // For Ollama 0 and less mean no limit, or the window: our defaults apply instead.
  const maxTokens = positiveOf(parameters["num_predict"]);
  const contextTokens = positiveOf(parameters["num_ctx"]);
  const own = {
    ...(system === undefined || system === "" ? {} : { system }),
    ...defined({ temperature, maxTokens, contextTokens }),
  };
  defaultsOf.set(facts, own);
  return own;
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

function positiveOf(value: unknown): number | undefined {
  const number = numberOf(value);
  return number !== undefined && Number.isSafeInteger(number) && number > 0 ? number : undefined;
}
