import { loadavg } from "node:os";
import { readProcessMemory } from "./children-list.ts";
import { createChatTemplates, promptOf } from "./chat-template.ts";
import { ChildFailure, throwIfAborted } from "./failure.ts";
import { createGenerator, createPrefill } from "./generate.ts";
import { GuessCosts } from "./guesses.ts";
import { PromptFiles } from "./prompt-files.ts";
import type { OpenContext, Pause } from "./sequences.ts";
import { createDecodeThreads, createThreadContest, keptSpeeds, measureThreads } from "./threads.ts";
import { Turns } from "./turns.ts";
import type {
  EmbeddingContext,
  GgufFileInfo,
  GgufInsights,
  Llama,
  LlamaModel,
  NodeLlamaCpp,
} from "./node-llama-cpp.ts";
import {
  type Capacity,
  type ChildEvent,
  type DoneOf,
  type EstimateDone,
  type EstimateRequest,
  type GenerateDone,
  type GenerateRequest,
  type LoadRequest,
  type PromptCountRequest,
  cacheTypeNumbers,
} from "./protocol.ts";
import { defined } from "../../../util/values.ts";

/** The model of this process. What it wasn't loaded for is absent. */
export interface ChildModel {
  generate?(
    request: GenerateRequest,
    emit: (event: ChildEvent) => void,
    signal: AbortSignal,
    pause: Pause,
  ): Promise<GenerateDone>;
  embed?(inputs: readonly string[], signal: AbortSignal): Promise<DoneOf["embed"]>;
  /** Writes what was read to disk, while `isIdle`. */
  save?(isIdle: () => boolean): Promise<void>;
  /** Gives back the memory of all conversations but the last, if it `isIdle`. */
  shrink?(isIdle: () => boolean): Promise<void>;
  readonly capacity?: Capacity;
  count(text: string): DoneOf["count"];
  countPrompt(request: PromptCountRequest): DoneOf["count"];
}

/** Loads a model. Rejects with the library's own error; its log has the reason. `changed`: its capacity may have. */
export async function loadModel(
  library: NodeLlamaCpp,
  llama: Llama,
  request: LoadRequest,
  emit: (event: ChildEvent) => void,
  signal: AbortSignal,
  changed: () => void,
): Promise<ChildModel> {
  llama.maxThreads = request.threads;
  let reported = -1;
  const model = await llama.loadModel({
    modelPath: request.file,
    useMmap: request.useMmap,
    // Metal shares the machine's memory: the library takes as many layers as fit.
    ...(llama.gpu !== "metal" && { gpuLayers: request.gpuLayers }),
    loadSignal: signal,
    onLoadProgress(fraction) {
      const percent = Math.floor(fraction * 100);
      if (percent === reported) return;
      reported = percent;
      emit({ type: "load-progress", fraction });
    },
  });
  return request.isEmbedding
    ? embeddingModel(library, llama, model, request, signal)
    : chatModel(library, llama, model, request, signal, changed);
}

/** Loads a vocabulary without weights, for counting tokens. */
export async function loadVocabulary(library: NodeLlamaCpp, llama: Llama, file: string): Promise<ChildModel> {
  const model = await llama.loadModel({ modelPath: file, vocabOnly: true });
  return counting(model, createChatTemplates(library, model));
}

function counting(model: LlamaModel, templateFor: ReturnType<typeof createChatTemplates>): ChildModel {
  return {
    count: (text) => ({ tokens: model.tokenize(text).length }),
    countPrompt: (request) => ({ tokens: promptOf(model, templateFor, request).tokens.length }),
  };
}

async function chatModel(
  library: NodeLlamaCpp,
  llama: Llama,
  model: LlamaModel,
  request: LoadRequest,
  signal: AbortSignal,
  changed: () => void,
): Promise<ChildModel> {
  const adapters = request.adapterFiles.map((filePath) => ({ filePath }));
  const templateFor = createChatTemplates(library, model);
  const limit = threadLimit(llama, request.threads);
  const openContext = async (sequences: number, until: AbortSignal): Promise<OpenContext> => {
    const opening = model.createContext({
      contextSize: request.contextTokens,
      sequences,
      batchSize: request.batchTokens,
      threads: { ideal: request.threads },
      flashAttention: "auto",
      // No silent fallback to a smaller context.
      failedCreationRemedy: false,
      createSignal: until,
      ...(adapters.length === 0 ? {} : { lora: { adapters } }),
    });
    const context = await limit.unlimited(opening);
    return {
      sequences: Array.from({ length: sequences }, () => context.getSequence()),
      dispose: () => context.dispose(),
    };
  };
  const firstContext = await openContext(1, signal);
  const [firstSequence] = firstContext.sequences;
  if (firstSequence === undefined) throw new Error("a context without a sequence");
  const kept = await keptSpeeds(request.speedsFile, request.threads);
  // Not what was measured next to other programs. If it can't be written, it is measured again.
  const note = async (more: Parameters<typeof kept.note>[0]) => {
    if ((loadavg()[0] ?? 0) < 1.5 * request.threads) await kept.note(more).catch(() => undefined);
  };
  const writing =
    kept.writing ?? (await measureThreads(llama, firstSequence, model.tokenize("Hello"), request.threads));
  const files = new PromptFiles(folderOf(model, request));
  const decodeThreads = createDecodeThreads(
    limit,
    request.threads,
    writing,
    (speeds) => void note({ writing: [...speeds] }),
    () => performance.now(),
    kept.together,
  );
  // Single measurements vary: what is kept is written again when more was measured, or it decides otherwise.
  let noted = `${kept.guesses.length} ${kept.together.length} ${decodeThreads.together()}`;
  const { batchTokens } = request;
  const costs = new GuessCosts(kept.guesses, request.mostGuesses);
  const contest = createThreadContest(
    request.threads,
    5,
    kept.reading,
    (speeds) => void note({ reading: [...speeds] }),
    8,
  );
  const turns = new Turns(decodeThreads, { batchTokens, llama: limit, contest });
  const { generate, conversations } = createGenerator({
    library,
    llama,
    model,
    firstContext,
    openContext,
    changed,
    turns,
    costs,
    contextTokens: request.contextTokens,
    decodeThreads,
    templateFor,
    prefill: createPrefill({
      batchTokens,
      turns,
      measured(tokens, ms) {
        files.measured(tokens, ms);
        costs.read(tokens, ms);
      },
    }),
    files,
  });
  return {
    generate,
    async save(isIdle) {
      await files.saveAll(isIdle);
      const widths = decodeThreads.widthSpeeds();
      const found = `${costs.known.length} ${widths.length} ${decodeThreads.together()}`;
      if (found === noted) return;
      noted = found;
      await note({ together: widths });
      // Other programs slow a token down as they do a batch.
      await kept.note({ guesses: costs.known }).catch(() => undefined);
    },
    shrink: (isIdle) => conversations.shrink(isIdle),
    get capacity() {
      return { sequences: conversations.count, together: decodeThreads.together() };
    },
    ...counting(model, templateFor),
  };
}

/** The threads that compute. A context never uses more than it may while it is created, whatever others compute with meanwhile. */
function threadLimit(llama: Llama, most: number) {
  let [threads, opening] = [most, 0];
  return {
    get maxThreads() {
      return threads;
    },
    set maxThreads(count) {
      threads = count;
      if (opening === 0) llama.maxThreads = count;
    },
    async unlimited<Context>(create: Promise<Context>): Promise<Context> {
      opening += 1;
      llama.maxThreads = most;
      try {
        return await create;
      } finally {
        opening -= 1;
        if (opening === 0) llama.maxThreads = threads;
      }
    },
  };
}

/** Keys of models with two sets of rope factors depend on the window, too: llama.cpp chooses the set by it. */
function folderOf({ fileInfo: { metadata } }: LlamaModel, { promptFolder, contextTokens }: LoadRequest): string {
  const { rope } = metadata[metadata.general.architecture] ?? {};
  return rope?.scaling?.original_context_length === undefined ? promptFolder : `${promptFolder}-${contextTokens}`;
}

async function embeddingModel(
  library: NodeLlamaCpp,
  llama: Llama,
  model: LlamaModel,
  request: LoadRequest,
  signal: AbortSignal,
): Promise<ChildModel> {
  const context = await model.createEmbeddingContext({
    contextSize: request.contextTokens,
    // Pooling needs a whole input in one batch.
    batchSize: request.contextTokens,
    // The library's default is 6 on every machine.
    threads: request.threads,
    createSignal: signal,
  });
  return {
    embed: (inputs, embedSignal) => embedAll(llama, context, request, inputs, embedSignal),
    ...counting(model, createChatTemplates(library, model)),
  };
}

async function embedAll(
  llama: Llama,
  context: EmbeddingContext,
  { contextTokens, threads }: LoadRequest,
  inputs: readonly string[],
  signal: AbortSignal,
): Promise<DoneOf["embed"]> {
  const lengths = inputs.map((input) => context.calculateInputLength(input));
  const longest = Math.max(0, ...lengths);
  // The library's limit: the context must be longer than the input.
  if (longest >= contextTokens) {
    throw new ChildFailure("prompt_too_long", "input too long", { promptTokens: longest, contextTokens });
  }
  llama.maxThreads = threads;
  const vectors: (readonly number[])[] = [];
  for (const input of inputs) {
    throwIfAborted(signal);
    vectors.push((await context.getEmbeddingFor(input)).vector);
  }
  throwIfAborted(signal);
  return { vectors, promptTokens: lengths.reduce((sum, length) => sum + length, 0) };
}

/** Runs the garbage collector, so that garbage (a header's 50,000 words, a generation's objects) isn't measured as memory of the model. */
export function collectGarbage(): void {
  // Exposed by the flag `--expose-gc`.
  (globalThis as { gc?: () => void }).gc?.();
}

/** llama.cpp rounds the size of a context up to a multiple of this. */
const stepTokens = 256;

/**
 * Optionally loads only the vocabulary, to measure what a model takes besides its buffers (tokenizer tables, header), then
 * runs llama.cpp's allocator without allocating. In this order, because the allocator leaves more garbage than the tables
 * take. Requires a new process for each model. Throws when the library fell back to its own heuristics, which are not a
 * simulation.
 */
export async function estimate(
  library: NodeLlamaCpp,
  llama: Llama,
  request: EstimateRequest,
  logLines: () => readonly string[],
): Promise<EstimateDone> {
  const { file, useMmap, isEmbedding, hasFlashAttention } = request;
  const vocabularyBytes = request.withVocabulary ? await vocabularyOf(library, llama, request) : undefined;
  const info = await readHeader(library, file);
  const insights = await library.GgufInsights.from(info, llama);
  // Like a load: all layers are on the GPU if there is one.
  const gpuLayers = llama.gpu === false ? 0 : insights.totalLayers + 1;
  const cacheType = cacheTypeNumbers[request.cacheType ?? "f16"];
  const contextOf = (contextTokens: number, layers: number) =>
    insights.estimateContextResourceRequirementsV2({
      contextSize: contextTokens,
      modelGpuLayers: layers,
      batchSize: Math.min(request.batchTokens, contextTokens * request.sequences),
      sequences: request.sequences,
      isEmbeddingContext: isEmbedding,
      flashAttention: hasFlashAttention ?? "auto",
      useMmap,
      kvCacheKeyType: cacheType,
      kvCacheValueType: cacheType,
    });
  const contextBytes = async (contextTokens: number) => sum(await contextOf(contextTokens, gpuLayers));
  // The smallest context with the same batch: besides its small cache it takes only compute.
  const batchPerSequence = Math.ceil(request.batchTokens / request.sequences);
  const smallestContextTokens = Math.max(1, Math.ceil(batchPerSequence / stepTokens)) * stepTokens;
  const weightsBytes = sum(await insights.estimateModelResourceRequirementsV2({ gpuLayers, useMmap }));
  const context = async (layers: number) => (await contextOf(request.contextTokens, layers)).gpuVram;
  const byLayers = request.isForCards === true ? await vramByLayers(insights, useMmap, context) : undefined;
  const done = {
    weightsBytes,
    contextBytes: await contextBytes(request.contextTokens),
    smallestContextBytes: await contextBytes(smallestContextTokens),
    smallestContextTokens,
    ...defined({ vocabularyBytes, byLayers }),
  };
  const fallback = logLines().find((line) => line.includes("Falling back to estimation heuristic"));
  if (fallback !== undefined) throw new ChildFailure("failed", fallback);
  return done;
}

/**
 * Memory of cards by the number of layers on them. A simulation of weights takes up to a second, so two are made, and what
 * stands between is the sizes of tensors. A context grows by equal layers.
 */
async function vramByLayers(insights: GgufInsights, useMmap: boolean, contextOf: (layers: number) => Promise<number>) {
  const all = insights.totalLayers;
  const weightsAt = async (gpuLayers: number) =>
    (await insights.estimateModelResourceRequirementsV2({ gpuLayers, useMmap })).gpuVram;
  const tensorsAt = (gpuLayers: number) => insights.estimateModelResourceRequirements({ gpuLayers, useMmap }).gpuVram;
  const [first, last] = [await weightsAt(1), await weightsAt(all)];
  const [firstContext, midContext, lastContext] = [await contextOf(1), await contextOf(all - 1), await contextOf(all)];
  const perLayer = all > 2 ? Math.max(0, midContext - firstContext) / (all - 2) : 0;
  return Array.from({ length: all + 1 }, (_, layers) => {
    if (layers === 0) return { vramBytes: 0, contextBytes: 0 };
    const isAll = layers === all;
    const weights = isAll ? last : first + Math.max(0, tensorsAt(layers) - tensorsAt(1));
    const contextBytes = Math.ceil(isAll ? lastContext : firstContext + perLayer * (layers - 1));
    return { vramBytes: Math.ceil(weights) + contextBytes, contextBytes };
  });
}

const readHeader = (library: NodeLlamaCpp, file: string): Promise<GgufFileInfo> =>
  library.readGgufFileInfo(file, { logWarnings: false, sourceType: "filesystem" });

/** Returns the memory of the vocabulary; undefined where the system doesn't report a process's memory. */
async function vocabularyOf(library: NodeLlamaCpp, llama: Llama, { file, useMmap }: EstimateRequest) {
  const base = await readProcessMemory(process.pid);
  // A header without a vocabulary has no tables, and would crash node-llama-cpp.
  if (hasVocabulary(await readHeader(library, file)))
    await llama.loadModel({ modelPath: file, vocabOnly: true, useMmap });
  collectGarbage();
  const grown = await readProcessMemory(process.pid);
  return base && grown ? Math.max(0, grown.anonymousBytes - base.anonymousBytes) : undefined;
}

function hasVocabulary({ metadata }: GgufFileInfo): boolean {
  const kind = metadata.tokenizer?.ggml?.model;
  return typeof kind === "string" && kind !== "no_vocab" && kind !== "none";
}

const sum = ({ cpuRam, gpuVram }: { readonly cpuRam: number; readonly gpuVram: number }): number => cpuRam + gpuVram;
