import { parseOllamaHost } from "../util/ollama-host.ts";
import { ollamaServers } from "./ollama-servers.ts";
import { trustOf } from "./openai-servers.ts";
import { at, findSetting, leafPaths } from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { isRecord } from "../util/parse-json.ts";

/** Why settings need consent, by the beginning or end of their path; the first that matches. Completes "and". */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/\.(?:system|description|templates)$/, "other clients and models read its text"],
  [/^memory\.|\.(?:sizeBytes|memoryBytes)$/, "it could fill this machine's memory, or keep models from loading"],
  [/^(?:conversations|jobs)\./, "it decides when kept conversations and results are deleted"],
  [/^queue\./, "it could refuse requests of other clients"],
  [/^daemon\./, "it could end the daemon between two calls"],
  [/^checks\b/, "it names programs that run on this machine"],
  [/^tools\./, "it decides which tools are offered"],
  [/^log\./, "it decides what is written to the logs"],
  [/^savings\./, "it changes how savings are counted"],
  [/\.(?:prices|monthlyBudget)\b/, "it decides what may be spent"],
  [
    /^model\.(?:routing\.maxSwitchSeconds|judge)$|^schemaVersion$/,
    "it is not one of those that an assistant may change alone",
  ],
  [/^/, "it may widen network or file access"],
];
const leavesThisMachine = "it could send later prompts to a paid or remote model";
/** A name of a model, family or profile, or a pattern of them: no sentence fits into it. */
const plainName = /^[\w.:/@+*?[\]{},!-]{1,120}$/;
const replaces = "it replaces all that the settings have there";
const isNoName = "other clients read its text";

/** Whether any engine of these settings may be paid for, or may be on another machine. */
function hasRemoteEngines({ privacy, providers: { ollama, openai } }: Settings): boolean {
  return (
    privacy !== "local_only" ||
    ollamaServers(ollama).some(({ host }) => !parseOllamaHost(host).isLoopback) ||
    openai.some((entry) => trustOf(entry) === "remote" || /"(?:prices|monthlyBudget)"/.test(JSON.stringify(entry)))
  );
}

/** All texts in a value, with the keys of its records. */
function textsIn(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) => [key, ...textsIn(each)]);
}

/** Why a setting of the schema at `leaf`, changed to `value`, needs consent; undefined if it doesn't. */
function whyAskForLeaf(leaf: readonly string[], value: unknown, isRemotePossible: () => boolean): string | undefined {
  const name = leaf.join(".");
  const free = findSetting(settingsSchema, leaf)?.free;
  const guarded = reasons.find(([pattern]) => pattern.test(name))?.[1];
  if (free === undefined) return guarded;
  if (typeof free === "object") {
    const isEnough = value === undefined || (typeof value === "number" && (value >= free.min || value === -1));
    return isEnough ? undefined : guarded;
  }
  const isCloud = (): boolean => textsIn(value).some((text) => /[:-]cloud$/i.test(text));
  if (free === "always" || !(isRemotePossible() || isCloud())) return undefined;
  return name.endsWith(".maxTokens") ? "it decides what may be spent" : leavesThisMachine;
}

let leaves: readonly (readonly string[])[] | undefined;

/**
 * Why an assistant may set `path` to `value`, or unset it (undefined), only after asking the user; undefined where it need
 * not. `settings` are those in force.
 */
export function whyAskFor(path: readonly string[], value: unknown, settings: readonly Settings[]): string | undefined {
  leaves ??= leafPaths(settingsSchema);
  const isRemotePossible = (): boolean => settings.some(hasRemoteEngines);
  const touched = leaves.filter((leaf) =>
    leaf.every((key, index) => index >= path.length || key === "*" || key === path[index]),
  );
  const whys = (touched.length === 0 ? [path] : touched).flatMap((leaf) => {
    const rest = leaf.slice(path.length);
    const part = isRecord(value) && !rest.includes("*") ? at(value, rest) : value;
    const why = whyAskForLeaf(leaf, part, isRemotePossible);
    return why === undefined ? [] : [value !== undefined && part === undefined ? replaces : why];
  });
  const first = whys.find((why) => why !== replaces);
  if (first !== undefined) return first;
  // The keys in a path are texts, too: patterns of models.
  const keys = path.filter((_key, index) => touched.some((leaf) => leaf[index] === "*"));
  return [...keys, ...textsIn(value)].every((text) => plainName.test(text)) ? whys[0] : isNoName;
}
