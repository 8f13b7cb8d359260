import type { Orchestrator } from "../orchestrator/facade.ts";
import type { ReadFiles } from "../orchestrator/facade-templates.ts";
import type { NeedsInput } from "../orchestrator/needs-input.ts";
import type { CallerContext } from "../orchestrator/types.ts";

export interface PromptContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  /** Text of files inside the caller's roots. Throws `InvalidRequest`. */
  readText(paths: readonly string[]): ReturnType<ReadFiles>;
}

export interface PromptArgument {
  readonly name: string;
  readonly description?: string;
  readonly isRequired: boolean;
}

/** A prompt as clients show it, often as a slash command. */
export interface ListedPrompt {
  readonly name: string;
  readonly title?: string;
  readonly description: string;
  readonly arguments: readonly PromptArgument[];
}

export interface PromptText {
  readonly description?: string;
  readonly messages: readonly { readonly role: "user" | "assistant"; readonly text: string }[];
}

/**
 * The messages, or what would have to be asked first: the server asks where the client can, and calls `get` again with
 * the answers among the arguments.
 */
export type PromptAnswer = PromptText | PromptQuestion;

export interface PromptQuestion {
  readonly needsInput: NeedsInput;
  /** For clients that can't ask: what the assistant does instead. When absent, an error names what is missing. */
  readonly otherwise?: PromptText;
}

/** Values of arguments: clients send strings, answers of a user may be numbers and booleans. An empty one wasn't given. */
export type PromptArguments = Readonly<Record<string, string | number | boolean>>;

/** Where prompts come from; plain data out, the server turns it into MCP. */
export interface PromptSource {
  /** For the log. */
  readonly name: string;
  list(context: PromptContext): Promise<readonly ListedPrompt[]>;
  /** Asked only for names that `list` has. Throws `OrchestratorError`s, which reach the client as they are. */
  get(name: string, given: PromptArguments, context: PromptContext): Promise<PromptAnswer>;
  /** Every value that an argument may have; undefined where the source knows no better than the argument's name. */
  valuesOf?(name: string, argument: string, context: PromptContext): Promise<readonly string[] | undefined>;
}
