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

/** The project that a caller works in. */
export interface CallerProject {
  /** Absolute and resolved: the folder that holds `.ollm`, or the client's root. */
  readonly folder: string;
  readonly kind?: ProjectKind;
  /** What made it that kind: `tsconfig.json`, `workspaces in package.json`. */
  readonly evidence: readonly string[];
  /** `.ollm/project.yaml`, where there is one. */
  readonly file?: string;
  /** The user has approved this very file and these templates: without it neither system prompt, model nor templates hold. */
  readonly isTrusted: boolean;
  /** What holds of the file (or of the detected kind), trust already considered. */
  readonly settings: ProjectFile;
  /** `.ollm/templates`, trusted or not; absent when there is no such folder. */
  readonly templatesFolder?: string;
  /** Keys that are ignored, and why: a sentence each. */
  readonly notes: readonly string[];
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
  init(caller: CallerContext, folder: string): Promise<{ readonly file: string; readonly project: CallerProject }>;
  /** What would be approved: the file's and templates' paths and texts, for showing them. */
  trustQuestion(
    caller: CallerContext,
  ): Promise<{ readonly message: string; readonly files: readonly string[] } | undefined>;
  /** Approves the files as they are now. */
  trust(caller: CallerContext): Promise<ProjectTrust>;
  /** Uses this kind's or profile's settings for this caller until it disconnects; "none" for none. */
  use(caller: CallerContext, profile: string): Promise<CallerProject | undefined>;
}
