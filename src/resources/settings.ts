import { type ResourceContext, defineResource } from "./definition.ts";
import { samplingArguments } from "../orchestrator/api/sampling.ts";
import { snaked, snakedOnly } from "../orchestrator/util/values.ts";
import { OrchestratorError, UnknownMemory } from "../orchestrator/api/errors.ts";
import type { LearnedQuality } from "../orchestrator/api/facade-compare.ts";
import type { MemoryEntry } from "../orchestrator/api/facade-recall.ts";
import type { ShownProfile } from "../orchestrator/api/facade-route.ts";

const settings = defineResource({
  name: "settings",
  title: "Settings",
  description: "Every setting: value, where it comes from, meaning, allowed values and default. Secrets are masked.",
  uri: "ollm://settings",
  isTouchedBy: ({ kind }) => kind === "tools",
  async read(_variables, { orchestrator, caller }) {
    const { settings: access } = orchestrator;
    const shown = await access.show(caller);
    const rows = shown.map((setting) => ({ ...setting, ...access.describe(setting.path) }));
    return { settings: rows, problem: access.problem() };
  },
});

const template = defineResource({
  name: "template",
  title: "Prompt template",
  description: "One prompt template: text, variables, and settings for its answers.",
  uri: "ollm://templates/{name}",
  isTouchedBy: ({ kind }) => kind === "templates",
  async read(variables, { orchestrator, caller }) {
    const { aliases: _aliases, ...found } = await orchestrator.templates.get(caller, variables["name"] ?? "");
    return {
      ...found,
      variables: found.variables.map(({ isRequired, ...variable }) => ({ ...variable, required: isRequired })),
    };
  },
  async list({ orchestrator, caller }) {
    const { templates } = await orchestrator.templates.list(caller);
    return templates.map(({ name }) => ({ uri: `ollm://templates/${encodeURIComponent(name)}`, name }));
  },
});

const profiles = defineResource({
  name: "profiles",
  title: "Profiles",
  description: "The profiles (agents, kinds of work) that a request can name, with their models and sampling.",
  uri: "ollm://profiles",
  isTouchedBy: ({ kind }) => kind === "tools",
  read: async (_variables, context) => ({
    profiles: context.orchestrator.profiles.list(context.caller).map(profileData),
    learned: (await allLearned(context)).map(learnedData),
  }),
});

const profile = defineResource({
  name: "profile",
  title: "Profile",
  description: "One profile: its values with their sources, the model that would answer now, and what was learned.",
  uri: "ollm://profiles/{name}",
  async read(variables, context) {
    const found = context.orchestrator.profiles.get(context.caller, variables["name"] ?? "");
    const learned = await learnedFor(context, found);
    return { ...profileData(found), sources: found.sources, ...(await answering(context, found)), learned };
  },
  isTouchedBy: ({ kind }) => ["tools", "models", "memory"].includes(kind),
  // Not in `resources/list`: each is in `ollm://profiles`.
  values: async ({ orchestrator, caller }) => orchestrator.profiles.list(caller).map(({ profile: { name } }) => name),
});

function profileData({ profile: known }: ShownProfile) {
  return {
    ...snakedOnly(known, ["name", "description", "models", "families", "needs", "maxTokens", "system", "fallback"]),
    ...snakedOnly(known, ["maxLatencyMs", "minSuccessRate", "templates"]),
    min_context_tokens: known.contextTokens,
    ...samplingArguments(known),
    builds_on: known.base,
    matches: known.match ?? "profile",
  };
}

/**
 * The model that would answer a short request now, planned without effects; or why there is none. It has what the profile
 * needs: without images another model may answer for `vision`, but the profile is for those.
 */
async function answering({ orchestrator, caller }: ResourceContext, { profile: { name, needs } }: ShownProfile) {
  try {
    const asked = { prompt: "Hello", task: "general", profile: name, ...(needs && { needs }) } as const;
    const { model, engine, reason } = await orchestrator.planGeneration(caller, asked);
    return { answers: { model, engine, reason } };
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return { unavailable: error.message };
  }
}

/** The mean score of each model's answers to the profile's tasks; absent if nothing was learned. */
async function learnedFor(context: ResourceContext, { tasks }: ShownProfile) {
  const all = await allLearned(context);
  const learned = tasks.flatMap((task) => all.filter((each) => each.task === task).map(learnedData));
  return learned.length > 0 ? learned : undefined;
}

/** Profiles are shown even if preferences can't be read; the status has the reason. */
async function allLearned({ orchestrator, caller }: ResourceContext): Promise<readonly LearnedQuality[]> {
  return orchestrator.comparisons.learned(caller).catch(() => []);
}

function learnedData({ task, model, answers, score }: LearnedQuality) {
  return { task, model, answers: +answers.toFixed(2), score: +score.toFixed(2) };
}

/** Limit of entries; others are found by their key or a query. */
const maxEntries = 200;
/** Limit for all values together; clients would not accept a larger message. */
const maxCharacters = 1_000_000;

const memories = defineResource({
  name: "memory",
  title: "Memories",
  description: `Facts, preferences and context saved across sessions; the newest ${maxEntries}.`,
  uri: "ollm://memory",
  isTouchedBy: ({ kind }) => kind === "memories",
  async read(_variables, { orchestrator, caller }) {
    const { entries, total } = await orchestrator.memories.recall(caller, { limit: maxEntries });
    return { entries: entries.slice(0, fitting(entries)).map(memoryData), total };
  },
});

/** How many entries fit in `maxCharacters`. */
function fitting(entries: readonly MemoryEntry[]): number {
  let left = maxCharacters;
  const beyond = entries.findIndex(({ value, previous }) => {
    left -= value.length + (previous?.value.length ?? 0);
    return left < 0;
  });
  return beyond === -1 ? entries.length : beyond;
}

/** All data of an entry, for resources. */
function memoryData({ isPinned, previous, ...entry }: MemoryEntry) {
  return { ...snaked(entry), pinned: isPinned, previous: previous && snaked(previous) };
}

/** Limit of listed entries, because clients show every listed resource in their menus. */
const maxListed = 200;

const memoryEntry = defineResource({
  name: "memory-entry",
  title: "Memory",
  description: "One memory, by its percent-encoded key, with its previous value.",
  uri: "ollm://memory/{key}",
  isTouchedBy: ({ kind }) => kind === "memories",
  async read({ key = "" }, { orchestrator, caller }) {
    const [entry] = (await orchestrator.memories.recall(caller, { key })).entries;
    if (entry === undefined) throw new UnknownMemory(`nothing is remembered under ${key}`);
    return memoryData(entry);
  },
  async list(context) {
    const keys = await keysOf(context);
    return keys.slice(0, maxListed).map((key) => ({ uri: `ollm://memory/${encodeURIComponent(key)}`, name: key }));
  },
  values: keysOf,
});

/** Keys visible to the caller, newest first; a key in both the project and the global scope is listed once. */
async function keysOf({ orchestrator, caller }: ResourceContext): Promise<readonly string[]> {
  return [...new Set(await orchestrator.memories.matching(caller, { isAll: true }))];
}

/** What the user chose and saved. */
export const savedResources = [settings, profiles, profile, template, memories, memoryEntry] as const;
