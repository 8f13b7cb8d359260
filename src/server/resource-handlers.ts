import {
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { UnknownModel } from "../orchestrator/errors.ts";
import type { ResourceContext, ResourceDefinition } from "../resources/definition.ts";
import { errorText } from "./error-text.ts";
import type { ServerHost } from "./host.ts";
import { callerContext } from "./pipeline.ts";

const mimeType = "application/json";

/** Lists and reads the resources of `src/resources`; the only place that turns them into MCP. */
export function handleResources(
  server: Server,
  host: ServerHost,
  factsOf: (context: ServerContext) => { readonly client: string; readonly signal: AbortSignal },
): void {
  const load = async (): Promise<readonly ResourceDefinition[]> => (await import("../resources/index.ts")).resources;

  const contextOf = async (context: ServerContext): Promise<ResourceContext> => {
    const home = await host.open();
    return { orchestrator: home.orchestrator, caller: callerContext(factsOf(context), host, home) };
  };

  server.setRequestHandler("resources/list", async (_request, context) => {
    const definitions = await load();
    const entries = definitions.filter(({ uri }) => !isTemplate(uri)).map((definition) => entryOf(definition));
    for (const definition of definitions) {
      if (definition.list === undefined) continue;
      try {
        const members = await definition.list(await contextOf(context));
        entries.push(...members.map((member) => ({ ...entryOf(definition), ...member, title: member.name })));
      } catch (error) {
        // The fixed resources are still worth listing; the reason is in the log and in system_status.
        host.log.warn(`resources/list: ${errorText(error, definition.name, host.log)}`);
      }
    }
    return { resources: entries };
  });

  server.setRequestHandler("resources/templates/list", async () => ({
    resourceTemplates: (await load())
      .filter(({ uri }) => isTemplate(uri))
      .map((definition) => {
        const { uri: uriTemplate, ...entry } = entryOf(definition);
        return { ...entry, uriTemplate };
      }),
  }));

  server.setRequestHandler("resources/read", async ({ params }, context) => {
    const match = matchResource(await load(), params.uri);
    if (match === undefined) throw new ResourceNotFoundError(params.uri);
    try {
      const content = await match.definition.read(match.variables, await contextOf(context));
      return { contents: [{ uri: params.uri, mimeType, text: JSON.stringify(content) }] };
    } catch (error) {
      if (error instanceof UnknownModel) {
        throw new ResourceNotFoundError(params.uri, errorText(error, params.uri, host.log));
      }
      throw new ProtocolError(ProtocolErrorCode.InternalError, errorText(error, params.uri, host.log));
    }
  });
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
