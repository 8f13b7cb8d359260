/** What a user would have to be asked before work can go on: flat, one primitive per missing input. */
export interface NeedsInput {
  readonly message: string;
  /** Keyed by the input's own name. */
  readonly fields: Readonly<Record<string, NeededField>>;
}

export interface NeededField {
  readonly type: "string" | "number" | "boolean";
  readonly description: string;
  readonly isRequired: boolean;
  readonly default?: string | number | boolean;
  readonly enum?: readonly string[];
  /** The input whose member this is: the answer to `topic` goes into `variables.topic`. Absent: an input of its own. */
  readonly into?: string;
}
