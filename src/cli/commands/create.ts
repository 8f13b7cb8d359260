import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import type { CommandIo } from "../terminal/io.ts";
import { withSession } from "../terminal/session.ts";
import { show } from "./show.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";

interface CreateOptions {
  readonly from: string;
  readonly system?: string;
  /** Each `name=value`. */
  readonly parameter?: readonly string[];
  /** Absolute. */
  readonly adapter?: string;
  readonly yes?: boolean;
  readonly json?: boolean;
}

/** `ollm create NAME --from MODEL`: asks before it replaces a model. */
export function createModel(name: string, options: CreateOptions, io: CommandIo): Promise<number> {
  return withSession(io, { onInterrupt: `interrupted: ${name} was not created` }, async ({ call }) => {
    const { structured, text } = await call("manage_model", {
      action: "create",
      model: name,
      base: options.from,
      system: options.system,
      parameters: options.parameter === undefined ? undefined : parametersOf(options.parameter),
      adapter: options.adapter,
      confirm: options.yes,
    });
    show(structured, options, io, () => `${oneLine(text)}\n`);
    return 0;
  });
}

/** Parses `name=value` pairs; a repeated name (`stop`) gets a list of values. Throws `InvalidRequest`. */
function parametersOf(words: readonly string[]): Readonly<Record<string, string | readonly string[]>> {
  const parameters = new Map<string, readonly string[]>();
  for (const word of words) {
    const [, name = "", value = ""] = /^([^=]+)=([\s\S]*)$/.exec(word) ?? [];
    if (name === "") throw new InvalidRequest(`--parameter ${word} is not NAME=VALUE`);
    parameters.set(name, [...(parameters.get(name) ?? []), value]);
  }
  return Object.fromEntries([...parameters].map(([name, values]) => [name, oneOrAll(values)]));
}

function oneOrAll(values: readonly string[]): string | readonly string[] {
  const [first = "", ...others] = values;
  return others.length === 0 ? first : values;
}
