import type { CallerContext } from "./types.ts";

export type ProjectKind = "typescript" | "typescript-monorepo" | "python" | "rust" | "go" | "documentation";

/** What `.ollm/project.yaml` says, as far as it is ours. */
export interface ProjectFile {
  readonly profile?: string;
  readonly model?: string;
  readonly systemPrompt?: string;
  readonly tools?: { readonly enabled?: readonly string[]; readonly disabled?: readonly string[] };
  readonly routing?: { readonly defaultProfile?: string };
}

/**
 * Tools that a project hides only with its user's approval: without them an assistant can't do its work, or takes the
 * project's word for what this machine can do.
 */
export const neededTools: readonly string[] = [
  "list_models",
  "pull_model",
  "smart_load",
  "route_and_generate",
  "compare",
  "remember",
  "render_template",
];

/** The project that a caller works in. */
export interface CallerProject {
  /** Absolute and resolved: the folder that holds `.ollm`, or the client's root. */
  readonly folder: string;
  readonly kind?: ProjectKind;
  /** What made it that kind: `tsconfig.json`, `workspaces in package.json`. */
  readonly evidence: readonly string[];
  /** `.ollm/project.yaml`, where there is one. */
  readonly file?: string;
  /**
   * The user has approved this very file and these templates: without it neither system prompt, model nor templates hold,
   * and `settings.tools` hides none of `neededTools`.
   */
  readonly isTrusted: boolean;
  /** What holds of the file (or of the detected kind), trust already considered. */
  readonly settings: ProjectFile;
  /** `.ollm/templates`, trusted or not; absent when there is no such folder. */
  readonly templatesFolder?: string;
  /** The approved templates, with the hash (sha256, hex) of the very bytes; absent while they are not. */
  readonly templates?: readonly { readonly file: string; readonly sha256: string }[];
  /** Where each of `settings` stands: `model` → `/project/.ollm/project.yaml:2`. */
  readonly sources?: Readonly<Record<string, string>>;
  /** What waits for the user's approval, and how to give it: one sentence, also among `notes`. */
  readonly waiting?: string;
  /** The hash of what waits, that of `ProjectQuestion`; there while `waiting` is. */
  readonly waitingDigest?: string;
  /** Keys that are ignored, and why: a sentence each. */
  readonly notes: readonly string[];
}

export interface ProjectQuestion {
  /** For the user, with the texts that would be approved. */
  readonly message: string;
  readonly files: readonly string[];
  /** sha256 (hex) of what the message shows. */
  readonly digest: string;
}

export interface ProjectTrust {
  readonly folder: string;
  readonly files: readonly string[];
}

/** Projects of callers. Which one a caller works in is `caller.project`. */
export interface Projects {
  /** Looks at the folder's files. Throws `InvalidRequest` when it isn't one. */
  detect(caller: CallerContext, folder: string): Promise<CallerProject>;
  /** Writes `.ollm/project.yaml` with what was detected; throws `InvalidRequest` where there is one. The user's own: trusted. */
  init(
    caller: CallerContext,
    folder: string,
    profile?: string,
  ): Promise<{ readonly file: string; readonly project: CallerProject }>;
  /** What the user would approve, as it is now; undefined when nothing of the caller's project waits for it. */
  trustQuestion(caller: CallerContext): Promise<ProjectQuestion | undefined>;
  /**
   * Approves the files of the caller's project, kept over restarts. Throws `InvalidRequest` when they are not those of
   * `digest` any more: what was not shown is not approved.
   */
  trust(caller: CallerContext, digest: string): Promise<ProjectTrust>;
  /**
   * Until this caller disconnects: another folder is its project, or this kind's or profile's routing holds in place of
   * the file's; "none": neither. `tools` of the file hold in any case. Throws `InvalidRequest`.
   */
  use(
    caller: CallerContext,
    choice: { readonly profile?: string; readonly folder?: string },
  ): Promise<CallerProject | undefined>;
  /**
   * The project in `folder` (absolute, resolved) as it stands for a caller; the same object until something changes.
   * `detects` false: without a project file nothing holds.
   */
  projectAt(callerId: string, folder: string | undefined, detects: boolean): Promise<CallerProject | undefined>;
  /** The caller has gone, and with it what `use` chose. */
  forgetCaller(callerId: string): void;
}
