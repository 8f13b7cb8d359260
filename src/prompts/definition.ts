import type { NeedsInput } from "../orchestrator/api/errors.ts";
import type { ReadFiles } from "../orchestrator/api/facade-templates.ts";
import type { Orchestrator } from "../orchestrator/api/facade.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";

export interface PromptContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  /** Text of files inside the caller's roots. Throws `InvalidRequest`. */
  readText(paths: readonly string[]): ReturnType<ReadFiles>;
}

/** A prompt as clients show it, often as a slash command. */
export interface ListedPrompt {
  readonly name: string;
  /** Other names by which it is found; they are not listed. */
  readonly aliases?: readonly string[];
  readonly title?: string;
  readonly description: string;
  readonly arguments: readonly {
    readonly name: string;
    readonly description?: string;
    readonly isRequired: boolean;
  }[];
}

export interface PromptText {
  readonly description?: string;
  readonly messages: readonly { readonly role: "user" | "assistant"; readonly text: string }[];
}

/**
 * The messages, or a question for missing inputs. If the client can ask the user, the server does so and calls `get`
 * again with the answers among the arguments.
 */
export type PromptAnswer =
  | PromptText
  | {
      readonly needsInput: NeedsInput;
      /** The prompt for clients that can't ask; absent: an error names the missing inputs. */
      readonly otherwise?: PromptText;
    };

/** Values of arguments: clients send strings, a user's answers may be numbers and booleans. Empty strings are omitted. */
export type PromptArguments = Readonly<Record<string, string | number | boolean>>;

/** A source of prompts. It returns plain data; the server converts it to MCP. */
export interface PromptSource {
  /** For the log. */
  readonly name: string;
  list(context: PromptContext): Promise<readonly ListedPrompt[]>;
  /**
   * Called only with names (not aliases) that `list` returns. Throws `OrchestratorError`s, which the client receives
   * unchanged.
   */
  get(name: string, given: PromptArguments, context: PromptContext): Promise<PromptAnswer>;
  /** The allowed values of an argument; undefined if there is no fixed set. */
  valuesOf?(name: string, argument: string, context: PromptContext): Promise<readonly string[] | undefined>;
}
