import type { z } from "zod";
import type { NeedsInput } from "../orchestrator/api/errors.ts";
import type { Orchestrator } from "../orchestrator/api/facade.ts";
import type { NextSteps } from "../orchestrator/api/next-step.ts";
import type { Worker, Workspace } from "../orchestrator/api/facade-batches.ts";
import type { AudioInput, CallerContext, Operation, Progress } from "../orchestrator/api/types.ts";

/**
 * The answer of a tool: its data, or a question to ask first. `needsInput` is returned before any effect. The pipeline asks
 * the user, if the client supports it, and calls the tool again with the answers merged into `input`; otherwise the call
 * fails with an error that names what is missing.
 */
export type ToolAnswer<Data> = { readonly data: Data } | { readonly needsInput: NeedsInput };

/** Files of the caller's machine, inside the allowed roots only (`server/files/files.ts`). */
export interface ToolFiles {
  /**
   * The decoded text of each file; `path` is relative to its root. Throws `InvalidRequest` (outside the roots, too large,
   * binary, not a file).
   */
  readText(
    paths: readonly string[],
    /** How many files one pattern may match; default 64. */
    most?: number,
  ): Promise<readonly { readonly path: string; readonly text: string }[]>;
  /** Recordings (WAV or MP3, detected by content). Throws `InvalidRequest`. */
  readAudio(paths: readonly string[]): Promise<readonly AudioInput[]>;
  /** The base64 of each image (PNG, JPEG, WebP or GIF, detected by content). Throws `InvalidRequest`. */
  readImages(paths: readonly string[]): Promise<readonly string[]>;
  /** What names were taken for, where that may surprise: patterns, files found in another folder. */
  notes(): readonly string[];
  /** Those of the names that are files inside the roots. */
  existing(names: readonly string[]): Promise<readonly string[]>;
  /** Files that were read and have been written, replaced or removed since; those of git are left out. Never throws. */
  changes(): Promise<readonly { readonly path: string; readonly isGone: boolean }[]>;
  /**
   * Checks, before any work is done, that `path` is a new or empty file in an existing folder inside the roots; `write` then
   * creates it in one step. Throws `InvalidRequest`.
   */
  openOutput(path: string): Promise<OutputFile>;
  /**
   * Resolves a folder inside the roots; without a name the working directory if it is marked as a project, else the first
   * root. Throws `InvalidRequest`.
   */
  findFolder(path?: string): Promise<string>;
  /**
   * A copy of files for a worker: of these folders, files and patterns, which must be in one root, or of the working
   * directory. Of a git work tree what git does not ignore. Throws `InvalidRequest`.
   */
  copy(names: readonly string[] | undefined, id: string, verifier: Worker["verifier"]): Promise<Workspace>;
  /** Applies the changes that a worker left: all, or none if a file changed since. Their names. Throws `InvalidRequest`. */
  applyWork(id: string): Promise<readonly string[]>;
  /** The agent of that name in `.claude/agents` of the user's home, or of `project`. */
  agent(name: string, project: string | undefined): Promise<Worker | undefined>;
  /** The absolute path of a file to import, which may be outside the roots except over HTTP. */
  locate(path: string): Promise<string>;
}

export interface OutputFile {
  /** Absolute path. */
  readonly path: string;
  write(text: string): Promise<{ readonly bytes: number }>;
}

export interface ToolContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  readonly files: ToolFiles;
  /**
   * Waits for an operation on behalf of this call: relays its progress to the client and obeys the caller's signal.
   * If it outlasts the client's time limit, or `isJob`, the call detaches from it and returns a job.
   */
  follow<Result>(operation: Operation<Result>, isJob?: boolean): Promise<Result>;
  /** Asks the user for a yes within the call; present in a chat at a terminal, whose models may remember and recall. */
  agrees?(message: string): Promise<boolean>;
  /** Reports progress to the client, if it requested that. */
  report(progress: Progress): void;
  /** The answers of the user to a `userOnly` question of this tool; absent without one. */
  readonly answers?: Readonly<Record<string, unknown>>;
  /** Steps as sentences for this client: calls for an assistant, commands for a person. */
  worded(next: NextSteps): Promise<string>;
  /** How long this client waits for an answer; absent: without limit. */
  readonly patienceMs?: number;
}

/** A tool. What all tools have in common is done by the pipeline in `server/`. */
export interface ToolDefinition<
  Input extends z.ZodObject = z.ZodObject,
  Output extends z.ZodObject = z.ZodObject,
  Name extends string = string,
> {
  /** `verb_noun`; its file has the same name in kebab-case, or that of its subject. */
  readonly name: Name;
  readonly title: string;
  /** What the tool does and when to use it, for an assistant. */
  readonly description: string;
  /** From which `server/` derives the four MCP hints. */
  readonly effect: "read" | "write" | "destroy";
  /** Whether a second call with the same input has no further effect. Default: unless it writes. */
  readonly isIdempotent?: boolean;
  /** It uses the network (registries). */
  readonly isOpenWorld?: true;
  /**
   * `needed`: a project can hide it only with the user's approval, because without it an assistant can't work, or depends on
   * the project's claims about this machine. `extra`: only in the set `all`, because it is rarely needed and its
   * description costs tokens. Default: in the set `default`.
   */
  readonly set?: "needed" | "extra";
  /** It hands work to a local model: if it fails, the assistant is told to do the work itself. */
  readonly delegates?: true;
  /**
   * What to do after a call whose answer was lost because the daemon ended. Default: `repeat` if `isIdempotent`, else
   * `check what was done`. A file that it may have written is checked anyway.
   */
  readonly whenCutOff?: "repeat" | `check ${string}`;
  /**
   * The call may return a job: the published output schema gets `job` and `next`, and every other field is optional, since
   * clients reject answers that don't match.
   */
  readonly canBecomeJob?: true;
  /**
   * The tool uses the settings of a project (system prompt, model, templates). If they are not approved, the user is asked
   * once, before the first such call, if the client supports it.
   */
  readonly usesProject?: true;
  /** URI of the view that shows its answers (MCP Apps); only clients that show views are told. */
  readonly view?: string;
  readonly input: Input;
  readonly output: Output;
  run(input: z.output<Input>, context: ToolContext): Promise<ToolAnswer<ReadonlyDeep<z.input<Output>>>>;
  /**
   * The structured answer for an assistant: what it acts on, since many clients give their model this form and its user pays
   * for it. Our own shell and pages request the whole (`detailsKey`). Absent: everything is worth it.
   */
  lean?(output: z.output<Output>): Readonly<Record<string, unknown>>;
  /**
   * The answer as short text. Several texts become several content blocks, so that the first contains only the text of a
   * model, which may be JSON.
   */
  render(output: z.output<Output>): string | readonly string[];
}

/** Whether a call may be repeated. */
export function isRepeatable({ effect, isIdempotent = effect !== "write" }: ToolDefinition): boolean {
  return isIdempotent;
}

/** A question for a yes: `field` of the input, of which `description` says what true does. */
export function confirmation(message: string, description: string, field = "confirm") {
  const fields: NeedsInput["fields"] = { [field]: { type: "boolean", description, isRequired: true } };
  return { needsInput: { message, fields } };
}

/** What is true of tools that have a model write. */
export const writesByModel = {
  effect: "write",
  isOpenWorld: true,
  set: "needed",
  delegates: true,
  whenCutOff: "repeat",
  canBecomeJob: true,
  usesProject: true,
} as const;

/** Returns its argument, with the types of name and schemas inferred. */
export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject, Name extends string>(
  definition: ToolDefinition<Input, Output, Name>,
): ToolDefinition<Input, Output, Name> {
  return definition;
}

/** `Data`, deeply read-only. */
export type ReadonlyDeep<Data> = Data extends object ? { readonly [Key in keyof Data]: ReadonlyDeep<Data[Key]> } : Data;
