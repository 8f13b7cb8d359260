import { parseArgs } from "node:util";
import { InvalidRequest } from "../api/errors.ts";
import { defined } from "../util/values.ts";

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

/** Settings given on the command line, by the names of their flags; `tools` are `default`, `all` or names, separated by commas. */
export type Flags = Readonly<Partial<ReturnType<typeof parseFlags>>>;

/** Parses the arguments of a stdio server. Throws `InvalidRequest` for an unknown flag. */
export function parseFlags(words: readonly string[]) {
  try {
    const { values } = parseArgs({ args: [...words], options: flagOptions, strict: true });
    const { root: roots, "max-tokens": maxTokens, "context-size": contextSize, standalone: _alone, ...same } = values;
    return defined({ ...same, roots, maxTokens, contextSize });
  } catch (error) {
    const message = error instanceof Error ? (error.message.split(". ")[0] ?? "") : String(error);
    throw new InvalidRequest(message, { next: { step: "showHelp" }, cause: error });
  }
}
