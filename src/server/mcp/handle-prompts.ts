import {
  type GetPromptResult,
  type InputRequiredResult,
  type ListPromptsResult,
  ProtocolError,
  ProtocolErrorCode,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { nearestNames } from "../../orchestrator/util/nearest.ts";
import {
  type ListedPrompt,
  type PromptAnswer,
  type PromptArguments,
  type PromptContext,
  type PromptSource,
  promptSources,
} from "../../prompts/index.ts";
import { type Caller, homeOf } from "../call/caller.ts";
import { callerContext } from "../call/offered-tools.ts";
import { filesOfCaller } from "../call/pipeline.ts";
import { answersTo, isAnswered, missingInput, notAgreed, question } from "../call/ask-user.ts";
import { protocolCall } from "../call/call.ts";
import { icon, pageOf } from "./create-server.ts";
import { errorText, protocolData, textFor } from "../call/error-text.ts";
import { defined } from "../../orchestrator/util/defined.ts";

interface KnownPrompt {
  readonly prompt: ListedPrompt;
  readonly source: PromptSource;
}

/** `prompts/list`, one page. */
export async function listPrompts(
  server: Server,
  context: ServerContext,
  parts: Caller,
  cursor?: string,
): Promise<ListPromptsResult> {
  const known = await knownPrompts(await promptContext(server, context, parts), parts);
  const { entries, ...next } = pageOf("prompts", known, cursor);
  return { prompts: entries.map(({ prompt }) => entryOf(prompt)), ...next };
}

/**
 * `prompts/get`. Asks the user for missing arguments where the client can. Throws a `ProtocolError` with
 * `InvalidParams` for an unknown prompt and for invalid arguments.
 */
export async function getPrompt(
  server: Server,
  context: ServerContext,
  params: { readonly name: string; readonly arguments?: Readonly<Record<string, string>> | undefined },
  parts: Caller,
): Promise<GetPromptResult | InputRequiredResult> {
  const asking = await promptContext(server, context, parts);
  const { source, prompt } = await findPrompt(params.name, asking, parts);
  // Clients send an empty text for an argument that their user left out.
  const given = Object.fromEntries(Object.entries(params.arguments ?? {}).filter(([, value]) => value !== ""));
  const { canAsk, inputResponses } = protocolCall(server, context);
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
    throw new ProtocolError(code, text, protocolData(error, context, shown));
  }
}

/** For completions: the values of an argument that the prompt's source knows. Throws a `ProtocolError` for unknown prompts. */
export async function valuesOfPrompt(
  name: string,
  argument: string,
  asking: PromptContext,
  parts: Caller,
): Promise<readonly string[] | undefined> {
  const { source, prompt } = await findPrompt(name, asking, parts);
  return source.valuesOf?.(prompt.name, argument, asking);
}

/** The orchestrator, the caller and its files for a prompt. */
export async function promptContext(server: Server, context: ServerContext, parts: Caller): Promise<PromptContext> {
  const facts = protocolCall(server, context);
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

function entryOf({ name, title, description, arguments: taken }: ListedPrompt): ListPromptsResult["prompts"][number] {
  return {
    name,
    ...defined({ title }),
    description,
    arguments: taken.map((argument) => ({
      name: argument.name,
      ...defined({ description: argument.description }),
      required: argument.isRequired,
    })),
    icons: [bubbleIcon],
  };
}

function resultOf({ description, messages }: Exclude<PromptAnswer, { needsInput: unknown }>): GetPromptResult {
  return {
    ...defined({ description }),
    messages: messages.map(({ role, text }) => ({ role, content: { type: "text", text } })),
  };
}
