import { dirname, join } from "node:path";
import type { ChatMessage } from "../../api/chat.ts";
import { InvalidRequest, UnsupportedCapability } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { LoadRules } from "../engine.ts";
import type { GenerationRequest } from "../generation.ts";
import type { GgufHeader } from "../gguf/header.ts";
import type { ChildSampling, GenerateRequest, LoadRequest } from "./child/protocol.ts";
import { keyOf, speedsFileOf } from "./child/threads.ts";
import { type Backend, engineVersion } from "./install/platform.ts";
import type { StoredModel } from "./store/reader.ts";
import { defined } from "../../util/values.ts";

/**
 * Ollama's defaults (`DefaultOptions` in its `api/types.go`), except for the repeat penalty: Ollama has none, and small
 * models then repeat themselves.
 */
const defaults = { temperature: 0.8, topP: 0.9, topK: 40, minP: 0, repeatPenalty: 1.1, repeatLastTokens: 64 } as const;

/** Supported parameters of a manifest; `num_ctx` and `num_predict` are applied where requests are sized. */
export { default as readParameters } from "./read-parameters.json" with { type: "json" };

/**
 * Returns the child's request, with the manifest's `SYSTEM` and `PARAMETER` lines as defaults. Throws
 * `UnsupportedCapability` for images.
 */
export function prepareRequest(stored: StoredModel, request: GenerationRequest): GenerateRequest {
  if (request.messages.some((message) => (message.images?.length ?? 0) > 0)) {
    throw new UnsupportedCapability(
      `${stored.name} can't process images: the embedded engine does not support vision`,
      {
        next: [advice("use a vision model through Ollama"), { step: "omitArgument", argument: "images" }],
      },
    );
  }
  const { format, toolChoice = "auto" } = request;
  const prompt = promptParts(stored, request);
  if (typeof toolChoice === "object" && request.tools?.every(({ name }) => name !== toolChoice.name) !== false) {
    throw new InvalidRequest(`tool ${toolChoice.name} is to be called, and is not among the tools of the request`, {
      next: advice("name one of its tools, or none"),
    });
  }
  return {
    type: "generate",
    ...prompt,
    ...defined({ format, choices: request.choices, singleCall: request.singleCall }),
    ...(prompt.tools !== undefined && toolChoice !== "none" && { toolChoice }),
    maxTokens: request.maxTokens,
    sequences: request.sequences ?? 1,
    ...(request.background?.aborted === true && { isBehind: true }),
    sampling: samplingOf(stored.parameters, request, format !== undefined),
  };
}

/** What the prompt is made of. */
export function promptParts(
  stored: StoredModel,
  { messages, think, tools, toolChoice }: Pick<GenerationRequest, "messages" | "think" | "tools" | "toolChoice">,
): Pick<GenerateRequest, "messages" | "think" | "tools"> {
  return {
    messages: withSystem(messages, stored.system).map(({ images: _images, audio: _audio, ...message }) => message),
    ...defined({ think }),
    ...(tools !== undefined && tools.length > 0 && toolChoice !== "none" && { tools }),
  };
}

/** Adds the model's own system prompt to messages without one. */
function withSystem(messages: readonly ChatMessage[], system: string | undefined): readonly ChatMessage[] {
  if (system === undefined || system === "" || messages.some((message) => message.role === "system")) return messages;
  return [{ role: "system", content: system }, ...messages];
}

function samplingOf(
  parameters: StoredModel["parameters"],
  { sampling: requested, contextTokens }: GenerationRequest,
  hasFormat: boolean,
): ChildSampling {
  const number = (key: string): number | undefined => {
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
    ...defined({ mostGuesses: number("draft_num_predict") }),
    frequencyPenalty: requested.frequencyPenalty ?? number("frequency_penalty") ?? 0,
    presencePenalty: requested.presencePenalty ?? number("presence_penalty") ?? 0,
  };
}

/**
 * Maximum prompt tokens of one evaluation. llama.cpp reserves unused logits (vocabulary × 4 bytes) for each: 512 would
 * take 98 MiB for a vocabulary of 49,152 tokens and 307 MiB for 150,000. Chunks of a prompt are rarely larger than this.
 */
export const batchTokens = 128;

interface LoadParts
  extends Pick<LoadRequest, "isEmbedding" | "contextTokens" | "threads">, Partial<Pick<LoadRequest, "gpuLayers">> {
  readonly stored: StoredModel;
  readonly header: GgufHeader;
  readonly backend?: Backend;
  /** For the prompts of all models. */
  readonly promptsFolder: string;
}

/** Returns the child's load request for a file and the requested options. */
export function loadRequestFor({ stored, header, isEmbedding, contextTokens, ...parts }: LoadParts): LoadRequest {
  const { backend, gpuLayers = 0 } = parts;
  // A state that a card computed is not one of the processor, and speeds depend on how much the card does.
  const [states, speeds] = gpuLayers === 0 ? ["", ""] : [`-${backend}`, `-${backend}-${gpuLayers}`];
  return {
    type: "load",
    file: stored.weightsFile,
    adapterFiles: stored.adapterFiles,
    useMmap: !Object.keys(header.weightsByType).some((type) => repackedTypes.test(type)),
    contextTokens,
    batchTokens,
    isEmbedding,
    ...guessesOf(header),
    gpuLayers,
    threads: parts.threads,
    promptFolder: join(parts.promptsFolder, keyOf(stored, `${engineVersion}${states}`)),
    speedsFile: speedsFileOf(dirname(parts.promptsFolder), stored, `${engineVersion}${speeds}`),
  };
}

/** For each token of a batch of which the next one is sampled, llama.cpp keeps the logits of the whole vocabulary. */
const logitBytes = 4;
const [fewestGuesses, mostGuesses] = [15, 63];
/** Logits of guesses may take such a part of the weights; those of a few are taken anyway. */
const guessShare = 0.04;

function guessesOf({ vocabularySize = 0, weightsBytes }: GgufHeader): Pick<LoadRequest, "mostGuesses" | "guessBytes"> {
  const bytesOfEach = logitBytes * vocabularySize;
  const affordable = Math.floor((guessShare * weightsBytes) / Math.max(1, bytesOfEach));
  const most = Math.min(mostGuesses, Math.max(fewestGuesses, affordable));
  return { mostGuesses: most, guessBytes: bytesOfEach * most };
}

/**
 * Types that llama.cpp reorders for processors with special instructions (`ggml-cpu/repack.cpp`, `ggml-cpu/amx`). If the
 * file were mapped, they would take their memory twice: SmolLM2 in F16 took 752 MB on a processor with AMX, where 533 MB
 * were predicted. Which processor repacks which type changes with each version, so the processor is not considered.
 */
const repackedTypes = /^(Q4_|IQ4_|Q2_K|Q5_K|Q6_K|Q8_0|F16$)/;

/** One process per file of weights and adapters, whatever the options. */
export const embeddedLoadRules: LoadRules = {
  loadShape: (_facts, contextTokens) => ({
    contextTokens,
    parallel: 1,
    batchTokens,
    cacheType: "f16",
    hasFlashAttention: true,
  }),
  processOf({ weightsDigest, attachedDigests = [] }) {
    if (weightsDigest === undefined) return undefined;
    const runner = JSON.stringify([weightsDigest, attachedDigests]);
    return { slot: runner, runner };
  },
};
