import { throwIfCancelled } from "../api/errors.ts";
import type { ChatMessage, ToolUse } from "../api/chat.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { defaultsIn } from "../routing/model-overrides.ts";
import { estimateTokens } from "../routing/tokens.ts";
import type { LocatedModel } from "../catalog/located-model.ts";
import { questionOf } from "../util/file-name.ts";
import type { CandidateSource } from "./candidates.ts";
import { messageOf } from "../util/values.ts";

/** Tokens that chat templates add to every message. */
const tokensPerMessage = 16;

/**
 * The request as chat messages. Files precede the question, so that a second question about the same files has the same
 * prefix and hits the engine's prefix cache.
 */
export function buildMessages(
  request: GenerateRequest,
  parts: {
    /** Replaces the system prompt of the request. */
    readonly system?: string | undefined;
    /** Remembered entries, quoted as data; appended to the system prompt. */
    readonly memory?: string | undefined;
    /** The conversation so far. */
    readonly history?: readonly ChatMessage[] | undefined;
    /** What followed the question: calls of tools and their results. */
    readonly after?: readonly ChatMessage[] | undefined;
  } = {},
): readonly ChatMessage[] {
  if (request.chat !== undefined) return request.chat.messages;
  const { images = [], audio = [] } = request;
  const { system: own = request.system, memory, history = [], after = [] } = parts;
  const system = own === undefined || memory === undefined ? (own ?? memory ?? "") : `${own}\n\n${memory}`;
  const user: ChatMessage = { role: "user", content: questionOf(request) };
  return [
    ...(system === "" ? [] : [{ role: "system" as const, content: system }]),
    ...history,
    { ...user, ...(images.length > 0 && { images }), ...(audio.length > 0 && { audio }) },
    ...after,
  ];
}

/** Estimated tokens of all messages and tools, without images, for a model with a vocabulary of this size. */
export function countPromptTokens(
  messages: readonly ChatMessage[],
  vocabularySize?: number,
  { tools }: ToolUse = {},
): number {
  let tokens = tokensPerMessage * messages.length;
  for (const { content, toolCalls } of messages) {
    tokens += estimateTokens(content, vocabularySize);
    if (toolCalls !== undefined) tokens += estimateTokens(JSON.stringify(toolCalls), vocabularySize);
  }
  return tools === undefined ? tokens : tokens + estimateTokens(JSON.stringify(tools), vocabularySize);
}

/** Read once per version of a model and cached. Empty if the engine can't read them. */
export async function ownDefaults(
  { inventory, log }: Pick<CandidateSource, "inventory" | "log">,
  located: LocatedModel,
  signal: AbortSignal,
): Promise<ReturnType<typeof defaultsIn>> {
  try {
    return defaultsIn(await inventory.facts(located, signal));
  } catch (error) {
    throwIfCancelled(signal, `reading ${located.model.name}`);
    log.info(`no facts of ${located.model.name}: ${messageOf(error)}`);
    return {};
  }
}
