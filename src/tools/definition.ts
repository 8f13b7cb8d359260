import type { z } from "zod";
import type { Orchestrator } from "../orchestrator/facade.ts";
import type { NeedsInput } from "../orchestrator/needs-input.ts";
import type { CallerContext, Operation, Progress } from "../orchestrator/types.ts";

/** What a tool does to the world; the four MCP hints are derived from it in one place (`server/`). */
export type ToolEffect = "read" | "write" | "destroy";

/**
 * A tool's answer: the data, or what it would have to ask first. `needsInput` is returned before any effect;
 * the pipeline asks the user where the client can, and calls the tool again with the answers merged into `input`,
 * or answers with an error that names what is missing.
 */
export type ToolAnswer<Data> = { readonly data: Data } | { readonly needsInput: NeedsInput };

/** Files of the caller's machine, read and written by us inside the allowed roots only (`server/files.ts`). */
export interface ToolFiles {
  /** Text of each file, decoded; `path` is its name relative to its root. Throws `InvalidRequest` (outside the roots, too large, binary, not a file). */
  readText(paths: readonly string[]): Promise<readonly { readonly path: string; readonly text: string }[]>;
  /** Base64 of each image (PNG, JPEG, WebP, GIF by content). Throws `InvalidRequest`. */
  readImages(paths: readonly string[]): Promise<readonly string[]>;
  /**
   * Checks that `path` is a new (or empty) file in an existing folder inside the roots, before any work is done for
   * it; `write` then creates it in one step. Throws `InvalidRequest`.
   */
  openOutput(path: string): Promise<OutputFile>;
  /**
   * A folder inside the roots, resolved; without a name the marked working directory, else the first root. Throws
   * `InvalidRequest`.
   */
  findFolder(path?: string): Promise<string>;
  /** Absolute path of a file to import: it may lie outside the roots, except over HTTP. Relative names as in the others. */
  locate(path: string): Promise<string>;
}

export interface OutputFile {
  /** Absolute. */
  readonly path: string;
  write(text: string): Promise<{ readonly bytes: number }>;
}

export interface ToolContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  readonly files: ToolFiles;
  /**
   * Waits for an operation on behalf of this call: relays its progress to the client and obeys the caller's signal.
   * (When the client's patience ends the call detaches from it and answers with a job.)
   */
  follow<Result>(operation: Operation<Result>): Promise<Result>;
  /** Tells the client what is done now; a no-op where it doesn't listen. */
  report(progress: Progress): void;
  /** What the user has answered to a question of this tool that is `userOnly`; absent when nothing was. */
  readonly answers?: Readonly<Record<string, unknown>>;
  /** How long this client waits for an answer; absent: as long as it takes. */
  readonly patienceMs?: number;
}

/** One tool, one object, one file. The pipeline in `server/` does everything that is common to all of them. */
export interface ToolDefinition<
  Input extends z.ZodObject = z.ZodObject,
  Output extends z.ZodObject = z.ZodObject,
  Name extends string = string,
> {
  /** `verb_noun`; the file has the same name in kebab-case. */
  readonly name: Name;
  readonly title: string;
  /** Static, for an assistant to act on. */
  readonly description: string;
  readonly effect: ToolEffect;
  /** Calling it again with the same input changes nothing more. */
  readonly isIdempotent: boolean;
  /** Reaches outside this machine (registries). */
  readonly isOpenWorld: boolean;
  /**
   * May be answered with a job: what it publishes of `output` gets `job` and `next`, and every other field is optional
   * (clients refuse answers that don't match).
   */
  readonly canBecomeJob?: true;
  /**
   * Uses what a project brings along (system prompt, model, templates): where that waits for the user's approval, a
   * client that can ask is asked once before the first such call.
   */
  readonly usesProject?: true;
  readonly input: Input;
  readonly output: Output;
  run(input: z.output<Input>, context: ToolContext): Promise<ToolAnswer<z.input<Output>>>;
  /**
   * The short text form of an answer; several texts become several content blocks, so that a model's own text
   * (which may be JSON) stands alone in the first.
   */
  render(output: z.output<Output>): string | readonly string[];
}

/** Infers the types of the name and the schemas. */
export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject, Name extends string>(
  definition: ToolDefinition<Input, Output, Name>,
): ToolDefinition<Input, Output, Name> {
  return definition;
}

/** `Data` with everything in it read-only. */
export type ReadonlyDeep<Data> = Data extends object ? { readonly [Key in keyof Data]: ReadonlyDeep<Data[Key]> } : Data;
