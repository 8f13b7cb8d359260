import { InvalidRequest } from "../api/errors.ts";
import type { ShownProfile } from "../api/facade-route.ts";
import {
  type CallerContext,
  type Profile,
  type ProfileSettings,
  type ProjectKind,
  type Task,
  tasks,
} from "../api/types.ts";
import { didYouMean } from "../util/nearest.ts";
import { defined } from "../util/values.ts";
import rows from "./profiles.json" with { type: "json" };

function named<Name extends string>(profiles: Readonly<Record<Name, object>>) {
  const entries = Object.entries<object>(profiles).map(([name, row]) => [name, { name, ...row }]);
  return Object.fromEntries(entries) as Readonly<Record<Name, Profile>>;
}

/**
 * - `published`: those of the published rules.
 * - `roles`: those of agents. Families, window and fallback are the same for all that write text, so that one loaded model
 *   serves them all; families with multimodal models of common sizes (gemma) are left to `vision` and `audio`, which share
 *   one, too. Temperatures: the OpenAI API reference calls 0.2 "focused and deterministic" and 0.8 "more random"; the model
 *   cards of Llama 3.1 (0.6), Qwen2.5 (0.7) and Mistral 7B (0.7) use values between for conversation. That a page or
 *   transcript is data and no instruction follows OWASP LLM01, prompt injection.
 * - `tasks`: that of the task of its name. Its window is that of Llama 2, which the published rules name for it.
 * - `kinds`: those of detected projects. In one language they take models of the published profile `code`, in the order of
 *   pass@1 at 7B in the technical report of Qwen2.5-Coder (MultiPL-E: TypeScript, Python, Rust, Go).
 */
const ofRules: Readonly<Record<string, Profile>> = named(rows.published);
const ofTasks = named(rows.tasks);
const kinds: Readonly<Record<ProjectKind, Profile>> = named(rows.kinds);
const builtIn: Readonly<Record<string, Profile>> = { ...ofRules, ...named(rows.roles), ...ofTasks, ...kinds };

type Custom = Readonly<Record<string, ProfileSettings>>;
const none: Custom = {};

/** The profiles of each (immutable) settings object: every request looks one up. */
const merged = new WeakMap<Custom, Map<string, Profile | undefined>>();

/**
 * The profile of that name: the built-in one, overridden and completed by those of the settings. Undefined for an unknown
 * name, including `constructor`.
 */
export function findProfile(name: string, custom: Custom = none): Profile | undefined {
  let known = merged.get(custom);
  if (known === undefined) merged.set(custom, (known = new Map()));
  if (!known.has(name)) {
    const layers = layersOf(name, custom);
    if (layers === undefined) return undefined;
    known.set(name, merge(layers));
  }
  return known.get(name);
}

/**
 * Whether a project that its user hasn't approved may make the profile its default: published profiles only rank models,
 * and the prompt of a kind is ours. A role's prompt, or that of a profile of the user's own, would change every answer.
 */
export function needsNoApproval(name: string): boolean {
  return [ofRules, ofTasks, kinds].some((each) => Object.hasOwn(each, name));
}

/** What a profile is made of. */
interface Layers {
  /** A built-in profile, or what a new one begins with. */
  readonly whole: Profile;
  /** Settings over it, those of the profile itself first. */
  readonly above: readonly { readonly name: string; readonly values: Omit<ProfileSettings, "extends"> }[];
}

/** Built-in < the profiles that it extends < its own settings. */
function merge({ whole, above }: Layers): Profile {
  return above.reduceRight<Profile>((below, { name, values }) => {
    const base = below.base ?? (below.match === undefined && below.name !== name ? below.name : undefined);
    return { ...below, ...values, name, ...defined({ base }) };
  }, whole);
}

/** An unknown or circular `extends` counts as absent. Undefined for an unknown name. */
function layersOf(name: string, custom: Custom, seen: ReadonlySet<string> = new Set()): Layers | undefined {
  const mine = own(custom, name);
  const published = own(builtIn, name);
  const last = published && { whole: published, above: [] };
  if (mine === undefined || seen.has(name)) return last;
  const { extends: parent, ...values } = mine;
  const extended = parent === undefined ? undefined : layersOf(parent, custom, new Set([...seen, name]));
  const { whole, above } = extended ?? last ?? { whole: startOf(mine), above: [] };
  return { whole, above: [{ name, values }, ...above] };
}

/** A profile with the source of each value. */
export function shownProfile(name: string, { settings, configured }: CallerContext): ShownProfile {
  const profile = profileNamed(name, settings.profiles);
  const { whole, above } = layersOf(name, settings.profiles) ?? { whole: profile, above: [] };
  const builtInAs = [name, ""].includes(whole.name) ? "built-in" : `built-in ${whole.name}`;
  const sourceOf = (key: string): string => {
    const layer = above.find(({ values }) => Object.hasOwn(values, key));
    if (layer === undefined) return builtInAs;
    const path = `profiles.${layer.name}`;
    const { sources } = configured ?? {};
    return sources?.get(`${path}.${key}`) ?? sources?.get(path) ?? sources?.get("profiles") ?? path;
  };
  const { model, profiles: custom } = settings;
  const kind = isProjectKind(name) ? name : undefined;
  const served = tasks.filter((task) => profileForTask(task, model.routing.defaultProfile, custom, kind) === name);
  return {
    profile,
    sources: Object.fromEntries(Object.keys(profile).map((key) => [key, sourceOf(key)])),
    tasks: served.length > 0 ? served : tasks,
  };
}

/** What a new profile that extends none begins with. */
function startOf({ families, models, needs }: ProfileSettings): Profile {
  const start = { name: "", families: [], contextTokens: 0, fallback: "general" };
  if (families !== undefined || models !== undefined) return { ...start, match: "families" };
  if (needs !== undefined) return { ...start, match: "any" };
  return ofRules["general"] ?? start;
}

function own<Value>(record: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

/** All names: the published profiles, the roles, the kinds of projects, then those of the settings. */
export function profileNames(custom: Readonly<Record<string, unknown>> = none): readonly string[] {
  return [...new Set([...Object.keys(builtIn), ...Object.keys(custom)])];
}

/** Throws `InvalidRequest` with the nearest name for an unknown one. */
export function profileNamed(name: string, custom: Custom = none): Profile {
  const profile = findProfile(name, custom);
  if (profile !== undefined) return profile;
  const names = profileNames(custom);
  throw new InvalidRequest(`unknown profile "${name}"; allowed: ${names.join(", ")}`, {
    next: didYouMean(name, names, 1),
  });
}

/** The profile, or the chain of models, that serves where no model matches. */
export function fallbackOf({ name, fallback }: Profile, custom: Custom = none): Profile | undefined {
  if (fallback === undefined) return undefined;
  if (typeof fallback === "string") return findProfile(fallback, custom);
  return { name, families: [], contextTokens: 0, models: fallback, match: "families" };
}

/** Whether it is the name of a kind of project: `typescript`. */
export function isProjectKind(name: string | undefined): name is ProjectKind {
  return name !== undefined && Object.hasOwn(kinds, name);
}

/** The profile of each task; `byDefault` is the profile for prompts that match no other. */
const byDefault = undefined;
const profileOfTask: Readonly<Record<Task, string | undefined>> = {
  code: "code",
  debugging: "code",
  code_review: "code",
  creative: "creative",
  fast: "fast",
  transcription: "audio",
  reasoning: "reasoning",
  summarization: byDefault,
  extraction: byDefault,
  translation: byDefault,
  question_answering: byDefault,
  general: byDefault,
  vision: byDefault,
  embedding: byDefault,
};

/**
 * The profile of a task; tasks without one of their own take `defaultProfile`. So does a task whose profile the default
 * one builds on. A task's profile that builds on another one replaces only that one. The `kind` of the project takes only
 * what the profile that it builds on would take: in a TypeScript project code is for `typescript`, and a question is not.
 */
export function profileForTask(task: Task, defaultProfile: string, custom: Custom = none, kind?: ProjectKind): string {
  const name = profileWithoutKind(task, defaultProfile, custom);
  return kind !== undefined && findProfile(kind, custom)?.base === name ? kind : name;
}

function profileWithoutKind(task: Task, defaultProfile: string, custom: Custom): string {
  const profile = profileOfTask[task];
  if (profile === undefined) {
    // The language of a project says which model writes its code, not which one translates a letter.
    return isProjectKind(defaultProfile) && findProfile(defaultProfile, custom)?.base === "code"
      ? "general"
      : defaultProfile;
  }
  if (findProfile(defaultProfile, custom)?.base === profile) return defaultProfile;
  const replaced = findProfile(profile)?.base ?? defaultProfile;
  return replaced === defaultProfile ? profile : defaultProfile;
}
