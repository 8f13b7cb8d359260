import {
  type CompleteRequestParams,
  type CompleteResult,
  ProtocolError,
  ProtocolErrorCode,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { profileNames } from "../../orchestrator/config/profiles.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import type { PromptContext } from "../../prompts/index.ts";
import { type ResourceContext, variableOf } from "../../resources/definition.ts";
import { resources } from "../../resources/index.ts";
import type { Caller } from "../call/caller.ts";
import { promptContext, valuesOfPrompt } from "./handle-prompts.ts";
import { resourceContext } from "./handle-resources.ts";

/** The protocol's limit for one answer. */
const maxValues = 100;
/** Limit for names that are only similar. */
const maxSimilar = 10;

/**
 * `completion/complete`. Completes the variable of a resource template from the existing resources, and an argument of a
 * prompt from the values that the prompt's source knows, else those of `model`, `profile` and `key`, which mean the same
 * in every prompt. Throws a `ProtocolError` for an unknown template, variable or prompt.
 */
export async function complete(
  server: Server,
  context: ServerContext,
  { ref, argument }: CompleteRequestParams,
  parts: Caller,
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
  parts: Caller,
): Promise<readonly string[]> {
  const known = await valuesOfPrompt(prompt, name, context, parts);
  if (known !== undefined) return known;
  const { orchestrator, caller } = context;
  switch (name) {
    case "profile":
      return profileNames(caller.settings.profiles);
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
 * The names that match `typed`, best first, ignoring case: those that start with it, then those that contain it; without
 * any, the most similar ones. No duplicates.
 */
export function matching(typed: string, known: readonly string[]): readonly string[] {
  const wanted = typed.toLowerCase();
  const names = [...new Set(known)];
  const starting = names.filter((name) => name.toLowerCase().startsWith(wanted));
  const containing = names.filter((name) => name.toLowerCase().indexOf(wanted) > 0);
  const found = [...starting, ...containing];
  return found.length > 0 ? found : nearestNames(typed, names, maxSimilar);
}
