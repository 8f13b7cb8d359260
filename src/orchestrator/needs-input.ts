import type { NextSteps } from "./next-step.ts";

/** What a user would have to be asked before work can go on: flat, one primitive per missing input. */
export interface NeedsInput {
  readonly message: string;
  /** Keyed by the input's own name. */
  readonly fields: Readonly<Record<string, NeededField>>;
  /**
   * Only the user may answer: the answers reach the tool apart from its input (`ToolContext.answers`), so that an
   * assistant can't give them. The value: what the user does instead where the client can't ask.
   */
  readonly userOnly?: NextSteps;
}

export interface NeededField {
  readonly type: "string" | "number" | "boolean";
  /** The form's label, where the input's own name would not do. */
  readonly title?: string;
  readonly description: string;
  readonly isRequired: boolean;
  readonly default?: string | number | boolean;
  readonly enum?: readonly string[];
  /** The input whose member this is: the answer to `topic` goes into `variables.topic`. Absent: an input of its own. */
  readonly into?: string;
  /** The input `files` gives it, too: the text of what it names. */
  readonly isFromFiles?: boolean;
}
