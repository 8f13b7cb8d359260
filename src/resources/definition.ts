import { decoded } from "../orchestrator/util/values.ts";
import type { Change, Orchestrator } from "../orchestrator/api/facade.ts";
import type { NextSteps } from "../orchestrator/api/next-step.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";

export interface ResourceContext {
  readonly orchestrator: Orchestrator;
  readonly caller: CallerContext;
  /** The HTML of a page that was built from `src/ui`, by its file name. Throws when it is not built. */
  readPage(file: string): Promise<string>;
  /** As of a tool. */
  worded(next: NextSteps): Promise<string>;
}

/** A resource or template of resources. It returns plain data, which the server sends as JSON. */
export interface ResourceDefinition<Data extends object | string = object | string, Uri extends string = string> {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** `ollm://status/ram`, or with one variable, `ollm://models/{name}`, or with a query, `ollm://requests{?model,limit}`. */
  readonly uri: Uri;
  read(variables: Readonly<Record<string, string>>, context: ResourceContext): Promise<Data>;
  /** Whether a change affects the resource, so that its subscribers read it again; absent when it never changes. */
  isTouchedBy?(change: Change, variables: Readonly<Record<string, string>>): boolean;
  /** What must be polled while it has subscribers, because it changes without notice. */
  readonly watch?: "memory" | "models";
  /** The type of what `read` returns as text; absent: JSON. */
  readonly mimeType?: string;
  /** It shows the answers of the job `{id}`, which an assistant reads with it. */
  readonly showsAnswers?: true;
  /** A view of MCP Apps, for the tools that name its URI: `read` returns HTML. Only clients that show views list it. */
  readonly isView?: true;
  /** `resources/list` leaves it out. */
  readonly isUnlisted?: true;
  /** How long a client may cache the content, in milliseconds; absent: not at all. */
  readonly ttlMs?: number;
  /** Concrete members of a template, for `resources/list`. */
  list?(context: ResourceContext): Promise<readonly { readonly uri: string; readonly name: string }[]>;
  /** Every value of a template's variable, for completions, when `list` returns only the first ones. */
  values?(context: ResourceContext): Promise<readonly string[]>;
}

/** Infers the types of the URI and of the data. */
export function defineResource<Data extends object | string, Uri extends string>(
  definition: ResourceDefinition<Data, Uri>,
): ResourceDefinition<Data, Uri> {
  return definition;
}

/** Whether a resource is a template of URIs, such as `ollm://models/{name}`. */
export function isTemplate({ uri }: ResourceDefinition): boolean {
  return uri.includes("{");
}

/** The variable of a template that has one. */
export function variableOf({ uri }: ResourceDefinition): string | undefined {
  return /\{(\w+)\}$/.exec(uri)?.[1];
}

/**
 * The definition for `uri`: an exact match, else a template whose variable takes the rest of the URI, slashes included,
 * percent-decoded (`ollm://models/hf.co%2Forg%2Frepo`), or whose query is what follows `?`. Undefined without a match.
 */
export function matchResource(definitions: readonly ResourceDefinition[], uri: string) {
  const exact = definitions.find((definition) => definition.uri === uri);
  if (exact !== undefined) return { definition: exact, variables: {} };
  for (const definition of definitions) {
    const prefix = definition.uri.slice(0, definition.uri.indexOf("{"));
    if (!isTemplate(definition) || !uri.startsWith(prefix)) continue;
    const variable = variableOf(definition);
    if (variable === undefined) {
      const query = uri.slice(prefix.length);
      if (query !== "" && !query.startsWith("?")) continue;
      return { definition, variables: Object.fromEntries(new URLSearchParams(query)) };
    }
    const value = decoded(uri.slice(prefix.length));
    if (value !== undefined && value !== "") return { definition, variables: { [variable]: value } };
  }
  return undefined;
}
