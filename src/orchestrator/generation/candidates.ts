import type { Log } from "../api/log.ts";
import type { InstalledModel, ModelFacts } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Estimates } from "../residency/estimates.ts";
import type { Observations } from "../residency/observations.ts";
import { fitOf, pinnedInTheWay } from "../memory/plan.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import { type LoadTarget, type MemoryState, allIdle, withoutReservations } from "../memory/state.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { describedBy, factsOf } from "../catalog/known-facts.ts";
import {
  type Awaitable,
  type EngineModels,
  type LocatedModel,
  isCopy,
  takesNoMemory,
  idOf,
} from "../catalog/located-model.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import { type Plans, measuredMs } from "../residency/plans.ts";
import { assumedBytesPerMs } from "../residency/request-queues.ts";
import type { Slots } from "../residency/slots.ts";
import type { Candidate } from "../routing/candidate.ts";
import { cardBandwidth } from "../routing/first-models.ts";
import type { SpendingLedger } from "../money/spending.ts";
import { defined } from "../util/values.ts";

/** A model that could answer: the candidate that routing ranks, with its location. */
export interface LocatedCandidate {
  readonly located: LocatedModel;
  readonly candidate: Candidate;
}

export interface CandidateSource {
  readonly inventory: Inventory;
  readonly loaded: LoadedModels;
  readonly slots: Slots;
  readonly plans: Plans;
  readonly estimates: Estimates;
  readonly observations: Observations;
  readonly memory: Settings["memory"];
  readonly spending: Pick<SpendingLedger, "ready" | "left">;
  /** Effective bandwidth of main memory, measured once for each machine. */
  readonly ramBytesPerSecond?: () => Promise<number | undefined>;
  readonly now: () => number;
  readonly log: Log;
}

/**
 * All models of all engines as candidates. A model that is on two engines appears once.
 * Without `withMemory` memory is not measured and every model counts as fitting, which suffices if a loaded model wins.
 */
export async function listCandidates(
  source: CandidateSource,
  withMemory: boolean,
  signal: AbortSignal,
  /** Ids of engines to leave out, and of models (`modelId`) that do not fit after all. */
  down: ReadonlySet<string> = new Set(),
  /** Id of the engine to list first. */
  provider?: string,
): Promise<readonly LocatedCandidate[]> {
  await source.observations.ready();
  await source.spending.ready();
  const answering = (await source.inventory.recentLists()).filter(({ engine }) => !down.has(engine.id));
  const lists = engineFirst(answering, provider);
  const found = await source.inventory.uniqueModels(lists);
  const engines = new Map<Engine, EngineNow>();
  const ramBytesPerSecond = withMemory ? await source.ramBytesPerSecond?.() : undefined;
  for (const { engine, models, message: downBecause } of lists) {
    const state = withMemory && models.length > 0 ? await source.plans.state(engine, undefined, measuredMs) : undefined;
    engines.set(engine, { state, downBecause, ramBytesPerSecond });
  }
  const all: LocatedCandidate[] = [];
  const awaited: Promise<void>[] = [];
  for (const [place, each] of found.entries()) {
    const located = withoutFailure(source, each, lists);
    const entry = toCandidate(source, located, engines.get(located.engine) ?? {}, signal);
    if (entry instanceof Promise) awaited.push(entry.then((made) => void (all[place] = made)));
    else all[place] = entry;
  }
  if (awaited.length > 0) await Promise.all(awaited);
  if (down.size === 0) return all;
  return all.map((entry): LocatedCandidate => {
    const isUnfit = down.has(idOf(entry.located));
    return isUnfit ? { ...entry, candidate: { ...entry.candidate, fits: "no" } } : entry;
  });
}

/** A copy that didn't just fail, if there is one of equal trust. */
function withoutFailure(source: CandidateSource, found: LocatedModel, lists: readonly EngineModels[]): LocatedModel {
  if (!isCooling(source, found)) return found;
  const held = lists.flatMap(({ engine, models, message }) =>
    message === undefined ? models.map((model) => ({ engine, model })) : [],
  );
  const isAsGood = (each: LocatedModel) => each.engine.trust === found.engine.trust && !isCooling(source, each);
  return held.find((each) => isCopy(each, found) && isAsGood(each)) ?? found;
}

function isCooling(source: CandidateSource, each: LocatedModel): boolean {
  return source.observations.of(idOf(each)).breaker?.coolDown !== undefined;
}

/** The entries with those of one engine first, otherwise in the same order. */
export function engineFirst<Held extends { readonly engine: { readonly id: string } }>(
  held: readonly Held[],
  id: string | undefined,
): readonly Held[] {
  return held.length < 2 ? held : held.toSorted((a, b) => Number(b.engine.id === id) - Number(a.engine.id === id));
}

/** An engine at the moment. */
interface EngineNow {
  readonly state?: MemoryState | undefined;
  readonly downBecause?: string | undefined;
  readonly ramBytesPerSecond?: number | undefined;
}

/** How old the look may be that says whether a model is loaded. */
const residencyAgeMs = 60_000;

/**
 * One known model as a candidate; without `engineNow` memory is not measured. Without a promise where facts and residency
 * are cached, as they mostly are.
 */
export function toCandidate(
  source: CandidateSource,
  located: LocatedModel,
  engineNow: EngineNow,
  signal: AbortSignal,
): Awaitable<LocatedCandidate> {
  const facts = factsOf(source, located, signal);
  if (facts instanceof Promise) {
    return facts.then(async (read) =>
      candidateOf(source, located, engineNow, read, await source.loaded.has(located, residencyAgeMs)),
    );
  }
  const isLoaded = source.loaded.has(located, residencyAgeMs);
  return isLoaded instanceof Promise
    ? isLoaded.then((looked) => candidateOf(source, located, engineNow, facts, looked))
    : candidateOf(source, located, engineNow, facts, isLoaded);
}

/** A success rate of fewer outcomes says little. */
const leastOutcomes = 3;

/** What a candidate was made of. Every choice of a model needs all of them, and between two few have changed. */
const made = new WeakMap<
  InstalledModel,
  Omit<Parameters<typeof unmeasured>[1], "budget" | "downBecause"> & {
    readonly engine: Engine;
    readonly hasResidency: boolean;
    readonly entry: LocatedCandidate;
  }
>();

function candidateOf(
  source: CandidateSource,
  located: LocatedModel,
  { state, downBecause, ramBytesPerSecond }: EngineNow,
  facts: Partial<ModelFacts>,
  isLoaded: boolean,
): LocatedCandidate {
  const { engine, model } = located;
  const observed = source.observations.of(idOf(located));
  const budget = source.spending.left(engine, model.name);
  const hasResidency = engine.residency !== undefined;
  // A breaker and a budget depend on the time.
  const isLasting = downBecause === undefined && observed.breaker === undefined && budget === undefined;
  const known = isLasting ? made.get(model) : undefined;
  const isSame =
    known?.engine === engine &&
    known.facts === facts &&
    known.observed === observed &&
    known.isLoaded === isLoaded &&
    known.hasResidency === hasResidency;
  const entry = isSame ? known.entry : unmeasured(located, { facts, observed, isLoaded, budget, downBecause });
  if (isLasting && !isSame) made.set(model, { engine, facts, observed, isLoaded, hasResidency, entry });
  const { candidate } = entry;
  const needsNoMemory = state === undefined || candidate.isLoaded || takesNoMemory(located);
  if (needsNoMemory) return entry;
  const bytesPerSecond = bandwidthOf(candidate, state) ?? ramBytesPerSecond;
  // A model that is being loaded will be there without another load.
  const fit = source.slots.at(located).isLoading ? noLoad : measuredFit(source, located, state);
  return { ...entry, candidate: { ...candidate, ...fit, ...defined({ bytesPerSecond }) } };
}

/** That of the slowest card, if the cards hold the model. */
function bandwidthOf({ sizeBytes }: Candidate, { mayUseGpus, gpus = [] }: MemoryState): number | undefined {
  const cardBytes = gpus.reduce((sum, { totalBytes }) => sum + totalBytes, 0);
  if (mayUseGpus !== true || gpus.length === 0 || cardBytes < sizeBytes) return undefined;
  return Math.min(...gpus.map(({ name }) => cardBandwidth(name)));
}

const noLoad = { reloadSeconds: 0, expectedLoadSeconds: 0 } as const;

/** As if it fitted. */
function unmeasured(
  located: LocatedModel,
  now: {
    readonly facts: Partial<ModelFacts>;
    readonly observed: ReturnType<Observations["of"]>;
    readonly isLoaded: boolean;
    readonly budget: Candidate["budget"] | undefined;
    readonly downBecause: string | undefined;
  },
): LocatedCandidate {
  const { engine, model } = located;
  const { observed, budget } = now;
  const { entry, facts: _facts, activeBytes = 0, ...described } = describedBy(model, now.facts);
  const trust = engine.trust === "remote" ? "remote" : model.trust;
  const { loadSeconds, outcomes = 0 } = observed;
  const cooling = observed.breaker?.coolDown;
  const coolDown = now.downBecause ?? cooling?.because;
  const candidate: Candidate = defined({
    ...described,
    model: model.name,
    engine: engine.id,
    sizeBytes: model.sizeBytes,
    trust,
    // Without residency its server serves it at once, and nothing is loaded.
    isLoaded: now.isLoaded || (engine.residency === undefined && trust === "local"),
    isKnown: entry !== undefined,
    audioFormats: engine.audioFormats,
    hasStatedProfiles: model.stated?.profiles === undefined ? undefined : true,
    fits: "now" as const,
    reloadSeconds: loadSeconds,
    expectedLoadSeconds: takesNoMemory(located) ? 0 : (loadSeconds ?? model.sizeBytes / assumedBytesPerMs / 1_000),
    tokensPerSecond: observed.tokensPerSecond,
    promptTokensPerSecond: observed.promptTokensPerSecond,
    activeBytes: activeBytes > 0 && activeBytes < model.sizeBytes ? activeBytes : undefined,
    firstTokenMs: observed.firstTokenMs,
    successRate: outcomes < leastOutcomes ? undefined : observed.successRate,
    budget,
    coolDown,
    mustWaitMs: cooling?.mustWaitMs,
  });
  return { located, candidate };
}

/** A quick estimate from cached data; the plan before a load is more thorough. */
function measuredFit(
  source: CandidateSource,
  { engine, model }: LocatedModel,
  state: MemoryState,
): Pick<Candidate, "fits" | "pinnedInTheWay" | "evictsInUse"> {
  const target: LoadTarget = {
    model: model.name,
    engine: engine.id,
    contextTokens: defaultContextTokens,
    estimate: source.estimates.quick(model, { engine, contextTokens: defaultContextTokens }),
    fileBytes: model.sizeBytes,
    isLoaded: false,
  };
  // Running answers and loads will end: the memory they use does not rule out a model.
  const isAnyBusy = state.resident.some(({ isBusy }) => isBusy);
  const idle = isAnyBusy ? allIdle(state) : state;
  const fits = fitOf(target, idle);
  if (fits === "now") return { fits };
  if (fits !== "no" || fitOf(target, withoutReservations(idle)) !== "no")
    return { fits: "after_eviction", evictsInUse: (isAnyBusy ? fitOf(target, state) : fits) === "no" };
  const pinned = pinnedInTheWay(target, state);
  return { fits: "no", ...(pinned.length > 0 && { pinnedInTheWay: pinned }) };
}
