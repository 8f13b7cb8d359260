import { InvalidRequest } from "../../orchestrator/errors.ts";
import { openVariable } from "../../orchestrator/text/open-variable.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { Session } from "./session.ts";

export type TemplateData = ResourceData["ollm://templates/{name}"];

/** As the daemon has it now. */
export function readTemplate(name: string, { read }: Session): Promise<TemplateData> {
  return read("ollm://templates/{name}", name);
}

/** `name=value` each. Throws `InvalidRequest`. */
export function variablesOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new InvalidRequest(`--var ${pair} has no value`, { hint: "--var name=value" });
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/**
 * What was piped in, under the name of the variable it goes into: `text`, else the one required variable that was not
 * given; undefined where none is left. Throws `InvalidRequest` where it could be several.
 */
export async function pipedInto(
  name: string,
  given: Readonly<Record<string, string>>,
  piped: string,
  session: Session,
): Promise<Readonly<Record<string, string>> | undefined> {
  const { variables } = await readTemplate(name, session);
  const fillable = openVariable(
    variables.map(({ required: isRequired, ...variable }) => ({ ...variable, isRequired })),
    given,
  );
  if (fillable !== undefined) return { [fillable]: piped };
  const open = variables.filter((variable) => variable.required && !Object.hasOwn(given, variable.name));
  const [first] = open;
  if (first === undefined) return undefined;
  if (open.length === 1) return { [first.name]: piped };
  throw new InvalidRequest(`what is piped in could go into ${open.map((variable) => variable.name).join(", ")}`, {
    hint: "Leave one required variable out, and give the others with --var name=value.",
  });
}
