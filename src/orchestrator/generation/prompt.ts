import { estimateTokens } from "../catalog/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import type { GenerateRequest } from "../facade.ts";
import { frameFile } from "../text/file-frame.ts";

/** What is known of a prompt beside the request itself. */
export interface PromptParts {
  /** In place of the request's own, which it may contain. */
  readonly system?: string | undefined;
  /** Remembered entries, quoted as data. */
  readonly memory?: string | undefined;
  /** The conversation so far. */
  readonly history?: readonly ChatMessage[] | undefined;
}

/** Chat templates wrap every message in a few tokens of their own. */
const tokensPerMessage = 16;

/**
 * The chat a request becomes. Files stand before the question, so that a second question about the same files shares
 * its beginning with the first and the engine's prefix cache skips them. What is remembered stands at the end of the
 * system prompt.
 */
export function buildMessages(request: GenerateRequest, parts: PromptParts = {}): readonly ChatMessage[] {
  const system = [parts.system ?? request.system, parts.memory].filter((part) => part !== undefined).join("\n\n");
  const user: ChatMessage = {
    role: "user",
    content: questionOf(request),
    ...(request.images === undefined || request.images.length === 0 ? {} : { images: request.images }),
  };
  return [...(system === "" ? [] : [{ role: "system" as const, content: system }]), ...(parts.history ?? []), user];
}

/** Files and prompt as one text. */
export function questionOf(request: GenerateRequest): string {
  return (request.files ?? []).map(frameFile).join("") + request.prompt;
}

/** Estimated tokens of everything the engine will read, images left out. */
export function countPromptTokens(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + estimateTokens(message.content) + tokensPerMessage, 0);
}
