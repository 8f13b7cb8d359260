import {
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  type ListResourcesResult,
  type ListResourceTemplatesResult,
  type ReadResourceResult,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { UnknownModel } from "../orchestrator/errors.ts";
import type { ResourceContext, ResourceDefinition } from "../resources/definition.ts";
import { resources } from "../resources/index.ts";
import { requestFacts } from "./call-facts.ts";
import { errorText } from "./error-text.ts";
import { callerContext, type ServerHost } from "./host.ts";

const mimeType = "application/json";

/** `resources/list`: the fixed ones, and the concrete members of templates. */
export async function listResources(
  server: Server,
  context: ServerContext,
  host: ServerHost,
): Promise<ListResourcesResult> {
  const entries = resources.filter(({ uri }) => !isTemplate(uri)).map((definition) => entryOf(definition));
  for (const definition of resources) {
    if (definition.list === undefined) continue;
    try {
      const members = await definition.list(await contextOf(server, context, host));
      entries.push(...members.map((member) => ({ ...entryOf(definition), ...member, title: member.name })));
    } catch (error) {
      // The fixed resources are still worth listing; the reason is in the log and in system_status.
      host.log.warn(`resources/list: ${errorText(error, definition.name, host.log)}`);
    }
  }
  return { resources: entries };
}

/** `resources/templates/list`. */
export function listTemplates(): ListResourceTemplatesResult {
  return {
    resourceTemplates: resources
      .filter(({ uri }) => isTemplate(uri))
      .map((definition) => {
        const { uri: uriTemplate, ...entry } = entryOf(definition);
        return { ...entry, uriTemplate };
      }),
  };
}

/** `resources/read`, as JSON. Throws `ResourceNotFoundError` for addresses and models that don't exist. */
export async function readResource(
  server: Server,
  context: ServerContext,
  uri: string,
  host: ServerHost,
): Promise<ReadResourceResult> {
  const match = matchResource(resources, uri);
  if (match === undefined) throw new ResourceNotFoundError(uri);
  try {
    const content = await match.definition.read(match.variables, await contextOf(server, context, host));
    return { contents: [{ uri, mimeType, text: JSON.stringify(content) }] };
  } catch (error) {
    const text = errorText(error, uri, host.log);
    if (error instanceof UnknownModel) throw new ResourceNotFoundError(uri, text);
    throw new ProtocolError(ProtocolErrorCode.InternalError, text);
  }
}

async function contextOf(server: Server, context: ServerContext, host: ServerHost): Promise<ResourceContext> {
  const home = await host.open();
  return {
    orchestrator: home.orchestrator,
    caller: callerContext(requestFacts(server, context), host, home),
  };
}

function entryOf({ uri, name, title, description }: ResourceDefinition) {
  return { uri, name, title, description, mimeType };
}

function isTemplate(uri: string): boolean {
  return uri.includes("{");
}

/**
 * The definition that serves `uri`: an exact one first, then a template whose one variable is everything that is
 * left, slashes included, percent-decoded (`ollm://models/hf.co%2Forg%2Frepo`). Undefined when none does.
 */
export function matchResource(
  definitions: readonly ResourceDefinition[],
  uri: string,
): { readonly definition: ResourceDefinition; readonly variables: Readonly<Record<string, string>> } | undefined {
  const exact = definitions.find((definition) => definition.uri === uri);
  if (exact !== undefined) return { definition: exact, variables: {} };
  for (const definition of definitions) {
    const [, prefix, variable] = /^(.*)\{(\w+)\}$/.exec(definition.uri) ?? [];
    if (prefix === undefined || variable === undefined || !uri.startsWith(prefix)) continue;
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
