import type { CallerProject, ProfileSettings, ProjectFile } from "../api/types.ts";
import { isProjectKind } from "../config/profiles.ts";
import { type FolderState, askedProfile } from "./folder-state.ts";
import { type OllmFolder, type promptFolders, oneLine } from "./ollm-folder.ts";
import { defined } from "../util/values.ts";

/** The name that `use` takes in place of a kind or profile to switch both off. */
export const noProfile = "none";

/**
 * The project of a folder as it applies to a caller. Pure. `model`, `systemPrompt`, `profiles` and templates need approval. A
 * published `profile` only ranks models and `tools` only hides tools, so both apply without it, except for tools that work needs.
 */
export function callerProject(
  state: FolderState,
  rules: {
    readonly isApproved: boolean;
    /** Whether the detected kind applies where there is no file. */
    readonly detects: boolean;
    readonly used?: string;
  },
): CallerProject {
  const { folder, ollm, read, detected } = state;
  const isTrusted = state.needed === undefined || rules.isApproved;
  const waiting = isTrusted
    ? undefined
    : `${folder} sets ${state.needed}: not used until the user approves the project`;
  const { settings, sources } = settingsOf(state, isTrusted, rules);
  return {
    folder,
    ...(detected && { kind: detected.kind }),
    evidence: detected?.evidence ?? [],
    ...(ollm.file && { file: ollm.file.path }),
    isTrusted,
    settings,
    ...(rules.used === undefined &&
      settings.profile !== undefined &&
      ollm.file === undefined && { isProfileDetected: true }),
    sources,
    ...defined({ templatesFolder: ollm.templatesFolder, pipelinesFolder: ollm.pipelinesFolder }),
    ...(isTrusted && { templates: ollm.templates.map(({ path: file, sha256 }) => ({ file, sha256 })) }),
    ...(waiting !== undefined && { waiting, ...defined({ waitingDigest: ollm.digest }) }),
    notes: [...ollm.notes, ...read.notes, ...(waiting === undefined ? [] : [waiting])],
  };
}

function settingsOf(
  { read, ollm, detected }: FolderState,
  isTrusted: boolean,
  { detects, used }: { readonly detects: boolean; readonly used?: string },
): { readonly settings: ProjectFile; readonly sources: Readonly<Record<string, string>> } {
  const { model, systemPrompt, tools, profile, profiles, routing } = read.settings;
  const narrowing = tools === undefined ? {} : { tools };
  if (used === noProfile) return { settings: narrowing, sources: read.sources };
  const trusted = isTrusted ? { ...defined({ model, systemPrompt, profiles }) } : {};
  const name = used ?? profile ?? (ollm.file === undefined && detects ? detected?.kind : undefined);
  // A kind says what the project is, not that every request is about it.
  const named = isProjectKind(name) ? undefined : name;
  const written =
    isTrusted || askedProfile(read.settings) === undefined ? (routing?.defaultProfile ?? named) : undefined;
  const defaultProfile = used === undefined ? written : named;
  const origin: Record<string, string> = { ...read.sources };
  if (used !== undefined || ollm.file === undefined) {
    delete origin["routing.defaultProfile"];
    origin["profile"] = used === undefined ? `detected: ${detected?.evidence[0] ?? ""}` : "this connection";
  }
  return {
    settings: {
      ...defined({ profile: name }),
      ...trusted,
      ...narrowing,
      ...(defaultProfile !== undefined && { routing: { defaultProfile } }),
    },
    sources: origin,
  };
}

const maxPromptCharacters = 1_200;
/** The question after the prompt must stay visible. */
const maxPromptLines = 30;
const maxListed = 12;

/** The question for the user: what an approval of the project would put in force, with the file's texts quoted. */
export function questionFor({ folder, read: { settings }, ollm: { templates }, hidden: tools }: FolderState): string {
  const { model, systemPrompt } = settings;
  const profile = askedProfile(settings);
  return [
    `The project ${oneLine(folder)} has settings that need your approval. Approve them only if you trust their source.`,
    ...(model === undefined ? [] : [`Model: ${oneLine(model)}`]),
    ...(systemPrompt === undefined ? [] : ["System prompt of all requests:", quoted(systemPrompt)]),
    ...(profile === undefined ? [] : [`Profile of all requests: ${oneLine(profile)}`]),
    ...Object.entries(settings.profiles ?? {}).flatMap(profileLines),
    ...(tools.length === 0 ? [] : [`Tools hidden from assistants: ${tools.join(", ")}`]),
    ...promptLines("Templates (prompts, in .ollm/templates)", templates, "templates"),
    ...promptLines("Pipelines (prompts in steps, in .ollm/pipelines)", templates, "pipelines"),
    "Use them?",
  ].join("\n");
}

function promptLines(what: string, all: OllmFolder["templates"], of: (typeof promptFolders)[number]) {
  const names = all.filter(({ kind }) => kind === of).map(({ name }) => oneLine(name));
  if (names.length === 0) return [];
  const more = names.length - maxListed;
  return [`${what}: ${names.slice(0, maxListed).join(", ")}${more > 0 ? ` and ${more} more` : ""}`];
}

/** A profile with all that it sets; system prompts are quoted like that of the project. */
function profileLines([name, { system, ...values }]: readonly [string, ProfileSettings]): readonly string[] {
  const set = Object.keys(values).length === 0 ? "" : `: ${oneLine(JSON.stringify(values))}`;
  return [
    `Profile ${oneLine(name)}${set}`,
    ...(system === undefined ? [] : [`System prompt of profile ${oneLine(name)}:`, quoted(system)]),
  ];
}

function quoted(text: string): string {
  const lines = text.slice(0, maxPromptCharacters).split(/\r\n|[\n\r\u2028\u2029]/);
  const shown = lines.slice(0, maxPromptLines);
  const hidden = lines.slice(maxPromptLines).map((line) => line.length + 1);
  const rest = hidden.reduce((sum, length) => sum + length, Math.max(0, text.length - maxPromptCharacters));
  return [
    ...shown.map((line) => `> ${oneLine(line)}`),
    ...(rest > 0 ? [`> ... ${rest} more characters; read the file before you approve it`] : []),
  ].join("\n");
}
