import type { CallerProject, ProjectFile } from "../api/facade-projects.ts";
import { kindOf, profileOfKind } from "./detect.ts";
import type { FolderState } from "./folder-state.ts";
import { profileNamed } from "./project-file.ts";
import { waitingParts } from "./question.ts";

/** The name that `use` takes in place of a kind or profile to switch both off. */
export const noProfile = "none";

/**
 * The project of a folder as it applies to a caller. Pure. `model`, `systemPrompt` and templates need approval. `profile`
 * only ranks models and `tools` only hides tools, so both apply without it, except for `neededTools`.
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
  const parts = waitingParts(read.settings, ollm);
  const isTrusted = parts === undefined || rules.isApproved;
  const waiting = isTrusted ? undefined : `${folder} sets ${parts}: not used until the user approves the project`;
  const { settings, sources } = settingsOf(state, isTrusted, rules);
  return {
    folder,
    ...(detected && { kind: detected.kind }),
    evidence: detected?.evidence ?? [],
    ...(ollm.file && { file: ollm.file.path }),
    isTrusted,
    settings,
    sources,
    ...(ollm.templatesFolder !== undefined && { templatesFolder: ollm.templatesFolder }),
    ...(isTrusted && { templates: ollm.templates.map(({ path: file, sha256 }) => ({ file, sha256 })) }),
    ...(waiting !== undefined && { waiting, ...(ollm.digest !== undefined && { waitingDigest: ollm.digest }) }),
    notes: [...ollm.notes, ...read.notes, ...(waiting === undefined ? [] : [waiting])],
  };
}

function settingsOf(
  { read, ollm, detected }: FolderState,
  isTrusted: boolean,
  { detects, used }: { readonly detects: boolean; readonly used?: string },
): { readonly settings: ProjectFile; readonly sources: Readonly<Record<string, string>> } {
  const { model, systemPrompt, tools, profile, routing } = read.settings;
  const narrowing = tools === undefined ? {} : { tools };
  if (used === noProfile) return { settings: narrowing, sources: read.sources };
  const trusted = isTrusted
    ? { ...(model !== undefined && { model }), ...(systemPrompt !== undefined && { systemPrompt }) }
    : {};
  const name = used ?? profile ?? (ollm.file === undefined && detects ? detected?.kind : undefined);
  const defaultProfile = used === undefined ? (routing?.defaultProfile ?? profileNamed(name)) : profileNamed(used);
  const origin: Record<string, string> = { ...read.sources };
  if (used !== undefined || ollm.file === undefined) {
    delete origin["routing.defaultProfile"];
    origin["profile"] = used === undefined ? `detected: ${detected?.evidence[0] ?? ""}` : "this connection";
  }
  return {
    settings: {
      ...(name !== undefined && { profile: name }),
      ...trusted,
      ...narrowing,
      ...(defaultProfile !== undefined && { routing: { defaultProfile } }),
    },
    sources: origin,
  };
}

/** The profile for a new project file: `wanted`, else the detected kind. */
export function profileToWrite(state: FolderState, wanted: string | undefined): string {
  return wanted ?? state.detected?.kind ?? "general";
}

/** Whether `profile` is a known kind or profile. */
export function isProfile(profile: string, profiles: readonly string[]): boolean {
  return kindOf(profile) !== undefined || profiles.includes(profile);
}

/** All names of kinds and profiles. */
export function profileNames(profiles: readonly string[]): readonly string[] {
  return [...Object.keys(profileOfKind), ...profiles];
}
