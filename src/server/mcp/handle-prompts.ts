import {
  type CompleteRequestParams,
  type CompleteResult,
  type GetPromptResult,
  type InputRequiredResult,
  type ListPromptsResult,
  ProtocolError,
  ProtocolErrorCode,
} from "@modelcontextprotocol/server";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { profileNames } from "../../orchestrator/config/profiles.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import {
  type ListedPrompt,
  type PromptAnswer,
  type PromptArguments,
  type PromptContext,
  type PromptSource,
  promptSources,
} from "../../prompts/index.ts";
import { variableOf } from "../../resources/definition.ts";
import { resources } from "../../resources/index.ts";
import { type Caller, homeOf } from "../call/caller.ts";
import { callerContext } from "../call/offered-tools.ts";
import { filesOfCaller } from "../call/pipeline.ts";
import { answersTo, isAnswered, missingInput, notAgreed, question } from "../call/ask-user.ts";
import type { Call } from "../call/call.ts";
import { icon, pageOf } from "./create-server.ts";
import { resourceContext } from "./handle-resources.ts";
import { errorText, protocolData, textFor } from "../call/error-text.ts";
import { defined } from "../../orchestrator/util/values.ts";

type KnownPrompt = Readonly<{ prompt: ListedPrompt; source: PromptSource }>;

/** `prompts/list`, one page. */
export async function listPrompts(facts: Call, parts: Caller, cursor?: string): Promise<ListPromptsResult> {
  const known = await knownPrompts(await promptContext(facts, parts), parts);
  const { entries, ...next } = pageOf("prompts", known, cursor);
  return {
    prompts: entries.map(({ prompt: { aliases: _aliases, ...prompt } }) => ({ ...prompt, icons: [bubbleIcon] })),
    ...next,
  };
}

/**
 * `prompts/get`. Asks the user for missing arguments where the client can. Throws a `ProtocolError` with
 * `InvalidParams` for an unknown prompt and for invalid arguments.
 */
export async function getPrompt(
  facts: Call,
  parts: Caller,
  params: { readonly name: string; readonly arguments?: Readonly<Record<string, string>> | undefined },
): Promise<GetPromptResult | InputRequiredResult> {
  const asking = await promptContext(facts, parts);
  const { source, prompt } = await findPrompt(params.name, asking, parts);
  // Clients send an empty text for an argument that their user left out.
  const given = Object.fromEntries(Object.entries(params.arguments ?? {}).filter(([, value]) => value !== ""));
  const { canAsk, inputResponses } = facts;
  try {
    const first = await source.get(prompt.name, given, asking);
    if (!("needsInput" in first)) return resultOf(first);
    const needs = first.needsInput;
    if (!canAsk && first.otherwise !== undefined) return resultOf(first.otherwise);
    if (!canAsk) throw missingInput(needs);
    const answers = answersTo(needs, inputResponses);
    if (answers === undefined) return question(needs);
    const again = await source.get(prompt.name, { ...given, ...(answers as PromptArguments) }, asking);
    if (!("needsInput" in again)) return resultOf(again);
    // One round only: asking again for an unanswered field would loop.
    if (isAnswered(again.needsInput, answers)) throw notAgreed(needs.message);
    throw missingInput(again.needsInput);
  } catch (error) {
    const shown = textFor(parts, undefined, given);
    const text = shown(errorText(error, `prompt ${prompt.name}`, parts.log));
    const code = error instanceof OrchestratorError ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError;
    throw new ProtocolError(code, text, protocolData(error, facts, shown));
  }
}

/** The orchestrator, the caller and its files for a prompt. */
async function promptContext(facts: Call, parts: Caller): Promise<PromptContext> {
  const home = await homeOf(parts, facts);
  const files = filesOfCaller(facts, parts, home);
  return {
    orchestrator: home.orchestrator,
    caller: callerContext(facts, parts, home),
    readText: (paths) => files.readText(paths),
  };
}

async function findPrompt(name: string, asking: PromptContext, parts: Caller): Promise<KnownPrompt> {
  const known = await knownPrompts(asking, parts);
  const found =
    known.find(({ prompt }) => prompt.name === name) ??
    known.find(({ prompt: { aliases = [] } }) => aliases.includes(name));
  if (found !== undefined) return found;
  const names = known.map(({ prompt }) => prompt.name);
  const [close] = nearestNames(name, names, 1);
  const advice = close === undefined ? `prompts: ${names.join(", ") || "none"}` : `did you mean "${close}"?`;
  throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown prompt "${name}", ${advice}`);
}

/** The prompts of all sources, each name once. A source that fails is logged and skipped. */
async function knownPrompts(asking: PromptContext, parts: Caller): Promise<readonly KnownPrompt[]> {
  const known = new Map<string, KnownPrompt>();
  for (const source of promptSources) {
    try {
      for (const prompt of await source.list(asking)) {
        if (!known.has(prompt.name)) known.set(prompt.name, { prompt, source });
      }
    } catch (error) {
      parts.log.warn(`prompts: ${errorText(error, source.name, parts.log)}`);
    }
  }
  return [...known.values()];
}

/** A speech bubble. */
const bubbleIcon = icon("M4 5h16v11H11l-5 4v-4H4z");

function resultOf({ description, text }: Exclude<PromptAnswer, { needsInput: unknown }>): GetPromptResult {
  return { ...defined({ description }), messages: [{ role: "user", content: { type: "text", text } }] };
}

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
  facts: Call,
  parts: Caller,
  { ref, argument }: CompleteRequestParams,
): Promise<CompleteResult> {
  const known =
    ref.type === "ref/resource"
      ? await membersOf(ref.uri, argument.name, facts, parts)
      : await valuesOfArgument(ref.name, argument.name, await promptContext(facts, parts), parts);
  const values = matching(argument.value, known);
  return {
    completion: {
      values: values.slice(0, maxValues),
      total: values.length,
      hasMore: values.length > maxValues,
    },
  };
}

async function membersOf(uri: string, variable: string, facts: Call, parts: Caller): Promise<readonly string[]> {
  const template = resources.find((definition) => definition.uri === uri);
  if (template === undefined || variableOf(template) !== variable) {
    const templates = resources.filter((definition) => variableOf(definition) !== undefined);
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      `nothing to complete for ${variable} of ${uri}; templates: ${templates.map((each) => each.uri).join(", ")}`,
    );
  }
  const context = await resourceContext(facts, parts);
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
  const found = await findPrompt(prompt, context, parts);
  const known = await found.source.valuesOf?.(found.prompt.name, name, context);
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
