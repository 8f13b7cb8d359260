import { describeFromDatabase } from "../catalog/database.ts";
import type { Settings } from "../config/schema.ts";
import { throwIfCancelled } from "../errors.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { type LocatedModel, takesNoMemory } from "../inventory/located-model.ts";
import type { Loader } from "../loading/loader.ts";
import { defaultContextTokens } from "../memory/context-size.ts";
import { pinnedInTheWay } from "../memory/pinned-in-the-way.ts";
import { type LoadTarget, type MemoryState, planLoad } from "../memory/plan.ts";
import { allIdle, withoutReservations } from "../memory/state.ts";
import type { Log } from "../log.ts";
import { isCooling, type Observations } from "../observations/observations.ts";
import { assumedBytesPerMs } from "../queue/request-queues.ts";
import type { Candidate } from "../routing/choose.ts";
import type { Capability, InstalledModel, ModelFacts } from "../types.ts";

/** A model that could answer: what routing ranks, with where it is and what is known of it. */
export interface LocatedCandidate {
  readonly located: LocatedModel;
  readonly candidate: Candidate;
  readonly outputTokens: number | undefined;
}

export interface CandidateSource {
  readonly inventory: Inventory;
  readonly loader: Loader;
  readonly observations: Observations;
  readonly memory: Settings["memory"];
  readonly now: () => number;
  readonly log: Log;
}

/**
 * All models of all engines as candidates. A model that two engines hold appears once.
 * Without `withMemory` nothing is measured and every model counts as fitting: enough when a loaded one wins.
 */
export async function listCandidates(
  source: CandidateSource,
  withMemory: boolean,
  signal: AbortSignal,
  /** Ids of engines that are left out. */
  down: ReadonlySet<string> = new Set(),
  /** Id of the engine that comes first. */
  provider?: string,
): Promise<readonly LocatedCandidate[]> {
  await source.observations.ready?.();
  const answering = (await source.inventory.recentLists()).filter(({ engine }) => !down.has(engine.id));
  const lists = engineFirst(answering, provider);
  const located = await source.inventory.uniqueModels(lists);
  const states = new Map<string, MemoryState | undefined>();
  const silent = new Map(lists.flatMap(({ engine, message }) => (message === undefined ? [] : [[engine.id, message]])));
  for (const { engine, models } of withMemory ? lists : []) {
    if (models.length > 0) states.set(engine.id, await source.loader.state(engine));
  }
  return Promise.all(
    located.map((entry) => {
      const { id } = entry.engine;
      return toCandidate(source, entry, { state: states.get(id), downBecause: silent.get(id) }, signal);
    }),
  );
}

/** Those of the engine come first; otherwise the order stays. */
export function engineFirst<Held extends { readonly engine: { readonly id: string } }>(
  held: readonly Held[],
  id: string | undefined,
): readonly Held[] {
  return held.toSorted((a, b) => Number(b.engine.id === id) - Number(a.engine.id === id));
}

/** One known model as a candidate; no memory is measured. */
export function locatedCandidate(
  source: CandidateSource,
  located: LocatedModel,
  signal: AbortSignal,
): Promise<LocatedCandidate> {
  return toCandidate(source, located, {}, signal);
}

async function toCandidate(
  source: CandidateSource,
  located: LocatedModel,
  engineNow: { readonly state?: MemoryState | undefined; readonly downBecause?: string | undefined },
  signal: AbortSignal,
): Promise<LocatedCandidate> {
  const { state } = engineNow;
  const { engine, model } = located;
  const id = source.inventory.idOf(located);
  const facts = await factsOf(source, located, signal);
  const merged = describeFromDatabase(model.name, facts);
  const isLoaded = await source.inventory.isLoaded(located, 60_000);
  const needsNoMemory = isLoaded || source.loader.isLoading(id) || takesNoMemory(located);
  const observed = source.observations.of(id);
  const { tokensPerSecond, loadSeconds, error } = observed;
  const coolDown =
    engineNow.downBecause ?? (isCooling(observed, source.now()) ? (error ?? "it failed a moment ago") : undefined);
  const parameterCount = parseParameterSize(model.parameterSize ?? facts.parameterSize);
  const candidate: Candidate = {
    model: model.name,
    engine: engine.id,
    sizeBytes: model.sizeBytes,
    trust: engine.trust === "remote" ? "remote" : model.trust,
    isLoaded,
    family: merged.family,
    isKnown: merged.entry !== undefined,
    ...(parameterCount === undefined ? {} : { parameterCount }),
    contextTokens: merged.contextTokens,
    capabilities: merged.capabilities,
    profiles: merged.profiles,
    ...(needsNoMemory || state === undefined ? { fits: "now" } : fitOf(source, located, state)),
    ...(loadSeconds === undefined ? {} : { reloadSeconds: loadSeconds }),
    expectedLoadSeconds: loadSeconds ?? model.sizeBytes / assumedBytesPerMs / 1_000,
    ...(tokensPerSecond === undefined ? {} : { tokensPerSecond }),
    ...(coolDown === undefined ? {} : { coolDown }),
  };
  return { located, candidate, outputTokens: merged.outputTokens };
}

/** Facts from the list where it has enough of them, else from the engine; a file that can't be read has none. */
export async function factsOf(
  source: Pick<CandidateSource, "inventory" | "log">,
  located: LocatedModel,
  signal: AbortSignal,
): Promise<Partial<ModelFacts>> {
  const { model } = located;
  if (model.capabilities !== undefined && model.contextTokens !== undefined)
    return listedFacts(model, model.capabilities);
  try {
    return await source.inventory.facts(located, signal);
  } catch (error) {
    throwIfCancelled(signal, `looking at ${model.name}`);
    source.log.info(`no facts of ${model.name}: ${error instanceof Error ? error.message : String(error)}`);
    return listedFacts(model, model.capabilities);
  }
}

function listedFacts(model: InstalledModel, capabilities: readonly Capability[] | undefined): Partial<ModelFacts> {
  return {
    name: model.name,
    sizeBytes: model.sizeBytes,
    trust: model.trust,
    ...(model.contextTokens === undefined ? {} : { contextTokens: model.contextTokens }),
    ...(capabilities === undefined ? {} : { capabilities }),
    ...(model.parameterSize === undefined ? {} : { parameterSize: model.parameterSize }),
    ...(model.family === undefined ? {} : { architecture: model.family }),
  };
}

/** By what is known already, which is quick: the plan before the load asks whom it has to. */
function fitOf(
  source: CandidateSource,
  { engine, model }: LocatedModel,
  state: MemoryState,
): Pick<Candidate, "fits" | "pinnedInTheWay" | "evictsInUse"> {
  const target: LoadTarget = {
    model: model.name,
    engine: engine.id,
    contextTokens: defaultContextTokens,
    estimate: source.loader.quickEstimate(model, { engine, contextTokens: defaultContextTokens }),
    fileBytes: model.sizeBytes,
    isLoaded: false,
  };
  // Answers and loads under way end: what takes memory now doesn't rule a model out for good.
  const idle = allIdle(state);
  const plan = planLoad(target, idle);
  if (plan.fits && plan.evict.length === 0) return { fits: "now" };
  if (plan.fits || planLoad(target, withoutReservations(idle)).fits)
    return { fits: "after_eviction", evictsInUse: !planLoad(target, state).fits };
  const pinned = pinnedInTheWay(target, state);
  return { fits: "no", ...(pinned.length > 0 && { pinnedInTheWay: pinned }) };
}

/** `7.6B` → 7.6e9, `134.52M` → 134.52e6. */
export function parseParameterSize(text: string | undefined): number | undefined {
  const match = /^\s*([\d.]+)\s*([KMBT])/i.exec(text ?? "");
  if (match === null) return undefined;
  const factor = { K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[(match[2] ?? "").toUpperCase()];
  const value = Number(match[1]);
  return factor === undefined || Number.isNaN(value) ? undefined : value * factor;
}
