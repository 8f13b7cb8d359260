import { estimateTokens } from "../catalog/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { frameFile } from "../util/file-frame.ts";

/** Parts of a prompt beside the request. */
export interface PromptParts {
  /** Replaces the system prompt of the request. */
  readonly system?: string | undefined;
  /** Remembered entries, quoted as data; appended to the system prompt. */
  readonly memory?: string | undefined;
  /** The conversation so far. */
  readonly history?: readonly ChatMessage[] | undefined;
}

/** Tokens that chat templates add to every message. */
const tokensPerMessage = 16;

/**
 * The request as chat messages. Files precede the question, so that a second question about the same files has the same
 * prefix and hits the engine's prefix cache.
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

/** Estimated tokens of all messages, without images. */
export function countPromptTokens(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + estimateTokens(message.content) + tokensPerMessage, 0);
}
