import type { NeedsInput } from "./errors.ts";
import type { CallerContext, CallerProject } from "./types.ts";

/** A tool, as far as a project can hide it. */
export interface HideableTool {
  readonly name: string;
  /** `needed`: hidden only with the user's approval. */
  readonly set?: string;
}

interface ProjectQuestion {
  /** For the user, with the texts to approve. */
  readonly message: string;
  readonly files: readonly string[];
  /** sha256 (hex) of the content in the message. */
  readonly digest: string;
}

interface ProjectTrust {
  readonly folder: string;
  readonly files: readonly string[];
}

/** Projects of callers. `caller.project` is the current one. */
export interface Projects {
  /** Inspects the folder. Throws `InvalidRequest` if it is not a folder. */
  detect(caller: CallerContext, folder: string): Promise<CallerProject>;
  /** Writes `.ollm/project.yaml` for the detected kind and trusts it. Throws `InvalidRequest` if the file exists. */
  init(
    caller: CallerContext,
    folder: string,
    profile?: string,
  ): Promise<{ readonly file: string; readonly project: CallerProject }>;
  /** What the user is to approve now; undefined if nothing of the caller's project waits for approval. */
  trustQuestion(caller: CallerContext): Promise<ProjectQuestion | undefined>;
  /**
   * Approves the files of the caller's project persistently. Throws `InvalidRequest` if they no longer match `digest`, so
   * that only content the user saw is approved.
   */
  trust(caller: CallerContext, digest: string): Promise<ProjectTrust>;
  /**
   * Sets the caller's project folder, or a kind or profile whose routing replaces that of the file, until the caller
   * disconnects; "none" uses neither. `tools` of the file always apply. Throws `InvalidRequest`.
   */
  use(
    caller: CallerContext,
    choice: { readonly profile?: string; readonly folder?: string },
  ): Promise<CallerProject | undefined>;
  /**
   * The project in `folder` (absolute, resolved) for a caller; the same object until something changes. With `detects`
   * false the kind is not detected, so that only a project file has settings.
   */
  projectAt(callerId: string, folder: string | undefined, detects: boolean): Promise<CallerProject | undefined>;
  /** Call it when a caller disconnects: drops its choice of `use`. */
  forgetCaller(callerId: string): void;
}

/** The name of the answer contains the hash, so that it applies only to the content the user saw. */
const answerName = (digest: string): string => `approve_${digest.slice(0, 16)}`;

/** Asks the user to approve the settings and templates of the project in `folder`. */
export function projectApproval({ message, digest }: ProjectQuestion, folder: string | undefined): NeedsInput {
  const field = {
    type: "boolean",
    title: "Trust this project",
    description: "Yes, I trust this project",
    isRequired: true,
  } as const;
  return {
    message,
    fields: { [answerName(digest)]: field },
    userOnly: { step: "approveProject", ...(folder === undefined ? {} : { folder }) },
  };
}

/** The answer for the content with this hash; undefined if there is none. */
export function approvalIn(answers: Readonly<Record<string, unknown>>, digest: string): boolean | undefined {
  const name = answerName(digest);
  return Object.hasOwn(answers, name) ? answers[name] === true : undefined;
}
