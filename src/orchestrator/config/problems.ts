import * as z from "zod";
import { InvalidConfig } from "../api/errors.ts";
import type { SettingsAccess } from "../api/facade-status.ts";
import { taskOf } from "../api/facade-route.ts";
import { type CallerProject, taskNames } from "../api/types.ts";
import { advice } from "../api/next-step.ts";
import { findProfile, profileNames } from "./profiles.ts";
import { hideKeys, looksLikeKey } from "../util/control-characters.ts";
import { sameModel } from "../util/model-name.ts";
import { meantBy } from "../util/nearest.ts";
import { pastedKey } from "./openai-servers.ts";
import {
  type FoundSetting,
  type Sources,
  type Tree,
  at,
  formatPath,
  nearestTo,
  parsePath,
  put,
  settingPaths,
} from "./paths.ts";
import { type Settings, settingsSchema } from "./schema.ts";
import { shownValue } from "./shown.ts";
import { defined, isRecord, getOrInsert } from "../util/values.ts";

/** More problems than these are only counted. */
const maxProblems = 10;

/**
 * The settings with all defaults. Throws `InvalidConfig` with the source, path and value of each invalid value, what is
 * allowed, and the nearest key.
 */
export function parseSettings(tree: Tree, sources: Sources, file: string): Settings {
  const parsed = settingsSchema.safeParse(tree);
  if (parsed.success) return withKnownProfile(parsed.data, sources, file);
  const { issues } = parsed.error;
  const count = issues.reduce(
    (total, issue) => total + (issue.code === "unrecognized_keys" ? issue.keys.length : 1),
    0,
  );
  const problems = issues.slice(0, maxProblems).flatMap((issue) => problemsOf(issue, tree, sources, file));
  const rest = count > maxProblems ? [`and ${count - maxProblems} more`] : [];
  throw new InvalidConfig([...problems.slice(0, maxProblems), ...rest].join("; "), {
    next: advice("correct the value where it is set"),
    cause: parsed.error,
    isOfProcess: issues.some(({ path }) => isOfProcess(sourceOf(path.map(String), sources))),
  });
}

/** Whether a source is a variable or a flag, not a file. */
function isOfProcess(source: string | undefined): boolean {
  return /^(?:OLLM_|OLLAMA_|--)/.test(source ?? "");
}

/** Throws `InvalidConfig` for a default profile that doesn't exist. */
function withKnownProfile(settings: Settings, sources: Sources, file: string): Settings {
  const { model, profiles } = settings;
  const name = model.routing.defaultProfile;
  if (Object.hasOwn(profiles, name) || findProfile(name) !== undefined) return settings;
  const path = ["model", "routing", "defaultProfile"];
  const names = profileNames(profiles);
  throw new InvalidConfig(
    `${sourceOf(path, sources) ?? file}: ${formatPath(path)} is ${shownValue(path, name)}; allowed: ${names.join(", ")}${meantBy(name, names)}`,
    { next: advice("correct the value where it is set"), isOfProcess: isOfProcess(sourceOf(path, sources)) },
  );
}

function problemsOf(
  issue: z.ZodError["issues"][number],
  tree: Tree,
  sources: Sources,
  file: string,
): readonly string[] {
  const path = issue.path.map(String);
  const where = sourceOf(path, sources) ?? file;
  if (issue.code === "invalid_union") {
    // Of the alternatives, the one that the value resembles.
    const meant = issue.errors.find((errors) =>
      errors.some(({ path: inner, code }) => inner.length > 0 || code === "unrecognized_keys"),
    );
    if (meant !== undefined) {
      return meant.flatMap((each) => problemsOf({ ...each, path: [...issue.path, ...each.path] }, tree, sources, file));
    }
  }
  if (issue.code === "unrecognized_keys") {
    return issue.keys.flatMap((key, index) => {
      const full = [...path, key];
      const line = sources.get(formatPath(full)) ?? where;
      const name = formatPath([...path, hideKeys(key)]);
      if (isPastedKey(key, at(tree, full))) return [`${line}: ${name} is not a setting: ${pastedKey}`];
      const nearest = index < maxProblems ? nearestTo(settingsSchema, key, full) : "";
      return [`${line}: ${name} is not a setting${nearest}`];
    });
  }
  const value = at(tree, path);
  const is = `${where}: ${formatPath(path)} is ${value === null ? "empty" : shownValue(path, value)}`;
  if (issue.code === "invalid_key") {
    const why = issue.issues[0]?.code === "custom" ? `: ${issue.issues[0].message}` : " is empty";
    return [`${where}: the key ${formatPath(path)}${why}`];
  }
  if (issue.code === "custom") return [`${is}: ${issue.message}`];
  const options = issue.code === "invalid_value" ? issue.values.map(String) : [];
  const meant = typeof value === "string" ? meantBy(value, options) : "";
  const isEmpty = issue.code === "too_small" && issue.origin === "string";
  const allowed = isEmpty ? "text that is not empty" : allowedText(schemaNodeAt(settingsSchema, path));
  return [`${is}; allowed: ${allowed}${meant}`];
}

/** Whether an unknown key of a server was meant to hold its API key. */
function isPastedKey(key: string, value: unknown): boolean {
  return (
    looksLikeKey(key) ||
    (typeof value === "string" && (/^(?:api[-_]?)?(?:key|token|secret)$/i.test(key) || looksLikeKey(value)))
  );
}

/** The source of a value, or of the nearest section around it. */
function sourceOf(path: readonly string[], sources: Sources): string | undefined {
  for (let length = path.length; length >= 0; length -= 1) {
    const source = sources.get(formatPath(path.slice(0, length)));
    if (source !== undefined) return source;
  }
  return undefined;
}

/** Message for an invalid `config.yaml` while the previous settings stay in force. */
export function settingsProblem(message: string): string {
  return `${message}; the previous settings stay in force until it is corrected`;
}

/** One sentence for each value that matches the schema but has no effect. */
export function settingsNotes({ model, models, profiles }: Settings, sources: Sources): readonly string[] {
  const note = (path: readonly string[], problem: string, written: string, names: readonly string[]): string => {
    const where = sources.get(formatPath(path)) ?? sources.get(formatPath(path.slice(0, -1)));
    return `${where === undefined ? "" : `${where}: `}${formatPath(path)} ${problem}${meantBy(written, names)}`;
  };
  const unknownTasks = Object.keys(model.routing.overrides)
    .filter((key) => taskOf(key) === undefined)
    .map((key) =>
      note(
        ["model", "routing", "overrides", key],
        `is never used: the tasks are ${taskNames.join(", ")}`,
        key,
        taskNames,
      ),
    );
  const names = profileNames(profiles);
  const unknownProfile = (path: readonly string[], named: unknown): readonly string[] =>
    typeof named !== "string" || names.includes(named)
      ? []
      : [note(path, `names ${named}, which is not a profile`, named, names)];
  const unknownProfiles = [
    ...Object.entries(profiles).flatMap(([name, profile]) =>
      (["extends", "fallback"] as const).flatMap((key) => unknownProfile(["profiles", name, key], profile[key])),
    ),
    ...Object.entries(models).flatMap(([pattern, { profiles: meant = [] }]) =>
      meant.flatMap((named) => unknownProfile(["models", pattern, "profiles"], named)),
    ),
  ];
  return [...unknownTasks, ...unknownProfiles, ...circles(profiles)];
}

/** A note on a model that was not `installed` when the models were last listed: requests use another until it is. */
export function absentModel(
  { setting, value }: { readonly setting: FoundSetting; readonly value: unknown },
  { model, providers }: Settings,
  installed: readonly { readonly name: string }[] | undefined,
): readonly string[] {
  const isModel = /^model\.(?:default$|routing\.overrides\.)/.test(setting.path.join("."));
  // The list has no models of further engines.
  if (!isModel || typeof value !== "string" || installed === undefined || providers.openai.length > 0) return [];
  if (installed.some(({ name }) => sameModel(name, value))) return [];
  const until = model.routing.enabled ? "other models answer" : "requests that name no model fail";
  return [`${value} was not installed when models were last listed: until it is, ${until}`];
}

/** One sentence for each profile that extends itself by way of others. */
function circles(profiles: Settings["profiles"]): readonly string[] {
  const parentOf = (name: string) => (Object.hasOwn(profiles, name) ? profiles[name]?.extends : undefined);
  return Object.keys(profiles).flatMap((name) => {
    const seen = new Set<string>();
    let parent = parentOf(name);
    while (parent !== undefined && parent !== name && !seen.has(parent)) {
      seen.add(parent);
      parent = parentOf(parent);
    }
    // A built-in profile may be refined under its own name.
    const isCircle = parent === name && !(seen.size === 0 && findProfile(name) !== undefined);
    return isCircle ? [`${formatPath(["profiles", name])} extends itself, so its extends is not used`] : [];
  });
}

/** A part of the settings schema, as JSON Schema. */
interface SchemaNode {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
}

/** By the schema that they are made from, which takes milliseconds. */
const schemaNodes = new WeakMap<z.ZodObject, SchemaNode>();

/** The schema at a path; for a record's key or a list's item, the schema of all of them. Empty where there is none. */
export function schemaNodeAt(schema: z.ZodObject, path: readonly string[]): SchemaNode {
  const root = getOrInsert(schemaNodes, schema, () => z.toJSONSchema(schema, { io: "input" }) as SchemaNode);
  return path.reduce<SchemaNode>((node, key) => {
    const { properties = {}, additionalProperties, items } = node;
    if (Object.hasOwn(properties, key)) return properties[key] ?? {};
    return (typeof additionalProperties === "object" ? additionalProperties : items) ?? {};
  }, root);
}

/** The allowed values in words: `whole number from 256`, `local_only, allow_remote`. */
export function allowedText(node: SchemaNode): string {
  if (node.enum !== undefined) return node.enum.join(", ");
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.anyOf !== undefined) return node.anyOf.map(allowedText).join(" or ");
  switch (node.type) {
    case "boolean":
      return "true, false";
    case "integer":
    case "number": {
      const what = node.type === "integer" ? "whole number" : "number";
      const from = node.minimum === undefined ? ` above ${node.exclusiveMinimum}` : ` from ${node.minimum}`;
      const has = node.maximum !== undefined && node.maximum !== Number.MAX_SAFE_INTEGER;
      return `${what}${from}${has ? ` to ${node.maximum}` : ""}`;
    }
    case "array":
      return "list";
    case "object":
      return node.properties === undefined ? "record" : `section of ${Object.keys(node.properties).join(", ")}`;
    default:
      return "text";
  }
}

const kinds = {
  boolean: "boolean",
  number: "number",
  string: "text",
  list: "list",
  commaList: "list",
  record: "json",
  entryList: "json",
  section: "json",
} as const;

/** What a setting means and takes. Throws `InvalidRequest` for an unknown path. */
export function describedSetting(text: string): ReturnType<SettingsAccess["describe"]> {
  const { path, type } = parsePath(settingsSchema, text);
  const node = schemaNodeAt(settingsSchema, path);
  const choices = (node.items ?? node).enum?.map(String);
  const own = settingPaths(settingsSchema).find((each) => formatPath(each.path) === formatPath(path));
  return {
    kind: (node.items ?? node).anyOf === undefined ? kinds[type] : "json",
    allowed: type === "list" ? "list of folders" : allowedText(node),
    ...defined({ description: node.description, choices, default: node.default }),
    ...(own !== undefined && { variable: own.environmentName }),
  };
}

/**
 * Overrides the file's settings with a project's. Not `tools`: tools that a project hides stay hidden, whatever other
 * sources set (`tools/tool-sets.ts`).
 */
export function addProject(tree: Tree, project: CallerProject | undefined, sources: Sources): void {
  const { model, routing, profiles = {} } = project?.settings ?? {};
  const where = (key: string): string => project?.sources?.[key] ?? project?.file ?? "project";
  if (model !== undefined) put(tree, ["model", "default"], model, where("model"), sources);
  for (const [name, profile] of Object.entries(profiles)) {
    for (const [key, value] of Object.entries(profile)) {
      put(tree, ["profiles", name, key], value, where(`profiles.${name}.${key}`), sources);
    }
  }
  // A profile of the project itself does not exist until the user has approved it.
  if (routing?.defaultProfile !== undefined && isProfileOf(tree, routing.defaultProfile)) {
    const key = project?.sources?.["routing.defaultProfile"] === undefined ? "profile" : "routing.defaultProfile";
    put(tree, ["model", "routing", "defaultProfile"], routing.defaultProfile, where(key), sources);
  }
}

function isProfileOf({ profiles }: Tree, name: string): boolean {
  return findProfile(name) !== undefined || (isRecord(profiles) && Object.hasOwn(profiles, name));
}
