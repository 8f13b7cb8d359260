import {
  ProtocolError,
  ProtocolErrorCode,
  type CompleteRequestParams,
  type CompleteResult,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { profiles } from "../orchestrator/catalog/profiles.ts";
import { nearestNames } from "../orchestrator/text/nearest.ts";
import { resources } from "../resources/index.ts";
import { variableOf } from "../resources/match.ts";
import type { PromptContext } from "../prompts/definition.ts";
import type { ResourceContext } from "../resources/definition.ts";
import { promptContext, valuesOfPrompt } from "./handle-prompts.ts";
import { resourceContext } from "./handle-resources.ts";
import type { ServerParts } from "./server-parts.ts";

/** As many as the protocol allows in one answer. */
const maxValues = 100;
/** Of names that are only similar, a few will do. */
const maxSimilar = 10;

/**
 * `completion/complete`: the variable of a resource template from the resources that there are; of a prompt what its
 * argument may be, else of `model`, `profile` and `key`, which mean the same in every prompt, and nothing for others.
 * Throws a `ProtocolError` for a template, variable or prompt that does not exist.
 */
export async function complete(
  server: Server,
  context: ServerContext,
  { ref, argument }: CompleteRequestParams,
  parts: ServerParts,
): Promise<CompleteResult> {
  const reading = (): Promise<ResourceContext> => resourceContext(server, context, parts);
  const known =
    ref.type === "ref/resource"
      ? await membersOf(ref.uri, argument.name, reading)
      : await valuesOfArgument(ref.name, argument.name, await promptContext(server, context, parts), parts);
  const values = matching(argument.value, known);
  return {
    completion: {
      values: values.slice(0, maxValues),
      total: values.length,
      hasMore: values.length > maxValues,
    },
  };
}

async function membersOf(
  uri: string,
  variable: string,
  reading: () => Promise<ResourceContext>,
): Promise<readonly string[]> {
  const template = resources.find((definition) => definition.uri === uri);
  if (template === undefined || variableOf(template) !== variable) {
    const templates = resources.filter((definition) => variableOf(definition) !== undefined);
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `nothing to complete for ${variable} of ${uri}; templates: ${templates.map((each) => each.uri).join(", ")}`,
    );
  }
  const context = await reading();
  if (template.values !== undefined) return template.values(context);
  const members = await template.list?.(context);
  return (members ?? []).map(({ name }) => name);
}

async function valuesOfArgument(
  prompt: string,
  name: string,
  context: PromptContext,
  parts: ServerParts,
): Promise<readonly string[]> {
  const known = await valuesOfPrompt(prompt, name, context, parts);
  if (known !== undefined) return known;
  const { orchestrator, caller } = context;
  switch (name) {
    case "profile":
      return Object.keys(profiles);
    case "model": {
      const { models } = await orchestrator.listModels(caller, { isInstalledOnly: true });
      return models.map((model) => model.name);
    }
    case "key":
      return orchestrator.memories.matching(caller, { isAll: true });
    default:
      return [];
  }
}

/**
 * What a user who has typed `typed` may mean, best first: names that start so, then those that have it inside, without
 * regard to case; where there is none of either, the most similar ones. Each once.
 */
export function matching(typed: string, known: readonly string[]): readonly string[] {
  const wanted = typed.toLowerCase();
  const names = [...new Set(known)];
  const starting = names.filter((name) => name.toLowerCase().startsWith(wanted));
  const containing = names.filter((name) => name.toLowerCase().indexOf(wanted) > 0);
  const found = [...starting, ...containing];
  return found.length > 0 ? found : nearestNames(typed, names, maxSimilar);
}
