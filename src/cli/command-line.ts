import { parseArgs } from "node:util";
import { InvalidRequest } from "../orchestrator/errors.ts";
import type { Flags } from "../orchestrator/config/load.ts";

/** What a command line asks for. */
export type Command =
  | { readonly name: "help" }
  | { readonly name: "version" }
  | { readonly name: "serve"; readonly flags: Flags }
  | { readonly name: "import"; readonly file: string; readonly model: string };

const options = {
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "v" },
  standalone: { type: "boolean" },
  root: { type: "string", multiple: true },
  model: { type: "string" },
  host: { type: "string" },
  temperature: { type: "string" },
  "max-tokens": { type: "string" },
  "context-size": { type: "string" },
} as const;

/** Throws `InvalidRequest` that names what is wrong. Without arguments it serves, or helps a person at a terminal. */
export function parseCommandLine(words: readonly string[], isTerminal: boolean): Command {
  const { values, positionals } = parse(words);
  if (values.help === true) return { name: "help" };
  if (values.version === true) return { name: "version" };
  const flags: Flags = {
    ...(values.root !== undefined && { roots: values.root }),
    ...(values.model !== undefined && { model: values.model }),
    ...(values.host !== undefined && { host: values.host }),
    ...(values.temperature !== undefined && { temperature: values.temperature }),
    ...(values["max-tokens"] !== undefined && { maxTokens: values["max-tokens"] }),
    ...(values["context-size"] !== undefined && { contextSize: values["context-size"] }),
  };
  const [name, ...rest] = positionals;
  switch (name) {
    case undefined:
      return words.length === 0 && isTerminal ? { name: "help" } : { name: "serve", flags };
    case "help":
      return { name: "help" };
    case "import": {
      const [file, model] = rest;
      if (file === undefined || model === undefined || rest.length > 2) {
        throw new InvalidRequest("import takes a file and a name", { hint: "ollm import ./model.gguf my-model" });
      }
      return { name: "import", file, model };
    }
    default: {
      throw new InvalidRequest(`unknown command "${name}"`, { hint: "ollm --help lists the commands" });
    }
  }
}

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true });
  } catch (error) {
    const message = error instanceof Error ? (error.message.split(". ")[0] ?? "") : String(error);
    throw new InvalidRequest(message, { hint: "ollm --help lists the options", cause: error });
  }
}
