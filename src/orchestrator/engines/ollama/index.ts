import {
  EngineUnreachable,
  OrchestratorError,
  PullFailed,
  GenerationFailed,
  LoadFailed,
  PromptTooLong,
  UnknownModel,
  undefinedIf,
  UnloadUnconfirmed,
  UnsupportedCapability,
} from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { OllamaServerOptions, LoadShape, ModelFacts } from "../../api/types.ts";
import { parseOllamaHost } from "../../util/ollama-host.ts";
import { createAddressGuard } from "../address-guard.ts";
import type { PoolOptions } from "../connection-pools.ts";
import type {
  Engine,
  EngineHealth,
  LoadRules,
  EngineEmbedding,
  EngineResidency,
  LoadOptions,
  ResidentModel,
} from "../engine.ts";
import type { InspectGguf } from "../gguf/header.ts";
import { type OllamaTimeouts, controlCall, defaultTimeouts, OllamaTransport } from "./transport.ts";
import { type OllamaContext, createModels, versionOf, modelsOf, residentModel, weightsOf } from "./facts.ts";
import { generate, overlapsOf, noTruncation } from "./generate.ts";
import { OllamaLibrary } from "./library.ts";
import { longCall } from "../transport.ts";
import { defined } from "../../util/values.ts";
import { setTimeout as delay } from "node:timers/promises";
import { type NextStep, advice } from "../../api/next-step.ts";
import { isCloudName, sameModel } from "../../util/model-name.ts";
import { embeddedTokens } from "../generation.ts";

/** The defaults of the settings: enough for concurrent status, listing and unloading; more would queue inside Ollama. */
const defaultPool: PoolOptions = { connections: 10, keepAliveMs: 30_000 };

/**
 * The adapter of one Ollama server. Its trust is `local` on loopback only: a server in the LAN is `remote`, so that
 * `privacy: local_only` keeps text on this machine. Cloud models are `remote` on every server. Opens no connection and
 * loads no HTTP package before the first call. Throws `InvalidConfig` for an invalid address.
 */
export function createOllamaEngine(options: {
  /** Default `ollama`; must be unique among several servers. */
  readonly id?: string;
  /** In any shape of `OLLAMA_HOST`: `127.0.0.1:11434`, `:11434`, `http://box.lan`. */
  readonly host: string;
  /** Memory of a server that has its own (another computer, container, virtual machine), even if it answers on loopback. */
  readonly memoryBytes?: number;
  /** From its environment, which it doesn't report; as far as it is known. */
  readonly serverOptions?: Partial<OllamaServerOptions>;
  /** `Engine.isOptional`. */
  readonly isOptional?: () => Promise<boolean>;
  /** A clock in milliseconds, with any origin. */
  readonly now: () => number;
  readonly log: Log;
  readonly timeouts?: Partial<OllamaTimeouts>;
  /** Asked before each request. */
  readonly pool?: () => PoolOptions;
  /** Private addresses (`host` or `host:port`) that the server, and registries that it pulls from, may have. */
  readonly allowedHosts?: () => readonly string[];
  /** Checks an adapter file before it is uploaded; absent: unchecked. */
  readonly inspect?: InspectGguf;
}): Engine & Required<Pick<Engine, "connections">> {
  const host = parseOllamaHost(options.host);
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const { allowedHosts = () => [] } = options;
  const transport = new OllamaTransport(
    host,
    createAddressGuard({
      allowedHosts,
      isLoopbackAllowed: true,
      refuse: (message, next) => new EngineUnreachable(`Ollama at ${message}`, { next }),
    }),
    options.pool ?? (() => defaultPool),
  );
  const registries = createAddressGuard({
    allowedHosts,
    refuse: (message, next) => new PullFailed(message, { next }),
  });
  const trust = host.isLoopback ? "local" : "remote";

  const { now, log, inspect } = options;
  const models = createModels(host, trust, transport, timeouts, now);
  const shared = { transport, timeouts, models, registries, streams: new Map(), now, log };
  const context: OllamaContext = { ...shared, ...(inspect && { inspect }) };
  const residency = { ...createResidency(context), ...ollamaLoadRules(options.serverOptions) };

  const health = async (signal: AbortSignal): Promise<EngineHealth> => {
    const bound = { kind: "total", ms: timeouts.healthMs } as const;
    try {
      const exchange = { ...controlCall(timeouts, "checking its health"), bound };
      const version = await transport.ask(exchange, signal, async ({ ollama }) => versionOf(await ollama.version()));
      return { isReachable: true, version };
    } catch (error) {
      const message = error instanceof OrchestratorError ? error.message : String(error);
      return { isReachable: false, message };
    }
  };

  return {
    id: options.id ?? "ollama",
    kind: "ollama",
    usesCards: true,
    trust,
    memoryDomain: host.isLoopback && options.memoryBytes === undefined ? "local" : host.label,
    ...defined({ memoryBytes: options.memoryBytes }),
    parallelAnswers: 4,
    answersAtOnce: (model) => options.serverOptions?.parallel ?? overlapsOf(context, model),
    audioFormats: ["wav"],
    address: host.baseUrl,
    ...(options.isOptional && { isOptional: options.isOptional }),
    health,
    list: models.list,
    describe: models.describe,
    generate: (request, sink, signal) => generate(context, request, sink, signal),
    library: new OllamaLibrary(context),
    residency,
    embedding: createEmbedding(context, residency),
    connections: () => transport.usage(),
    close: () => transport.close(),
  };
}

/** How an Ollama server with these options loads models and makes room for them. */
export function ollamaLoadRules(stated?: Partial<OllamaServerOptions>): LoadRules {
  const serverOptions = { ...usualServer, ...stated };
  // Every choice of a model asks for the processes of all.
  const processes = new WeakMap<ModelFacts, ReturnType<typeof processOf>>();
  return {
    serverOptions,
    evictsByKeepAlive: true,
    loadShape: (facts, contextTokens) => loadShape(facts, contextTokens, serverOptions),
    schedulerBytes,
    processOf(facts) {
      if (!processes.has(facts)) processes.set(facts, processOf(facts));
      return processes.get(facts);
    },
  };
}

function processOf({ weightsDigest, attachedDigests = [], parameters = {} }: ModelFacts) {
  if (weightsDigest === undefined) return undefined;
  const options = runnerOptions.map((option) => parameters[option] ?? null);
  return { slot: `sha256:${weightsDigest}`, runner: JSON.stringify([weightsDigest, attachedDigests, options]) };
}

/** Options of Ollama's `Runner` that a model can set; the context is part of every request. */
const runnerOptions = ["num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"];

const usualServer: OllamaServerOptions = { parallel: 1, cacheType: "f16", hasFlashAttention: true };

/** Architectures that Ollama always loads with one sequence, regardless of its environment. */
const sequential: ReadonlySet<string> = new Set(
  `mllama qwen3vl qwen3vlmoe qwen35 qwen35moe qwen3next lfm2 lfm2moe nemotron_h nemotron_h_moe nemotron_h_omni`.split(
    " ",
  ),
);

/**
 * How Ollama would load a model (`server/sched.go`, `llm/llama_server.go` of 0.33): the context is limited to the
 * model's trained context, `num_batch` is the model's own parameter or follows from the total context, embedding models
 * have one sequence. If memory is short it uses a smaller batch; the larger one is assumed here.
 */
function loadShape(
  facts: Pick<ModelFacts, "contextTokens" | "capabilities" | "parameters" | "architecture">,
  contextTokens: number,
  server: OllamaServerOptions,
): LoadShape {
  const own = Math.min(contextTokens, facts.contextTokens ?? contextTokens);
  const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
  const parallel = isEmbedding || sequential.has(facts.architecture ?? "") ? 1 : server.parallel;
  const total = own * parallel;
  const stated = facts.parameters?.["num_batch"];
  const batchTokens = typeof stated === "number" && stated > 0 ? stated : automaticBatch(total, isEmbedding);
  return { contextTokens: own, batchTokens: Math.min(batchTokens, total), ...server, parallel };
}

/**
 * What Ollama's scheduler predicts for a load (`PredictServerVRAM`): the file and a full cache in F16 on all layers,
 * also where the window is sliding or the cache is quantised.
 */
function schedulerBytes(
  { sizeBytes, layerCount = 0, embeddingLength = 0, parameters, architecture, metadata = {} }: ModelFacts,
  { contextTokens, parallel }: Pick<LoadShape, "contextTokens" | "parallel">,
): number {
  const counts = (key: string): readonly number[] =>
    [metadata[`${architecture}.attention.${key}`]].flat().filter((value) => typeof value === "number");
  const heads = Math.max(0, ...counts("head_count"));
  const stated = counts("head_count_kv");
  const cacheHeads = stated.length === 0 ? 1 : Math.max(1, Math.min(...stated));
  const headLength = heads === 0 ? 0 : Math.floor(embeddingLength / heads);
  // Its automatic batch is made smaller until it fits.
  const batch = Number(parameters?.["num_batch"] ?? 0);
  const batchBytes = batch >= 2_048 ? 2 * 1024 ** 3 : batch >= 1_024 ? 768 * 1024 ** 2 : 0;
  return sizeBytes + 4 * layerCount * cacheHeads * headLength * contextTokens * parallel + batchBytes;
}

/** `generationBatchForContext` and `DefaultEmbeddingNumBatch`. */
function automaticBatch(totalContextTokens: number, isEmbedding: boolean): number {
  if (isEmbedding) return Math.min(2_048, totalContextTokens);
  return totalContextTokens > 32_768 ? 2_048 : totalContextTokens > 4_096 ? 1_024 : 512;
}

/** Interval between two polls of `/api/ps`; an unload takes a few of them. */
const pollMs = 25;

/** Loads, unloads and lists loaded models, including those that other programs loaded. */
function createResidency(context: OllamaContext): Omit<EngineResidency, keyof LoadRules> {
  const { transport, timeouts } = context;

  const loaded = async (signal: AbortSignal): Promise<readonly ResidentModel[]> => {
    const reply = await transport.ask(controlCall(timeouts, "listing loaded models"), signal, ({ ollama }) =>
      ollama.ps(),
    );
    return modelsOf(reply)
      .map(residentModel)
      .filter(({ name }) => !isCloudName(name));
  };

  const empty = (model: string, options: LoadOptions) => ({
    model,
    ...noTruncation,
    ...defined({ keep_alive: options.keepAliveSeconds }),
    options: { num_ctx: options.contextTokens },
  });

  return {
    loaded,

    async load(model, options, report, signal) {
      if (isCloudName(model))
        throw new UnsupportedCapability(`${model} runs in Ollama's cloud and is not loaded on this machine`, {
          next: advice("generate with it directly, with remote models allowed"),
        });
      const before = await loaded(signal);
      report({ message: `loading ${model}` });
      const startedAt = context.now();
      const exchange = longCall(`loading ${model}`, timeouts.stallMs, model, LoadFailed);
      try {
        await transport.ask(exchange, signal, ({ ollama }) =>
          ollama.generate({ ...empty(model, options), prompt: "", stream: false }),
        );
      } catch (error) {
        // Embedding-only models can't generate; an embedding without inputs loads them.
        if (!(error instanceof UnsupportedCapability)) throw error;
        await transport.ask(exchange, signal, ({ ollama }) => ollama.embed({ ...empty(model, options), input: [] }));
      }
      const loadMs = context.now() - startedAt;
      const resident = await loadedInstanceOf(context, model, await loaded(signal), signal);
      if (!resident)
        throw new LoadFailed(
          `Ollama loaded ${model} and unloaded it again, probably for another program (OLLAMA_MAX_LOADED_MODELS)`,
          { next: { step: "retry" } },
        );
      const wasLoaded = before.some(
        ({ name, contextTokens }) => name === resident.name && contextTokens === resident.contextTokens,
      );
      return { ...resident, name: model, ...(wasLoaded ? {} : { loadMs }) };
    },

    // Only by the name in `/api/ps`: an instance under another name of the same weights was not loaded by us.
    async unload(model, signal) {
      const isThere = async (): Promise<boolean> => (await loaded(signal)).some(({ name }) => sameModel(name, model));
      if (isCloudName(model) || !(await isThere())) return;
      let reason = "another program is probably using it";
      let next: NextStep = { step: "retry" };
      try {
        await transport.ask(controlCall(timeouts, `unloading ${model}`, model), signal, ({ ollama }) =>
          ollama.generate({ model, prompt: "", keep_alive: 0, stream: false }),
        );
      } catch (error) {
        // Deleted while it was loaded: Ollama no longer accepts its name, and unloads it when its keep-alive ends.
        if (!(error instanceof UnknownModel)) throw error;
        reason = "it was deleted or damaged while it was loaded, so Ollama can't unload it by name";
        next = advice("wait until its keep-alive ends, or restart Ollama");
        context.log.warn(`ollama: ${model} was deleted while loaded: it is unloaded when its keep-alive ends`);
      }
      const deadline = context.now() + timeouts.unloadMs;
      while (await isThere()) {
        if (context.now() >= deadline)
          throw new UnloadUnconfirmed(
            `${model} is still in memory ${timeouts.unloadMs / 1_000} s after it was unloaded: ${reason}`,
            { next },
          );
        // Ends early when aborted; the next exchange then rejects with `Cancelled`.
        await delay(pollMs, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}

/** Returns the loaded instance of a model. Ollama lists it only once, possibly under another name of the same weights. */
async function loadedInstanceOf(
  { models }: Pick<OllamaContext, "models">,
  model: string,
  residents: readonly ResidentModel[],
  signal: AbortSignal,
): Promise<ResidentModel | undefined> {
  const named = residents.find(({ name }) => sameModel(name, model));
  if (named !== undefined || residents.length === 0) return named;
  const wanted = weightsOf(await models.show(model, signal));
  for (const resident of residents) {
    // A model that was deleted while loaded can't be described.
    const shown = await models.show(resident.name, signal).catch(undefinedIf(UnknownModel));
    if (wanted !== undefined && weightsOf(shown) === wanted) return resident;
  }
  return undefined;
}

/** One vector as JSON: 16,384 numbers. */
const maxVectorBytes = 400_000;
const maxFrameBytes = 100_000;

/** Embeddings from any model that Ollama lists with that capability. */
function createEmbedding(context: OllamaContext, residency: Pick<EngineResidency, "loaded">): EngineEmbedding {
  return {
    async embed(model, inputs, signal, loadedTokens) {
      if (inputs.length === 0) return { vectors: [], promptTokens: 0 };
      // Without its context size in the request, a loaded model would be reloaded with the server's default.
      const contextTokens = loadedTokens ?? (await contextOf(model, signal));
      const maxReplyBytes = maxFrameBytes + inputs.length * maxVectorBytes;
      const { stallMs } = context.timeouts;
      const exchange = longCall(`embedding with ${model}`, stallMs, model, GenerationFailed, maxReplyBytes);
      try {
        const reply = await context.transport.ask(exchange, signal, ({ ollama }) =>
          ollama.embed({
            model,
            input: [...inputs],
            truncate: false,
            ...(contextTokens === undefined ? {} : { options: { num_ctx: contextTokens } }),
          }),
        );
        const vectors = reply.embeddings;
        if (!Array.isArray(vectors) || vectors.length !== inputs.length)
          throw new GenerationFailed(`Ollama returned ${vectors?.length ?? 0} vectors for ${inputs.length} texts`);
        return { vectors, promptTokens: embeddedTokens(inputs, reply.prompt_eval_count) };
      } catch (error) {
        // Ollama's own words, which nothing else of its reply tells apart.
        if (!(error instanceof GenerationFailed && /input length exceeds/.test(error.message))) throw error;
        throw await tooLong(model, inputs, signal, error);
      }
    },
  };

  /** The context of the loaded instance, if there is one. Throws `UnsupportedCapability`. */
  async function contextOf(model: string, signal: AbortSignal): Promise<number | undefined> {
    const [facts, residents] = await Promise.all([context.models.describe(model, signal), residency.loaded(signal)]);
    // Ollama would reject the request only after it has reloaded the model, replacing the instance that answers chats.
    if (!facts.capabilities.includes("embedding"))
      throw new UnsupportedCapability(
        `${model} does not support embeddings (its capabilities: ${facts.capabilities.join(", ") || "none"})`,
        {
          next: [
            { step: "listModels", capability: "embedding" },
            { step: "pullModel", model: "all-minilm", because: "a small embedding model" },
          ],
        },
      );
    return (await loadedInstanceOf(context, model, residents, signal))?.contextTokens;
  }

  /** Ollama reports no numbers here: the window is that of the loaded model, the length of the text is estimated. */
  async function tooLong(model: string, inputs: readonly string[], signal: AbortSignal, cause: unknown) {
    const resident = await loadedInstanceOf(context, model, await residency.loaded(signal), signal);
    const longest = Math.max(...inputs.map((input) => input.length));
    const contextTokens = resident?.contextTokens ?? 0;
    const promptTokens = Math.max(Math.ceil(longest / 4), contextTokens + 1);
    return new PromptTooLong(
      `the longest of ${inputs.length} texts has about ${promptTokens} tokens, and ${model} embeds at most ${contextTokens} at once`,
      { promptTokens, contextTokens, isExact: false },
      { next: advice("split the text into smaller pieces"), cause },
    );
  }
}
