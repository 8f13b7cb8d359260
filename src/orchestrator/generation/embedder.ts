import { OrchestratorError, PromptTooLong, UnsupportedCapability, faultOf } from "../api/errors.ts";
import type { EndedAttempt, EndedRequest } from "../api/events.ts";
import type { EmbedRequest, EmbedResult } from "../api/chat.ts";
import type { Log } from "../api/log.ts";
import type { CallerContext } from "../api/types.ts";
import { canonicalContext } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { factsOf } from "../catalog/known-facts.ts";
import { type LocatedModel, idOf, takesNoMemory } from "../catalog/located-model.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import type { Loader } from "../residency/loader.ts";
import type { createLoadOperations } from "../residency/request-queues.ts";
import type { SpendingLedger } from "../money/spending.ts";
import type { Plans } from "../residency/plans.ts";
import type { Embed } from "../recall/vector-cache.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { defined } from "../util/values.ts";
import type { GenerationWorld } from "./attempt.ts";
import type { LocatedCandidate } from "./candidates.ts";
import { resolve } from "./resolve.ts";
import { chooseRoute } from "./route.ts";

/** The window of small embedding models; enough for texts of a few sentences. */
const ownContextTokens = 512;

const client = { caller: "embedding", isBackground: false };

/**
 * Computes vectors with an installed local embedding model: the preferred one, else a loaded one, else the smallest. The
 * model is loaded only if that unloads no other. Never pulls a model, never uses a remote engine.
 */
export function createEmbedder(parts: {
  readonly inventory: Inventory;
  readonly loaded: Pick<LoadedModels, "has">;
  readonly loader: Pick<Loader, "use">;
  readonly plans: Pick<Plans, "of" | "resident">;
  readonly loads: ReturnType<typeof createLoadOperations>;
  /** Records what an embedding costs. */
  readonly spending: {
    embedding<Result extends { readonly promptTokens: number }>(
      engine: LocatedModel["engine"],
      model: string,
      texts: readonly string[],
      work: () => Promise<Result>,
    ): Promise<Result>;
  };
  readonly log: Log;
}): Embed {
  const { inventory, loaded: memory, loader, plans, loads, spending, log } = parts;

  async function embeddingModels(signal: AbortSignal): Promise<readonly LocatedModel[]> {
    const models = await inventory.uniqueModels(await inventory.recentLists());
    const able = await Promise.all(
      models.map(async (located) => {
        const { engine, model } = located;
        if (engine.trust !== "local" || model.trust !== "local" || takesNoMemory(located)) return false;
        if (engine.embedding === undefined) return false;
        // A model whose file can't be read is skipped; requests that name it report the reason.
        const { capabilities = [] } = model.capabilities === undefined ? await factsOf(parts, located, signal) : model;
        return capabilities.includes("embedding");
      }),
    );
    return models.filter((_model, index) => able[index] === true);
  }

  async function choose(options: Parameters<Embed>[2], signal: AbortSignal): Promise<LocatedModel | undefined> {
    const models = await embeddingModels(signal);
    const preferred = models.find((located) => nameOf(located) === options?.model);
    const loaded = await Promise.all(models.map(async (located) => memory.has(located, 60_000)));
    if (options?.isLoadedOnly !== true) {
      const [smallest] = models.toSorted((a, b) => a.model.sizeBytes - b.model.sizeBytes);
      return preferred ?? models.find((_model, index) => loaded[index]) ?? smallest;
    }
    const resident = models.filter((_model, index) => loaded[index]);
    // Vectors of another model can't be compared with the existing ones.
    return options.model === undefined || preferred === undefined
      ? resident[0]
      : resident.find((each) => each === preferred);
  }

  /** A lease on the loaded model; undefined if it can't be loaded without unloading others. */
  async function lease(located: LocatedModel, mayLoad: boolean, signal: AbortSignal) {
    await plans.resident(located);
    const used = loader.use(located, 0);
    if (used !== undefined || !mayLoad) return used;
    const { model } = located;
    const windowTokens = (await inventory.facts(located, signal)).contextTokens;
    const context = canonicalContext({ atLeastTokens: ownContextTokens, windowTokens });
    const plan = await plans.of(located, context, signal);
    if (!plan.fits || plan.evict.length > 0) {
      log.debug(`embedding: ${model.name} does not fit beside the loaded models`);
      return undefined;
    }
    await loads.start(located, { contextTokens: context }, false, client).follow(signal);
    await plans.resident(located);
    return loader.use(located, 0);
  }

  return async (texts, signal, options) => {
    const located = await choose(options, signal);
    const embedding = located?.engine.embedding;
    if (located === undefined || embedding === undefined) return undefined;
    const held = await lease(located, options?.isLoadedOnly !== true, signal);
    if (held === undefined) return undefined;
    try {
      const { name } = located.model;
      const given = texts.map((text) => instructed(name, text, options?.kind ?? "document"));
      const { vectors } = await spending.embedding(located.engine, name, given, () =>
        embedding.embed(name, given, signal, held.resident.contextTokens),
      );
      return { model: nameOf(located), vectors };
    } finally {
      held.release();
    }
  };
}

function nameOf({ engine, model }: LocatedModel): string {
  return `${engine.id}/${model.name}@${model.digest ?? model.sizeBytes}`;
}

/** Prefixes that embedding models require according to their model cards; most require none. */
const prefixes: readonly (readonly [name: RegExp, query: string, document: string])[] = [
  [/nomic-embed/i, "search_query: ", "search_document: "],
  [/embeddinggemma|embedding-gemma/i, "task: search result | query: ", "title: none | text: "],
  [/(^|[/_-])e5-/i, "query: ", "passage: "],
  [
    /mxbai-embed|bge-(small|base|large)-en|snowflake-arctic-embed/i,
    "Represent this sentence for searching relevant passages: ",
    "",
  ],
  [/qwen3-embedding/i, "Instruct: Given a question, retrieve the notes that answer it\nQuery: ", ""],
];

/** The text with the prefix of that model: some distinguish queries from documents. */
export function instructed(model: string, text: string, kind: "query" | "document"): string {
  const found = prefixes.find(([name]) => name.test(model));
  if (found === undefined) return text;
  const [, query, document] = found;
  return `${kind === "query" ? query : document}${text}`;
}

type EmbedWorld = GenerationWorld & { readonly spending: Pick<SpendingLedger, "embedding"> };

/** A model for texts of programs is loaded with this context at least: a longer text would load it again. */
const textsContextTokens = 2_048;

/**
 * Vectors of a program's texts, as they are: without prefixes, and nothing is cut. Chooses, queues and loads as for an
 * answer, and counts it as one. Throws what `chooseRoute` does, and the errors of engines.
 */
export async function embedTexts(
  world: EmbedWorld,
  caller: CallerContext,
  { model, texts }: EmbedRequest,
): Promise<EmbedResult> {
  const { emit, steady } = world;
  const startedAtMs = steady();
  const longest = texts.reduce((long, text) => (text.length > long.length ? text : long), "");
  const request = { ...resolve({ prompt: longest, task: "embedding", ...defined({ model }) }, caller), embeds: true };
  const attempts: EndedAttempt[] = [];
  const end = (error?: unknown, given?: EndedRequest["given"]) =>
    emit({
      kind: "request ended",
      client: caller.client,
      task: "embedding",
      via: "door",
      profile: request.decided.profile.name,
      totalMs: steady() - startedAtMs,
      fallbacks: attempts.filter((attempt) => attempt.error !== undefined).length,
      attempts,
      fileTokens: 0,
      ...(error !== undefined && { error: faultOf(error) }),
      ...defined({ given, trace: caller.trace?.id }),
    });
  try {
    const { chain } = await chooseRoute(world, request, caller.signal);
    for (const [at, { entry, reason }] of chain.entries()) {
      const { engine, model: found } = entry.located;
      const attemptedAtMs = steady();
      const where = { model: found.name, engine: engine.id, isLocal: entry.candidate.trust === "local" };
      try {
        const { vectors, promptTokens, cost, ...times } = await embedWith(
          world,
          caller,
          entry,
          texts,
          estimateTokens(longest),
        );
        const totalMs = steady() - attemptedAtMs;
        const charge = cost && { ...cost, tokens: promptTokens };
        attempts.push({ ...where, totalMs, promptTokens, completionTokens: 0, ...times, ...defined({ charge }) });
        end(undefined, { model: found.name, engine: engine.id, reason, isDoubtful: false });
        return {
          model: found.name,
          engine: engine.id,
          vectors,
          promptTokens,
          ...times,
          ...defined({ cost }),
          totalMs: steady() - startedAtMs,
        };
      } catch (error) {
        attempts.push({ ...where, totalMs: steady() - attemptedAtMs, error: faultOf(error) });
        const isLast = at === chain.length - 1 || caller.signal.aborted;
        if (isLast || !(error instanceof OrchestratorError) || error.facts.mayOtherAnswer !== true) throw error;
      }
    }
    throw new UnsupportedCapability("no model embeds", { next: { step: "listModels", capability: "embedding" } });
  } catch (error) {
    end(error);
    throw error;
  }
}

async function embedWith(
  world: EmbedWorld,
  caller: CallerContext,
  { located, candidate }: LocatedCandidate,
  texts: readonly string[],
  longestTokens: number,
): Promise<Pick<EmbedResult, "vectors" | "promptTokens" | "queueMs" | "loadMs" | "cost">> {
  const { engine, model } = located;
  const { signal } = caller;
  const { embedding } = engine;
  if (embedding === undefined) throw new UnsupportedCapability(`${engine.id} does not embed texts`);
  const times = { queueMs: 0, loadMs: 0 };
  for (let atLeastTokens = Math.max(longestTokens, textsContextTokens); ;) {
    const contextTokens = canonicalContext({ atLeastTokens, windowTokens: candidate.contextTokens });
    const { maxWaitMs } = caller.settings.queue;
    const permit = await world.queues.ensureReady({
      id: idOf(located),
      located,
      caller: caller.id,
      priority: 0,
      neededTokens: Math.min(longestTokens, contextTokens),
      contextTokens,
      ...defined({ maxWaitMs }),
      signal,
      report: () => undefined,
    });
    times.queueMs += permit.waitedMs;
    times.loadMs += permit.loadMs;
    try {
      if (candidate.trust === "remote") world.emit({ kind: "remote request sent", engine: engine.id });
      const embedded = await world.spending.embedding(engine, model.name, texts, () =>
        embedding.embed(model.name, texts, signal, permit.resident?.contextTokens),
      );
      return { ...embedded, ...times };
    } catch (error) {
      // Its engine counted a text: once more with a wider context, if the model has one.
      if (!(error instanceof PromptTooLong) || error.promptTokens <= atLeastTokens) throw error;
      if (takesNoMemory(located) || error.promptTokens > candidate.contextTokens) throw error;
      longestTokens = atLeastTokens = error.promptTokens;
    } finally {
      permit.release();
    }
  }
}
