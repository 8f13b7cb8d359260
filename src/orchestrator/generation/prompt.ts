import { throwIfCancelled } from "../api/errors.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { CallerSettings } from "../api/types.ts";
import { estimateTokens } from "../catalog/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import type { LocatedModel } from "../models/located-model.ts";
import { frameFile } from "../util/file-frame.ts";
import type { CandidateSource } from "./candidates.ts";

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

/** A model's own defaults, from the `SYSTEM` and `PARAMETER` lines of its manifest. */
export interface OwnDefaults {
  readonly system?: string;
  readonly temperature?: number;
  /** `num_predict` */
  readonly maxTokens?: number;
  /** `num_ctx` */
  readonly contextTokens?: number;
}

/** Read once per version of a model and cached. Empty if the engine can't read them. */
export async function ownDefaults(
  { inventory, log }: Pick<CandidateSource, "inventory" | "log">,
  located: LocatedModel,
  signal: AbortSignal,
): Promise<OwnDefaults> {
  try {
    const { system, parameters = {} } = await inventory.facts(located, signal);
    const temperature = numberOf(parameters["temperature"]);
    // For Ollama 0 and less mean no limit, or the window: our defaults apply instead.
    const [maxTokens, contextTokens] = ["num_predict", "num_ctx"].map((name) => positiveOf(parameters[name]));
    return {
      ...(system === undefined || system === "" ? {} : { system }),
      ...(temperature === undefined ? {} : { temperature }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(contextTokens === undefined ? {} : { contextTokens }),
    };
  } catch (error) {
    throwIfCancelled(signal, `reading ${located.model.name}`);
    log.info(`no facts of ${located.model.name}: ${error instanceof Error ? error.message : String(error)}`);
    return {};
  }
}

/** The setting or, where it is unset, the model's own default. */
export function settingOrOwn<Name extends "temperature" | "maxTokens">(
  name: Name,
  settings: CallerSettings,
  own: OwnDefaults,
): CallerSettings[Name] {
  return settings.unset?.includes(name) === true ? (own[name] ?? settings[name]) : settings[name];
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

function positiveOf(value: unknown): number | undefined {
  const number = numberOf(value);
  return number !== undefined && Number.isSafeInteger(number) && number > 0 ? number : undefined;
}
