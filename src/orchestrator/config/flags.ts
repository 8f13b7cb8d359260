import { parseArgs } from "node:util";
import { InvalidRequest } from "../api/errors.ts";
import { defined } from "../util/defined.ts";

/** Settings given on the command line, by the names of their flags. */
export interface Flags {
  readonly model?: string;
  readonly provider?: string;
  readonly host?: string;
  readonly temperature?: string;
  readonly maxTokens?: string;
  readonly contextSize?: string;
  /** `default`, `all` or names, separated by commas. */
  readonly tools?: string;
  readonly roots?: readonly string[];
}

/** The flags of a stdio server, for `parseArgs` of node:util. */
export const flagOptions = {
  standalone: { type: "boolean" },
  root: { type: "string", multiple: true },
  model: { type: "string" },
  provider: { type: "string" },
  host: { type: "string" },
  temperature: { type: "string" },
  "max-tokens": { type: "string" },
  "context-size": { type: "string" },
  tools: { type: "string" },
} as const;

/** Parses the arguments of a stdio server. Throws `InvalidRequest` for an unknown flag. */
export function parseFlags(words: readonly string[]): Flags {
  try {
    const { values } = parseArgs({ args: [...words], options: flagOptions, strict: true });
    const { root: roots, "max-tokens": maxTokens, "context-size": contextSize, standalone: _alone, ...same } = values;
    return defined({ ...same, roots, maxTokens, contextSize });
  } catch (error) {
    const message = error instanceof Error ? (error.message.split(". ")[0] ?? "") : String(error);
    throw new InvalidRequest(message, { next: { step: "showHelp" }, cause: error });
  }
}
