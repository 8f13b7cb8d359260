import { InvalidRequest, LoadFailed, OrchestratorError, UnknownModel, throwIfCancelled } from "../api/errors.ts";
import type { ListModelsRequest, ListedModel, ModelDescription, ModelList } from "../api/facade.ts";
import type { CountedFigures } from "../api/facade-metrics.ts";
import type { Log } from "../api/log.ts";
import { type CallerContext, type InstalledModel, type ModelFacts, type ModelStatus, isShell } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import type { Estimates } from "../residency/estimates.ts";
import type { Observations } from "../residency/observations.ts";
import { planLoad } from "../memory/plan.ts";
import { canonicalContext } from "../memory/reading.ts";
import { type MemoryState, allIdle } from "../memory/state.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import type { Pins } from "../residency/keep-alive.ts";
import type { Plans } from "../residency/plans.ts";
import type { Slots } from "../residency/slots.ts";
import { describeFromDatabase, lookUp } from "../routing/database.ts";
import { defaultsIn, forModel } from "../routing/model-overrides.ts";
import { isCloudName, sameModel } from "../util/model-name.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { describedBy, factsOf } from "../catalog/known-facts.ts";
import { type EngineModels, type LocatedModel, takesNoMemory, idOf, keyOf } from "../catalog/located-model.ts";
import type { Library } from "./library.ts";
import type { createSuggestions } from "./suggestions.ts";
import { defined } from "../util/values.ts";

interface ListingSource {
  readonly inventory: Inventory;
  readonly loaded: LoadedModels;
  readonly library: Library;
  readonly pins: Pick<Pins, "isPinned">;
  readonly slots: Slots;
  readonly plans: Pick<Plans, "state">;
  readonly estimates: Estimates;
  readonly observations: Observations;
  readonly suggestions: ReturnType<typeof createSuggestions>;
  readonly counted: Pick<CountedFigures, "models">;
  readonly log: Log;
}

/** Maximum age of a list shown to a user: pulls of other programs appear within it. */
const maxListAgeMs = 1_000;

export async function listModels(
  source: ListingSource,
  caller: CallerContext,
  request: ListModelsRequest,
): Promise<ModelList> {
  const isAskedFor = (engineId: string) => request.engine === undefined || request.engine === engineId;
  const engines = source.inventory.engines.map(({ id }) => id);
  if (!engines.some(isAskedFor)) {
    throw new InvalidRequest(`no engine ${String(request.engine)}`, { next: { step: "chooseOneOf", names: engines } });
  }
  const everywhere = await source.inventory.lists(maxListAgeMs);
  const lists = everywhere.filter(({ engine }) => isAskedFor(engine.id));
  const states = new Map<string, MemoryState | undefined>();
  for (const { engine, models } of lists) {
    if (models.length > 0) states.set(engine.id, await source.plans.state(engine));
  }
  const found = await source.inventory.uniqueModels(lists);
  const installed = await Promise.all(found.map((located) => toRow(source, caller, located, request)));
  const pulling = source.library
    .pulling()
    .filter(() => request.isInstalledOnly !== true)
    .filter(({ name, engine }) => isAskedFor(engine) && !found.some(({ model }) => sameModel(model.name, name)));
  const all: readonly (Row | ListedModel)[] = [...installed, ...pulling.map(toPulling)];
  const query = request.query?.trim().toLowerCase() ?? "";
  const matching = all
    .filter((model) => request.isLoadedOnly !== true || model.isLoaded)
    .filter((model) => request.capability === undefined || model.capabilities?.includes(request.capability) === true)
    .filter((model) => query === "" || `${model.name} ${model.family ?? ""}`.toLowerCase().includes(query))
    .toSorted((a, b) => Number(b.isLoaded) - Number(a.isLoaded) || (a.name < b.name ? -1 : 1));
  const shown = request.limit === undefined ? matching : matching.slice(0, request.limit);
  const known = await knownOf(source, request);
  const isEmpty = all.length === 0 && everywhere.every(({ models }) => models.length === 0);
  const silent = (isEmpty ? everywhere : lists).filter(({ staleSince }) => staleSince !== undefined);
  return {
    // Only these are estimated: among a thousand models it would take most of the time.
    models: await Promise.all(
      shown.map(async (model) =>
        "located" in model
          ? toListed(known, caller, model.located, states.get(model.located.engine.id), request)
          : model,
      ),
    ),
    total: matching.length,
    stale: lists.flatMap(toStale),
    ...(isEmpty && { suggestion: await source.suggestions.models() }),
    unreachable: silent.flatMap(({ message }) => message ?? []),
  };
}

/** What the filters of a list and its order need of an installed model. */
interface Row extends Pick<ListedModel, "name" | "isLoaded" | "capabilities" | "family"> {
  readonly located: LocatedModel;
}

async function toRow(
  source: ListingSource,
  caller: CallerContext,
  located: LocatedModel,
  request: ListModelsRequest,
): Promise<Row> {
  const { model } = located;
  const isLoaded = await source.loaded.has(located, maxListAgeMs);
  // Of those that are listed, `toListed` reads them: asking an engine about each of hundreds takes a second.
  if (request.capability === undefined && (request.query === undefined || request.isVerbose !== true))
    return { name: model.name, isLoaded, located };
  const { capabilities, family } = describedBy(model, await factsOf(source, located, caller.signal));
  return { name: model.name, isLoaded, located, capabilities, ...(request.isVerbose === true && { family }) };
}

function needsFacts({ isVerbose, capability }: ListModelsRequest): boolean {
  return isVerbose === true || capability !== undefined;
}

/** What is read once for a list; counts only where they are shown. */
async function knownOf(source: ListingSource, { isVerbose }: ListModelsRequest) {
  const counts = isVerbose === true ? (await source.counted.models()).byName : undefined;
  return { ...source, speedOf: source.suggestions.speeds(), counts };
}

async function toListed(
  source: Awaited<ReturnType<typeof knownOf>>,
  caller: CallerContext,
  located: LocatedModel,
  state: MemoryState | undefined,
  request: ListModelsRequest,
): Promise<ListedModel> {
  const { engine, model } = located;
  const id = idOf(located);
  const observed = source.observations.of(id);
  const { promptTokensPerSecond, error } = observed;
  // What earlier daemons counted, until this one has used it: its own times may be left out, as those under contention are.
  const counts = observed.lastUsedMs === undefined ? source.counts?.get(keyOf(model)) : undefined;
  const lastUsedMs = observed.lastUsedMs ?? counts?.lastUsedMs ?? 0;
  const counted = counts && counts.decodeMs > 0 ? (counts.timedTokens * 1000) / counts.decodeMs : undefined;
  const tokensPerSecond = observed.tokensPerSecond ?? counted;
  const timedTokens = observed.timedTokens ?? (counted === undefined ? undefined : counts?.timedTokens);
  const facts = needsFacts(request) ? await factsOf(source, located, caller.signal) : {};
  const merged = needsFacts(request) ? describedBy(model, facts) : describeFromDatabase(model.name);
  const trust = engine.trust === "remote" ? "remote" : model.trust;
  const loadedBytes = (await source.loaded.find(located, maxListAgeMs))?.sizeBytes;
  const isLoaded = loadedBytes !== undefined;
  const status = statusOf(source, {
    id,
    name: model.name,
    engine: engine.id,
    isLoaded,
    hasFailed: error !== undefined,
  });
  const refuses = [
    ...(takesNoMemory(located) ? (["load", "unload", "pin"] as const) : []),
    ...(engine.library === undefined ? (["delete"] as const) : []),
  ];
  const base = {
    name: model.name,
    engine: engine.id,
    sizeBytes: model.sizeBytes,
    isLoaded,
    ...(source.pins.isPinned(model.name) && { isPinned: true }),
    status,
    trust,
  };
  const fit =
    trust === "remote" || takesNoMemory(located) || state === undefined
      ? undefined
      : await fitOf(source, located, state, isLoaded, request, merged.contextTokens, caller);
  if (request.isVerbose !== true) {
    const { capabilities } = merged;
    return { ...base, ...(needsFacts(request) && { capabilities }), ...(fit === undefined ? {} : { fits: fit.fits }) };
  }
  const quantization = model.quantization ?? facts.quantization;
  const parameterSize = model.parameterSize ?? facts.parameterSize;
  const mayExpect = tokensPerSecond === undefined && trust !== "remote" && merged.capabilities.includes("completion");
  const expected = mayExpect ? await source.speedOf(engine, model) : undefined;
  return {
    ...base,
    ...(fit === undefined ? {} : { fits: fit.fits, fit: fit.numbers }),
    ...(refuses.length > 0 && { refuses }),
    family: merged.family,
    contextTokens: merged.contextTokens,
    capabilities: merged.capabilities,
    profiles: merged.profiles,
    ...defined({ quantization, parameterSize, modifiedAt: model.modifiedAt, digest: model.digest, error }),
    ...(lastUsedMs > 0 && { lastUsedAt: new Date(lastUsedMs).toISOString() }),
    ...defined({ loadedBytes, tokensPerSecond, timedTokens, promptTokensPerSecond }),
    ...defined({ expectedTokensPerSecond: expected }),
  };
}

function statusOf(
  source: ListingSource,
  model: { id: string; name: string; engine: string; isLoaded: boolean; hasFailed: boolean },
): ModelStatus {
  const isPulling = source.library
    .pulling()
    .some((pull) => pull.engine === model.engine && sameModel(pull.name, model.name));
  if (isPulling) return "pulling";
  if (source.slots.find(model.id)?.isLoading === true && !model.isLoaded) return "loading";
  if (model.isLoaded) return "loaded";
  return model.hasFailed ? "error" : "installed";
}

/**
 * Whether the model fits. Only a verbose list requests unknown data, such as a simulation by the engine's allocator.
 */
async function fitOf(
  source: ListingSource,
  located: LocatedModel,
  state: MemoryState,
  isLoaded: boolean,
  request: ListModelsRequest,
  windowTokens: number,
  caller: CallerContext,
) {
  const { engine, model } = located;
  const own = defaultsIn(source.inventory.knownFacts(located));
  const { contextTokens: atLeastTokens } = forModel(caller, model.name, own);
  const contextTokens = canonicalContext({ atLeastTokens, windowTokens });
  const estimate =
    request.isVerbose === true
      ? await source.estimates.of(located, contextTokens, caller.signal)
      : source.estimates.quick(model, { engine, contextTokens });
  const plan = planLoad(
    { model: model.name, engine: engine.id, contextTokens, estimate, fileBytes: model.sizeBytes, isLoaded },
    allIdle(state),
  );
  const hasMemory = isLoaded || source.slots.of(engine, model.name).isLoading;
  const { predictedBytes, method, margin } = plan.estimate;
  const { neededBytes, freeBytes } = plan;
  return { fits: hasMemory || plan.fits, numbers: { predictedBytes, neededBytes, freeBytes, method, margin } };
}

function toPulling(pull: ReturnType<Library["pulling"]>[number]): ListedModel {
  const sizeBytes = pull.operation.progress()?.totalBytes ?? 0;
  const refuses = ["load", "unload", "pin", "delete"] as const;
  return {
    name: pull.name,
    engine: pull.engine,
    sizeBytes,
    isLoaded: false,
    status: "pulling",
    trust: "local",
    refuses,
  };
}

/** An entry for an engine whose list is stale; none if the engine has never responded. */
function toStale({ engine, models, staleSince, message }: EngineModels) {
  if (staleSince === undefined || models.length === 0) return [];
  return [{ engine: engine.id, since: staleSince, message: message ?? "the engine does not respond" }];
}

/** Returns everything known about one model. Throws `UnknownModel`, which names a pull unless the request `manages` the model. */
export async function describeModel(
  source: ListingSource,
  caller: CallerContext,
  name: string,
  manages = false,
): Promise<ModelDescription> {
  const [located] = await source.inventory
    .locate(name, undefined, manages)
    .catch((error: unknown) => throwWithDownload(source, caller, error));
  const known = await knownOf(source, { isVerbose: true });
  const state = await source.plans.state(located.engine);
  const [model, readable, lists] = await Promise.all([
    toListed(known, caller, located, state, { isVerbose: true }),
    readableFacts(source, caller, located),
    source.inventory.lists(maxListAgeMs),
  ]);
  // So long its engine has not responded, and its data may be stale.
  const staleSince = lists.find(({ engine }) => engine === located.engine)?.staleSince;
  const database = lookUp(name);
  const { facts, error } = readable;
  const broken = error === undefined ? {} : { status: "error" as const, error };
  return { model: { ...model, ...broken }, facts, ...defined({ staleSince, database }) };
}

/** How long a registry may take to tell the size of a download. */
const registryMs = 4_000;

/**
 * Throws the error with what a registry says of the model that it advises to pull: one that is not like the name of an
 * installed one, and not known already. Only what the user asks in our shell reaches the network.
 */
async function throwWithDownload(
  { inventory, suggestions }: ListingSource,
  caller: CallerContext,
  error: unknown,
): Promise<never> {
  if (!(error instanceof UnknownModel) || !isShell(caller.client)) throw error;
  const library = inventory.engines.find((engine) => engine.library?.downloadOf !== undefined)?.library;
  const [pull, ...others] = error.next;
  if (library === undefined || pull?.step !== "pullModel" || pull.because !== undefined || isCloudName(pull.model))
    throw error;
  const late = AbortSignal.timeout(registryMs);
  let because: string | undefined;
  try {
    const download = await library.downloadOf?.(pull.model, AbortSignal.any([caller.signal, late]));
    because = await suggestions.download(pull.model, download);
  } catch (failure) {
    throwIfCancelled(caller.signal, "asking the registry");
    if (!(failure instanceof OrchestratorError) || failure instanceof InvalidRequest) throw error;
    const reason = late.aborted ? `the registry did not answer within ${registryMs / 1_000} s` : failure.message;
    const next = late.aborted ? error.next : failure.next.filter(({ step }) => step !== "resumePull");
    throw new UnknownModel(`${error.message}; ${reason}`, { next, cause: failure });
  }
  throw new UnknownModel(error.message, { next: [{ ...pull, ...defined({ because }) }, ...others] });
}

/** A file that can't be read is described by its error in place of its facts, so that the user can delete it. */
async function readableFacts(
  { inventory }: ListingSource,
  caller: CallerContext,
  located: LocatedModel,
): Promise<{ facts: ModelFacts; error?: string }> {
  try {
    const { capabilities } = located.model.stated ?? {};
    return { facts: { ...(await inventory.facts(located, caller.signal)), ...defined({ capabilities }) } };
  } catch (error) {
    if (!(error instanceof LoadFailed)) throw error;
    const { name, sizeBytes, trust, digest } = located.model;
    return {
      facts: { name, sizeBytes, trust, ...defined({ digest }), capabilities: [] },
      error: error.message,
    };
  }
}

/** The local models that generate text, as they were listed last, with what was observed of them. */
export function localChatModels(
  inventory: Pick<Inventory, "engines" | "lastList" | "knownFacts">,
  observations: Pick<Observations, "of">,
) {
  const isChat = (engine: Engine, model: InstalledModel) => {
    const capabilities = model.capabilities ?? inventory.knownFacts({ engine, model })?.capabilities;
    return describeFromDatabase(model.name, defined({ capabilities })).capabilities.includes("completion");
  };
  return inventory.engines
    .filter((engine) => engine.trust === "local")
    .flatMap((engine) =>
      inventory
        .lastList(engine)
        .filter((model) => model.trust === "local" && isChat(engine, model))
        .map((model) => ({ model, observation: observations.of(idOf({ engine, model })) })),
    );
}
