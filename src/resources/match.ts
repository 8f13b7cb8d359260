import type { ResourceDefinition } from "./definition.ts";

export interface ResourceMatch {
  readonly definition: ResourceDefinition;
  readonly variables: Readonly<Record<string, string>>;
}

/** Whether a resource is a template of URIs, such as `ollm://models/{name}`. */
export function isTemplate({ uri }: ResourceDefinition): boolean {
  return uri.includes("{");
}

/** The variable of a template. */
export function variableOf({ uri }: ResourceDefinition): string | undefined {
  return /\{(\w+)\}$/.exec(uri)?.[1];
}

/**
 * The definition for `uri`: an exact match, else a template whose variable takes the rest of the URI, slashes included,
 * percent-decoded (`ollm://models/hf.co%2Forg%2Frepo`). Undefined without a match.
 */
export function matchResource(definitions: readonly ResourceDefinition[], uri: string): ResourceMatch | undefined {
  const exact = definitions.find((definition) => definition.uri === uri);
  if (exact !== undefined) return { definition: exact, variables: {} };
  for (const definition of definitions) {
    const variable = variableOf(definition);
    if (variable === undefined) continue;
    const prefix = definition.uri.slice(0, definition.uri.indexOf("{"));
    if (!uri.startsWith(prefix)) continue;
    const value = decoded(uri.slice(prefix.length));
    if (value !== undefined && value !== "") return { definition, variables: { [variable]: value } };
  }
  return undefined;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
