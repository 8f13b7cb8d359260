import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { openVariable } from "../../orchestrator/util/open-variable.ts";
import type { ResourceData } from "../../resources/index.ts";
import type { Session } from "../terminal/session.ts";

export type TemplateData = ResourceData["ollm://templates/{name}"];

/** The template as the daemon has read it. */
export function readTemplate(name: string, { read }: Session): Promise<TemplateData> {
  return read("ollm://templates/{name}", name);
}

/** Parses `name=value` pairs. Throws `InvalidRequest`. */
export function variablesOf(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new InvalidRequest(`--var ${pair} is not NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/**
 * The piped input under the name of the variable that it fills: `text`, else the only required variable without a
 * value; undefined if there is none. Throws `InvalidRequest` if there are several.
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
  throw new InvalidRequest(`stdin could fill any of ${open.map((variable) => variable.name).join(", ")}`, {
    next: advice("give all but one of them with --var NAME=VALUE"),
  });
}
