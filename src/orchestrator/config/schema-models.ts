import * as z from "zod";
import { OrchestratorError } from "../errors.ts";
import { parseOllamaHost } from "../text/ollama-host.ts";
import { cacheTypes } from "../types.ts";
import { bytes, caller, daemon, daemonNames, request } from "./scope.ts";

/** Settings of models and engines: parts of the one schema in `schema.ts`. */
export const modelSettings = {
  model: z
    .strictObject({
      default: z.string().min(1).optional().meta(caller).describe("Model used when a request names none."),
      provider: z
        .enum(["ollama", "llama-cpp"])
        .optional()
        .meta(caller)
        .describe("Engine that is asked first where several hold a model: ollama, llama-cpp."),
      routing: z
        .strictObject({
          enabled: z
            .boolean()
            .default(true)
            .meta(caller)
            .describe("Choose a model by task; false always takes model.default."),
          defaultProfile: z
            .enum(["fast", "general", "code", "creative"])
            .default("general")
            .meta(caller)
            .describe("Profile of a prompt that matches no other."),
          maxSwitchSeconds: z
            .number()
            .min(0)
            .default(10)
            .meta(caller)
            .describe(
              "Most seconds that loading a model which fits the task better may be expected to take; beyond, a loaded one that matches the fallback profile answers.",
            ),
          overrides: z
            .record(z.string(), z.string().min(1))
            .default({})
            .meta(caller)
            .describe(
              "Task (code, general, creative, fast, vision, embedding) to model name: {code: qwen2.5-coder:7b}.",
            ),
        })
        .prefault({}),
      keepAlive: z
        .strictObject({
          enabled: z
            .boolean()
            .default(true)
            .meta(daemon)
            .describe("false leaves it to each engine how long a model stays, and pins none."),
          models: z
            .array(z.string())
            .default([])
            .meta(daemonNames)
            .describe(
              "Patterns of models that stay once they are loaded: neither evicted nor unloaded for being idle.",
            ),
          preload: z
            .array(z.string().min(1))
            .default([])
            .meta(daemonNames)
            .describe("Names of models that are loaded at the start, as far as they fit without unloading others."),
          timeout: z
            .number()
            .int()
            .min(-1)
            .default(900)
            .meta(daemon)
            .describe("Seconds a model stays loaded without use; -1 keeps it."),
        })
        .prefault({}),
    })
    .prefault({}),
  models: z
    .record(
      z.string().min(1),
      z.strictObject({
        options: z
          .strictObject({
            temperature: z.number().min(0).max(2).optional().describe("Sampling temperature."),
            topP: z.number().gt(0).max(1).optional().describe("Nucleus sampling."),
            maxTokens: z.number().int().min(1).optional().describe("Most tokens of one answer."),
          })
          .optional(),
        contextTokens: z.number().int().min(256).optional().describe("At least this many tokens of context."),
        keepAlive: z.number().int().min(-1).optional().describe("Seconds it stays loaded without use; -1 keeps it."),
        sizeBytes: bytes.optional().describe("Bytes it takes in memory, in place of every estimate."),
        maxParallel: z
          .number()
          .int()
          .min(1)
          .optional()
          .describe("Most answers at a time; an embedded model gives one whatever is set."),
        system: z.string().optional().describe("System prompt of requests that bring none."),
      }),
    )
    .default({})
    .meta(caller)
    .describe("Pattern of model names to what holds for them; of several the last one wins, option by option."),
  options: z
    .strictObject({
      temperature: z
        .number()
        .min(0)
        .max(2)
        .default(0.7)
        .meta(request)
        .describe(
          "Sampling temperature: 0 always takes the likeliest token, 2 is the wildest. A model that was made with one of its own goes by that until you set this.",
        ),
      topP: z.number().gt(0).max(1).optional().meta(request).describe("Nucleus sampling; the model's own when absent."),
      maxTokens: z
        .number()
        .int()
        .min(1)
        .default(4096)
        .meta(request)
        .describe("Most tokens of one answer; a model's own `num_predict` until you set this."),
    })
    .prefault({}),
  providers: z
    .strictObject({
      ollama: z
        .strictObject({
          enabled: z.boolean().default(true).meta(daemon).describe("Use an Ollama server when it answers."),
          host: z
            .string()
            .min(1)
            .superRefine(isOllamaAddress)
            .default("http://127.0.0.1:11434")
            .meta(daemon)
            .describe("Address of the Ollama server."),
          hosts: z
            .array(z.string().min(1).superRefine(isOllamaAddress))
            .default([])
            .meta(daemonNames)
            .describe(
              "Addresses of further Ollama servers: the engines ollama-2, ollama-3, ... Commas between them in the variable.",
            ),
          memoryBytes: bytes
            .optional()
            .meta(daemon)
            .describe(
              "Memory that this server's models have for themselves, where it isn't all of this machine's: in a container, a virtual machine, another computer.",
            ),
          parallel: z
            .number()
            .int()
            .min(1)
            .default(1)
            .meta(daemon)
            .describe(
              "OLLAMA_NUM_PARALLEL of the server at host, which it doesn't tell: conversations that each model keeps room for.",
            ),
          cacheType: z
            .enum(cacheTypes)
            .default("f16")
            .meta(daemon)
            .describe("OLLAMA_KV_CACHE_TYPE of the server at host: how it keeps the context in memory."),
          flashAttention: z
            .boolean()
            .default(true)
            .meta(daemon)
            .describe("OLLAMA_FLASH_ATTENTION of the server at host; false also where its graphics card can't."),
          options: z
            .strictObject({
              numCtx: z
                .number()
                .int()
                .min(256)
                .optional()
                .meta(request)
                .describe("At least this many tokens of context, with every engine; grows with the prompt."),
            })
            .prefault({}),
        })
        .prefault({}),
      llamaCpp: z
        .strictObject({
          enabled: z.boolean().default(true).meta(daemon).describe("Use the embedded engine (installed on demand)."),
          threads: z
            .number()
            .int()
            .min(1)
            .optional()
            .meta(daemon)
            .describe("Threads for all embedded models together; the machine's cores when absent."),
        })
        .prefault({}),
    })
    .prefault({}),
};

/** What the engine would refuse is wrong where it is written already. */
function isOllamaAddress(value: string, context: z.RefinementCtx): void {
  try {
    parseOllamaHost(value);
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    context.addIssue({ code: "custom", message: `${error.message}; write host, host:port or http(s)://host:port` });
  }
}
