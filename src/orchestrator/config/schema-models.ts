import { samplingShape } from "../api/sampling.ts";
import * as z from "zod";
import { OrchestratorError } from "../api/errors.ts";
import { cacheTypes, capabilities, tasks } from "../api/types.ts";
import { profileName, profileSettings, section, setting, thresholds, visibleText } from "./profile-settings.ts";
import { parseOllamaHost } from "../util/ollama-host.ts";
import { connectionSettings, openAiServerList } from "./openai-servers.ts";

/**
 * Where a setting applies: `daemon` (all clients of a home), `caller` (one connection), `request` (one connection, or one
 * request by its input).
 */
export type Scope = "daemon" | "caller" | "request";

declare module "zod" {
  /** What `.meta` says of a setting. */
  interface GlobalMeta {
    readonly scope?: Scope;
    readonly separator?: "comma";
    /**
     * When an assistant may change it without asking its user; absent: never. `ifLocal`: it decides which model answers
     * later prompts, or at what length: only where none is paid or remote. `min`: smaller numbers would stop work of other
     * clients; -1 (never) is free, too. Only what decides how models compute, which local one answers, and how long they
     * stay loaded: a text that an assistant reads may have caused the change, so it must not do more than slow down or
     * vary answers, visibly and reversibly.
     */
    readonly free?: "always" | "ifLocal" | { readonly min: number };
  }
}

export const bytes = z.number().int().min(0);
const count = z.number().int().min(1);
const windowTokens = z.number().int().min(256);
export const daemon = { scope: "daemon" } as const;
/** A list of names that may contain colons: its variable is split at commas, not like a list of folders. */
export const daemonNames = { scope: "daemon", separator: "comma" } as const;
export const caller = { scope: "caller" } as const;
const request = { scope: "request" } as const;

/** One Ollama server: the first, and each entry of `hosts`. */
const ollamaServer = {
  memoryBytes: setting(
    daemon,
    bytes.optional(),
    "Memory available to this server's models, where that isn't this machine's memory: in a container, a virtual machine or another computer.",
  ),
  parallel: setting(
    { ...daemon, free: "always" },
    count.optional(),
    "OLLAMA_NUM_PARALLEL of the server, which Ollama doesn't report: conversations that each model reserves memory for. Without it 1, Ollama's default, until answers were seen to overlap.",
  ),
  cacheType: setting(
    { ...daemon, free: "always" },
    z.enum(cacheTypes).default("f16"),
    "OLLAMA_KV_CACHE_TYPE of the server: the type of its context cache.",
  ),
  flashAttention: setting(
    { ...daemon, free: "always" },
    z.boolean().default(true),
    "OLLAMA_FLASH_ATTENTION of the server; false also where its GPU doesn't support it.",
  ),
};
const ollamaAddress = z.string().min(1).superRefine(isOllamaAddress);

/** The options of sampling without a default. */
const ownByDefault = Object.fromEntries(
  Object.entries(samplingShape).map(([name, number]) => {
    const about = `${number.description?.slice(0, -1)}; the model's own when absent.`;
    return [name, number.meta({ ...request, description: about })];
  }),
) as typeof samplingShape;

export const modelSettings = {
  model: section({
    default: setting(
      { ...caller, free: "ifLocal" },
      visibleText.min(1).optional(),
      "Model used when a request names none.",
    ),
    provider: setting(
      { ...caller, free: "ifLocal" },
      z.enum(["ollama", "llama-cpp"]).optional(),
      "Engine that is preferred where several have a model: ollama, llama-cpp.",
    ),
    judge: setting(
      daemon,
      visibleText.min(1).optional(),
      "Local model that judges the statements of answers (check: judged), in place of one that was made for it.",
    ),
    routing: section({
      enabled: setting(
        { ...caller, free: "ifLocal" },
        z.boolean().default(true),
        "Choose a model by task; false always uses model.default.",
      ),
      defaultProfile: setting(
        { ...caller, free: "ifLocal" },
        z.string().min(1).default("general"),
        "Profile of prompts that match no other: fast, general, code, creative, or another one's name.",
      ),
      maxSwitchSeconds: setting(
        caller,
        z.number().min(0).default(10),
        "Longest expected load, in seconds, for a model that suits the task better than a loaded one; beyond it, a loaded model that matches the fallback profile answers.",
      ),
      overrides: setting(
        caller,
        z.record(visibleText, visibleText.min(1).meta({ free: "ifLocal" })).default({}),
        `Model by task (${tasks.join(", ")}): {code: qwen2.5-coder:7b}.`,
      ),
      learn: setting(
        { ...caller, free: "ifLocal" },
        z.boolean().default(true),
        "Learn from picks, ratings and outcomes which models suit a task, and use it.",
      ),
    }),
    keepAlive: section({
      enabled: setting(
        { ...daemon, free: "always" },
        z.boolean().default(true),
        "Manage keep-alive; false leaves it to each engine and pins no models.",
      ),
      models: setting(
        { ...daemonNames, free: "always" },
        z.array(visibleText).default([]),
        "Patterns of models that stay loaded once they are: neither evicted nor unloaded when idle.",
      ),
      preload: setting(
        { ...daemonNames, free: "always" },
        z.array(visibleText.min(1)).default([]),
        "Models loaded when the daemon starts, as far as they fit without unloading others.",
      ),
      timeout: setting(
        { ...daemon, free: "always" },
        z.number().int().min(-1).default(900),
        "Seconds that a model stays loaded without use; -1 keeps it loaded.",
      ),
    }),
  }),
  profiles: setting(
    caller,
    z.record(profileName, profileSettings).default({}),
    "Profiles by name, for agents and kinds of work; a built-in one keeps what is left out here.",
  ),
  models: setting(
    caller,
    z
      .record(
        visibleText.min(1),
        z.strictObject({
          options: z
            .strictObject({
              ...samplingShape,
              maxTokens: setting({ free: "ifLocal" }, count.optional(), "Maximum tokens of one answer."),
            })
            .optional(),
          contextTokens: setting({ free: "always" }, windowTokens.optional(), "Minimum context window in tokens."),
          keepAlive: setting(
            { free: "always" },
            z.number().int().min(-1).optional(),
            "Seconds that it stays loaded without use; -1 keeps it loaded.",
          ),
          sizeBytes: bytes.optional().describe("Bytes it needs in memory, in place of all estimates."),
          maxParallel: setting(
            { free: "always" },
            count.optional(),
            "Maximum answers at a time; of embedded models eight, by default as many as are no slower together than one by one.",
          ),
          system: z.string().optional().describe("System prompt of requests without one."),
          family: visibleText
            .trim()
            .min(1)
            .max(60)
            .optional()
            .describe("Its family, such as qwen, in place of what its engine or the model database says."),
          capabilities: z
            .array(z.enum(capabilities))
            .min(1)
            .optional()
            .describe("All that it can do, in place of what its engine or the model database says."),
          profiles: z
            .array(profileName)
            .min(1)
            .max(20)
            .optional()
            .describe(
              "Profiles that it is meant for, with those that build on them; requests with other profiles try it last.",
            ),
          maxLatencyMs: thresholds.maxLatencyMs,
          minSuccessRate: thresholds.minSuccessRate,
        }),
      )
      .default({}),
    "Options by pattern of model names; of several matching patterns the last one wins, option by option.",
  ),
  options: section({
    ...ownByDefault,
    temperature: setting(
      { ...request, free: "always" },
      z.number().min(0).max(2).default(0.7),
      "Sampling temperature: 0 always picks the likeliest token, 2 is the most random. Until you set this, a model with a temperature of its own uses that.",
    ),
    maxTokens: setting(
      { ...request, free: "ifLocal" },
      count.default(4096),
      "Maximum tokens of one answer. Until you set this, a model with a `num_predict` of its own uses that.",
    ),
  }),
  providers: section({
    ollama: section({
      enabled: setting(daemon, z.boolean().default(true), "Use Ollama while its server is running."),
      host: setting(daemon, ollamaAddress.default("http://127.0.0.1:11434"), "Address of the Ollama server."),
      hosts: setting(
        daemonNames,
        z.array(z.union([ollamaAddress, z.strictObject({ host: ollamaAddress, ...ollamaServer })])).default([]),
        "Further Ollama servers, the engines ollama-2, ollama-3, ...: addresses, or host with memoryBytes, parallel, cacheType and flashAttention, which mean what they mean of the first. Addresses separated by commas in the variable.",
      ),
      ...ollamaServer,
      ...connectionSettings,
      options: section({
        numCtx: setting(
          { ...request, free: "always" },
          windowTokens.optional(),
          "Minimum context window in tokens, for every engine; grows with the prompt.",
        ),
      }),
    }),
    llamaCpp: section({
      enabled: setting(daemon, z.boolean().default(true), "Use the embedded engine (installed on demand)."),
      threads: setting(
        { ...daemon, free: "always" },
        z.number().int().min(1).max(1024).optional(),
        "Threads for all embedded models together; by default the number of cores.",
      ),
      backend: setting(
        daemon,
        z.enum(["cpu", "cuda", "vulkan"]).optional(),
        "What the embedded engine computes with: cpu (on Apple silicon with Metal), or graphics cards by cuda or vulkan, for which other binaries are installed. `ollm setup --engine` sets it; by default cpu.",
      ),
    }),
    openai: setting(
      daemon,
      openAiServerList.default([]),
      "Servers that speak OpenAI's protocol: clouds, clusters, LM Studio, llama-server. Each is an engine, after the others. JSON in the variable.",
    ),
  }),
};

/** Reports an address that the engine would reject. */
function isOllamaAddress(value: string, context: z.RefinementCtx): void {
  try {
    parseOllamaHost(value);
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    context.addIssue({ code: "custom", message: `${error.message}; write host, host:port or http(s)://host:port` });
  }
}
