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

/** The parsed values of `flagOptions` as settings. */
function flagsOf(values: {
  readonly root?: readonly string[] | undefined;
  readonly model?: string | undefined;
  readonly provider?: string | undefined;
  readonly host?: string | undefined;
  readonly temperature?: string | undefined;
  readonly "max-tokens"?: string | undefined;
  readonly "context-size"?: string | undefined;
  readonly tools?: string | undefined;
}): Flags {
  return {
    ...defined({
      roots: values.root,
      model: values.model,
      provider: values.provider,
      host: values.host,
      temperature: values.temperature,
    }),
    ...(values["max-tokens"] !== undefined && { maxTokens: values["max-tokens"] }),
    ...(values["context-size"] !== undefined && { contextSize: values["context-size"] }),
    ...defined({ tools: values.tools }),
  };
}

/** Parses the arguments of a stdio server. Throws `InvalidRequest` for an unknown flag. */
export function parseFlags(words: readonly string[]): Flags {
  try {
    return flagsOf(parseArgs({ args: [...words], options: flagOptions, strict: true }).values);
  } catch (error) {
    const message = error instanceof Error ? (error.message.split(". ")[0] ?? "") : String(error);
    throw new InvalidRequest(message, { next: { step: "showHelp" }, cause: error });
  }
}
