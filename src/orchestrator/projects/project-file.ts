import * as z from "zod";
import type { ProfileSettings, ProjectFile } from "../api/types.ts";
import { profileName, profileSettings } from "../config/profile-settings.ts";
import { isProjectKind } from "../config/profiles.ts";
import { meantBy } from "../util/nearest.ts";
import { maxForeignTokens, parseYaml } from "../util/parse-yaml.ts";
import { defined, isRecord } from "../util/values.ts";

/** More than a person writes about a project. */
export const maxProjectBytes = 64 * 1024;
/** A system prompt costs its tokens with every request. */
const maxPromptCharacters = 16_000;
const maxNotes = 20;
/** More agents than a project has. */
const maxProfiles = 20;

export interface ReadProjectFile {
  /** The known and valid settings, approved or not. */
  readonly settings: ProjectFile;
  /** `model` → `/project/.ollm/project.yaml:2`, for those of `settings`. */
  readonly sources: Readonly<Record<string, string>>;
  /** What is ignored, and why: one sentence each. */
  readonly notes: readonly string[];
}

const text = z.string().trim().min(1);
const toolNames = z.array(z.string().trim().min(1).max(100)).max(200);

/** The keys of `.ollm/project.yaml`. Each is checked separately: an invalid one doesn't affect the others. */
const keys = {
  profile: text.max(100),
  model: text.max(300),
  systemPrompt: text.max(maxPromptCharacters),
  "tools.enabled": toolNames,
  "tools.disabled": toolNames,
  "routing.defaultProfile": text.max(100),
} as const;
const groups: ReadonlySet<string> = new Set(["tools", "routing"]);

/** Settings that only the user may set, because a project could use them to widen what is allowed. */
const usersOwn: ReadonlySet<string> = new Set(
  (
    "files privacy network providers host keys memory recall http registry store engines models options " +
    "queue jobs daemon log projects conversations schemaVersion"
  ).split(" "),
);

/**
 * Parses a project file. Never throws: a file that isn't YAML gives no settings; keys that are unknown, invalid or not
 * allowed in a project are ignored, with a note that starts with `file:line`. `profiles` are the names that
 * `profile` and `routing.defaultProfile` may have, besides those of the file itself; `tools` are those that exist.
 */
export async function readProjectFile(
  file: string,
  content: string,
  profiles: readonly string[],
  tools?: readonly string[],
): Promise<ReadProjectFile> {
  const parsed = await parseYaml(content, maxProjectBytes, maxForeignTokens);
  if ("problem" in parsed) {
    const where = parsed.line === undefined ? file : `${file}:${parsed.line}`;
    return { settings: {}, sources: {}, notes: [`${where}: ${parsed.problem}; the file is not used`] };
  }
  const { value, document, lines } = parsed;
  if (value === null) return { settings: {}, sources: {}, notes: [] };
  if (!isRecord(value)) {
    const notes = [`${file}: expected lines such as "profile: typescript"; the file is not used`];
    return { settings: {}, sources: {}, notes };
  }

  const notes: string[] = [];
  let ignored = 0;
  const ignore = (path: readonly string[], reason: () => string): void => {
    ignored += 1;
    // Finding lines and near names takes time, so only the first problems are described.
    if (notes.length < maxNotes) notes.push(`${whereOf(path)}: ${reason()}; it is ignored`);
  };
  const found = new Map<string, unknown>();
  const ownProfiles: Record<string, ProfileSettings> = {};
  const names = [...profiles, ...(isRecord(value["profiles"]) ? Object.keys(value["profiles"]) : [])];
  const sources: Record<string, string> = {};
  const whereOf = (path: readonly string[]): string => {
    const node = document.getIn(path, true) as { readonly range?: readonly number[] | null } | undefined;
    const at = node?.range?.[0];
    return at === undefined ? file : `${file}:${lines.linePos(at).line}`;
  };

  function take(path: readonly string[], given: unknown): void {
    const key = path.join(".");
    if (key === "profiles") return takeProfiles(given);
    if (!isKey(key)) {
      if (groups.has(key)) return takeGroup(path, given);
      // Reports the full path: `files.roots`.
      if (path.length < 3 && isRecord(given) && Object.keys(given).length > 0) return takeGroup(path, given);
      ignore(path, () => `${shown(key)} ${reasonAgainst(path)}`);
      return;
    }
    if (given === null) return;
    const checked = keys[key].safeParse(given);
    const problem = checked.success
      ? (wrongName(key, checked.data, names) ?? noKnownTool(key, checked.data, tools))
      : reasonOf(checked.error);
    if (problem !== undefined) {
      ignore(path, () => `${key} ${problem}`);
      return;
    }
    found.set(key, checked.data);
    sources[key] = whereOf(path);
  }

  function takeGroup(path: readonly string[], given: unknown): void {
    if (given === null) return;
    if (isRecord(given)) {
      for (const [key, inner] of Object.entries(given)) take([...path, key], inner);
      return;
    }
    ignore(path, () => `${path.join(".")} must be a section with keys`);
  }

  /** An invalid profile is ignored as a whole: a part of an agent would act otherwise than its author meant. */
  function takeProfiles(given: unknown): void {
    if (given === null) return;
    if (!isRecord(given)) return ignore(["profiles"], () => "profiles must be a section with keys");
    for (const [index, [name, profile]] of Object.entries(given).entries()) {
      const path = ["profiles", name];
      const checked = profileSettings.safeParse(profile);
      const problem = !profileName.safeParse(name).success
        ? "is not a name: write letters, digits, - and _, a letter first"
        : index >= maxProfiles
          ? `is more than the ${maxProfiles} profiles that a project may have`
          : checked.success
            ? undefined
            : reasonOf(checked.error);
      if (problem !== undefined || !checked.success) {
        ignore(path, () => `${shown(path.join("."))} ${problem ?? "is invalid"}`);
        continue;
      }
      // Drops keys that are undefined.
      ownProfiles[name] = JSON.parse(JSON.stringify(checked.data)) as ProfileSettings;
      for (const key of Object.keys(checked.data)) sources[[...path, key].join(".")] = whereOf([...path, key]);
    }
  }

  for (const [key, given] of Object.entries(value)) take([key], given);
  if (ignored > notes.length) notes.push(`${file}: ${ignored - notes.length} more keys are ignored`);
  const settings = settingsOf(found);
  const hasProfiles = Object.keys(ownProfiles).length > 0;
  return { settings: { ...settings, ...(hasProfiles && { profiles: ownProfiles }) }, sources, notes };
}

type Key = keyof typeof keys;

function isKey(key: string): key is Key {
  return Object.hasOwn(keys, key);
}

function settingsOf(found: ReadonlyMap<string, unknown>): ProjectFile {
  const get = (key: Key) => found.get(key) as string | undefined;
  const list = (key: Key) => found.get(key) as readonly string[] | undefined;
  const [profile, model, systemPrompt] = [get("profile"), get("model"), get("systemPrompt")];
  const [enabled, disabled] = [list("tools.enabled"), list("tools.disabled")];
  const defaultProfile = get("routing.defaultProfile") ?? (isProjectKind(profile) ? undefined : profile);
  return {
    ...defined({ profile, model, systemPrompt }),
    ...((enabled ?? disabled) && { tools: { ...(enabled && { enabled }), ...(disabled && { disabled }) } }),
    ...(defaultProfile !== undefined && { routing: { defaultProfile } }),
  };
}

/** What is wrong with a profile's name, and the allowed or nearest names; undefined for a known one. */
function wrongName(key: Key, value: unknown, profiles: readonly string[]): string | undefined {
  if (key !== "profile" && key !== "routing.defaultProfile") return undefined;
  if (typeof value !== "string" || profiles.includes(value)) return undefined;
  return `is ${shown(value)}${meantBy(value, profiles, `, allowed: ${profiles.join(", ")}`, ", ")}`;
}

/**
 * Why a list of tools is not used, if it names none that exists. Else `enabled` would hide all of them, and the user would
 * be asked about it.
 */
function noKnownTool(key: Key, value: unknown, tools: readonly string[] | undefined): string | undefined {
  if (key !== "tools.enabled" || tools === undefined || !Array.isArray(value)) return undefined;
  const given = value.map(String);
  if (given.some((name) => tools.includes(name))) return undefined;
  if (given.length === 0) return "names no tool";
  const names = `${given.slice(0, 3).map(shown).join(", ")}${given.length > 3 ? ` and ${given.length - 3} more` : ""}`;
  return `names no tool that exists (${names})${meantBy(given[0] ?? "", tools, "", ", ")}`;
}

function reasonAgainst(path: readonly string[]): string {
  const [first = ""] = path;
  if (usersOwn.has(first)) return "can only be set by the user, not by a project";
  return `is not a key of a project file${meantBy(path.join("."), [...Object.keys(keys), "profiles"], "", ", ")}`;
}

function reasonOf(error: z.ZodError): string {
  const [issue] = error.issues;
  if (issue === undefined) return "is invalid";
  const at = issue.path.length === 0 ? "" : `[${issue.path.map(String).join(".")}] `;
  switch (issue.code) {
    case "invalid_type":
      return `${at}must be ${issue.expected === "array" ? "a list of names" : "text"}`;
    case "too_big":
      return `${at}is longer than ${issue.maximum} ${issue.origin === "array" ? "names" : "characters"}`;
    case "too_small":
      return `${at}is empty`;
    default:
      return `${at}${issue.message}`;
  }
}

/** A name from the file, shortened and without control characters. */
function shown(name: string): string {
  const clean = JSON.stringify(name);
  return /^"[\w.-]{1,60}"$/.test(clean) ? clean.slice(1, -1) : `${clean.slice(0, 60)}${clean.length > 60 ? "..." : ""}`;
}
