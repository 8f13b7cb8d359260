import type { NextSteps } from "./next-step.ts";

/** A question to the user for missing inputs: flat, one primitive value per input. */
export interface NeedsInput {
  readonly message: string;
  /** By name of the input. */
  readonly fields: Readonly<Record<string, NeededField>>;
  /**
   * Only the user may answer: the answers reach the tool separately from its input (`ToolContext.answers`), so that an
   * assistant can't give them. The steps are for the user if the client can't ask.
   */
  readonly userOnly?: NextSteps;
}

export interface NeededField {
  readonly type: "string" | "number" | "boolean";
  /** Label in the form; default: the name of the input. */
  readonly title?: string;
  readonly description: string;
  readonly isRequired: boolean;
  readonly default?: string | number | boolean;
  readonly enum?: readonly string[];
  /** The input that this is a member of: with `variables`, the answer to `topic` goes into `variables.topic`. */
  readonly into?: string;
  /** Can also be filled with the contents of the input `files`. */
  readonly isFromFiles?: boolean;
}
