import { UnsupportedCapability } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { StoredModel } from "./store/store.ts";
import type { ChatMessage, GenerationRequest } from "../generation.ts";
import type { ChildSampling, GenerateRequest } from "./child/protocol.ts";

/**
 * Ollama's defaults (`DefaultOptions` in its `api/types.go`), except for the repeat penalty: Ollama has none, and small
 * models then repeat themselves.
 */
const defaults = { temperature: 0.8, topP: 0.9, topK: 40, minP: 0, repeatPenalty: 1.1, repeatLastTokens: 64 } as const;

/** Supported parameters of a manifest; `num_ctx` and `num_predict` are applied where requests are sized. */
export const readParameters = [
  "frequency_penalty",
  "min_p",
  "num_ctx",
  "num_predict",
  "presence_penalty",
  "repeat_last_n",
  "repeat_penalty",
  "seed",
  "stop",
  "temperature",
  "top_k",
  "top_p",
] as const;

/**
 * Returns the child's request, with the manifest's `SYSTEM` and `PARAMETER` lines as defaults. Throws
 * `UnsupportedCapability` for images.
 */
export function prepareRequest(
  stored: StoredModel,
  request: GenerationRequest,
  format: GenerateRequest["format"],
): GenerateRequest {
  if (request.messages.some((message) => (message.images?.length ?? 0) > 0)) {
    throw new UnsupportedCapability(
      `${stored.name} can't process images: the embedded engine does not support vision`,
      {
        next: [advice("use a vision model through Ollama"), { step: "omitArgument", argument: "images" }],
      },
    );
  }
  return {
    type: "generate",
    messages: withSystem(request.messages, stored.system).map(({ role, content }) => ({ role, content })),
    ...(format === undefined ? {} : { format }),
    ...(request.think === undefined ? {} : { think: request.think }),
    maxTokens: request.maxTokens,
    sequences: request.sequences ?? 1,
    sampling: samplingOf(stored.parameters, request, format !== undefined),
  };
}

/** Adds the model's own system prompt to messages without one. */
export function withSystem(messages: readonly ChatMessage[], system: string | undefined): readonly ChatMessage[] {
  if (system === undefined || system === "" || messages.some((message) => message.role === "system")) return messages;
  return [{ role: "system", content: system }, ...messages];
}

function samplingOf(
  parameters: StoredModel["parameters"],
  { sampling: requested, contextTokens }: GenerationRequest,
  hasFormat: boolean,
): ChildSampling {
  const number = (key: (typeof readParameters)[number]): number | undefined => {
    const value = parameters[key];
    const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    return typeof parsed === "number" && Number.isFinite(parsed) ? parsed : undefined;
  };
  const seed = requested.seed ?? number("seed");
  const stop = requested.stop ?? [parameters["stop"]].flat();
  const repeatLastTokens = number("repeat_last_n") ?? defaults.repeatLastTokens;
  return {
    temperature: requested.temperature ?? number("temperature") ?? defaults.temperature,
    topP: requested.topP ?? number("top_p") ?? defaults.topP,
    topK: requested.topK ?? number("top_k") ?? defaults.topK,
    minP: number("min_p") ?? defaults.minP,
    // In Ollama, negative means random.
    ...(seed === undefined || seed < 0 ? {} : { seed }),
    stop: stop.filter((text): text is string => typeof text === "string" && text !== ""),
    // Keys and brackets of JSON have to repeat.
    repeatPenalty: number("repeat_penalty") ?? (hasFormat ? 1 : defaults.repeatPenalty),
    // In Ollama, negative means the whole context; 0 is off.
    repeatLastTokens: repeatLastTokens < 0 ? contextTokens : repeatLastTokens,
    frequencyPenalty: number("frequency_penalty") ?? 0,
    presencePenalty: number("presence_penalty") ?? 0,
  };
}
