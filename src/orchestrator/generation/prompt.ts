import { throwIfCancelled } from "../api/errors.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { ModelFacts } from "../api/types.ts";
import { estimateTokens } from "../routing/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import type { LocatedModel } from "../catalog/located-model.ts";
import { questionOf } from "../util/file-frame.ts";
import type { CandidateSource } from "./candidates.ts";
import type { OwnDefaults } from "./resolve.ts";
import { messageOf } from "../util/message-of.ts";
import { defined } from "../util/defined.ts";

/** Parts of a prompt beside the request. */
interface PromptParts {
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
  const { images = [], audio = [] } = request;
  const { system: own = request.system, memory, history = [] } = parts;
  const system = own === undefined || memory === undefined ? (own ?? memory ?? "") : `${own}\n\n${memory}`;
  const user: ChatMessage = { role: "user", content: questionOf(request) };
  return [
    ...(system === "" ? [] : [{ role: "system" as const, content: system }]),
    ...history,
    { ...user, ...(images.length > 0 && { images }), ...(audio.length > 0 && { audio }) },
  ];
}

/** Estimated tokens of all messages, without images. */
export function countPromptTokens(messages: readonly ChatMessage[]): number {
  let tokens = tokensPerMessage * messages.length;
  for (const { content } of messages) tokens += estimateTokens(content);
  return tokens;
}

/** Per facts of a model, which are the same object as long as they are cached. */
const defaultsOf = new WeakMap<ModelFacts, OwnDefaults>();

/** Read once per version of a model and cached. Empty if the engine can't read them. */
export async function ownDefaults(
  { inventory, log }: Pick<CandidateSource, "inventory" | "log">,
  located: LocatedModel,
  signal: AbortSignal,
): Promise<OwnDefaults> {
  try {
    return defaultsIn(await inventory.facts(located, signal));
  } catch (error) {
    throwIfCancelled(signal, `reading ${located.model.name}`);
    log.info(`no facts of ${located.model.name}: ${messageOf(error)}`);
    return {};
  }
}

function defaultsIn(facts: ModelFacts): OwnDefaults {
  const known = defaultsOf.get(facts);
  if (known !== undefined) return known;
  const { system, parameters = {} } = facts;
  const temperature = numberOf(parameters["temperature"]);
  // For Ollama 0 and less mean no limit, or the window: our defaults apply instead.
  const maxTokens = positiveOf(parameters["num_predict"]);
  const contextTokens = positiveOf(parameters["num_ctx"]);
  const own = {
    ...(system === undefined || system === "" ? {} : { system }),
    ...defined({ temperature, maxTokens, contextTokens }),
  };
  defaultsOf.set(facts, own);
  return own;
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

function positiveOf(value: unknown): number | undefined {
  const number = numberOf(value);
  return number !== undefined && Number.isSafeInteger(number) && number > 0 ? number : undefined;
}
