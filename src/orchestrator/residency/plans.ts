import type { LoadPlan } from "../api/facade-status.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import type { Estimates } from "./estimates.ts";
import type { Observations } from "./observations.ts";
import type { GpuMemory, MemoryProbe, MemorySample } from "../memory/measure/system-probe.ts";
import {
  pressureWarnings,
  type LoadTarget,
  type MemoryState,
  type SlotView,
  allIdle,
  createMemoryDomain,
  isOfTarget,
  withoutReservations,
  localDomain,
} from "../memory/state.ts";
import { fitOf, planLoad } from "../memory/plan.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type Awaitable, type LocatedModel, modelId, takesNoMemory } from "../catalog/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import { createMutex } from "../util/joined-work.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import type { Slots } from "./slots.ts";
import { defined, getOrInsert } from "../util/values.ts";

/** Models below this size are evicted last among evictions of about the same cost. */
const smallModelBytes = 5 * 1024 ** 3;

interface PlanParts {
  readonly inventory: Inventory;
  readonly slots: Slots;
  readonly probe: MemoryProbe;
  readonly observations: Observations;
  readonly memory: () => Settings["memory"];
  /** Engines that were replaced: their models stay loaded until their active requests have ended. */
  readonly leaving: () => readonly Engine[];
  readonly estimates: Estimates;
  readonly policies: EvictionPolicies;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What a load would evict, and, if it could begin now, its plan as long as nothing has changed since. */
export interface LoadAhead {
  /** Ids of the other models. */
  readonly evicts: readonly string[];
  readonly plan?: LoadPlan;
  isCurrent?(): boolean;
}

/** A measurement of the memory serves for this long (`MemoryProbe`). */
export const measuredMs = 250;

/** Dry runs of loads: reads the state of the memory, as plain snapshots of the slots, and calls `planLoad`. */
export class Plans {
  readonly #parts: PlanParts;
  readonly #domains = new Map<string, ReturnType<typeof createDomain>>();

  constructor(parts: PlanParts) {
    this.#parts = parts;
  }

  /** The reservations of loads in progress. */
  reservations(domainId: string) {
    return this.#domain(domainId).memory;
  }

  /** Mutual exclusion of plans and evictions per memory domain; loads overlap, each with its memory reserved. */
  inTurn<Result>(domainId: string, work: () => Promise<Result>): Promise<Result> {
    return this.#domain(domainId).inTurn(work);
  }

  /**
   * The current state of the memory that `engine` loads into, including loads in progress. Undefined for the memory of
   * another machine, unless the settings give its size. `loading` is the model whose load is planned: its own
   * reservation doesn't count. `maxAgeMs` of measurement and polls; by default that of the probe, and 0.
   */
  async state(engine: Engine, loading?: Pick<ResidentModel, "name" | "sizeBytes">, maxAgeMs?: number) {
    const { inventory, probe, observations, policies, leaving } = this.#parts;
    const memory = this.#parts.memory();
    const isHere = engine.memoryDomain === localDomain;
    if (!isHere && engine.memoryBytes === undefined && memory.availableBytes === undefined) return undefined;
    // Read before measuring: a load that ends meanwhile is counted twice rather than not at all.
    const reserved = this.reservations(engine.memoryDomain).reserved(loading && modelId(engine.id, loading.name));
    const neighbours = [...inventory.engines, ...leaving()].filter(
      (other) => other.memoryDomain === engine.memoryDomain,
    );
    // The losses depend on the load times of earlier processes.
    await observations.ready();
    const lossOf = policies.losses(engine, loading);
    const sampled = probe.sample(maxAgeMs);
    const [sample, entries] = await Promise.all([
      sampled,
      Promise.all(neighbours.map((neighbour) => this.#residentEntries(neighbour, lossOf, sampled, maxAgeMs))),
    ]);
    const resident = entries.flat();
    return {
      ...capacity(engine, memory, sample, resident),
      bufferBytes: memory.bufferBytes,
      ...defined({ maxBytes: memory.maxBytes }),
      smallModelBytes,
      reservedBytes: reserved.ramBytes,
      resident,
      ...(isHere && {
        gpus: named(sample.gpus).map((gpu) => ({ ...gpu, reservedBytes: reserved.vramBytes[gpu.name] ?? 0 })),
        mayUseGpus:
          engine.usesCards === true && (loading && engine.residency?.cardFailure?.(loading.name)) === undefined,
        warnings: pressureWarnings(sample),
      }),
    };
  }

  async target(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget> {
    const { engine, model } = located;
    const { inventory, slots, estimates } = this.#parts;
    // First: the estimate requests the facts that tell which names share a slot.
    const known = await estimates.of(located, contextTokens, signal);
    // An engine that simulates its loads puts on cards what was simulated by layers, and nothing else.
    const isInRam = engine.estimation !== undefined && known.byLayers === undefined;
    const estimate = isInRam && engine.usesCards === true ? { ...known, vramShare: 0 } : known;
    const facts = engine.usesCards === true ? inventory.knownFacts(located) : undefined;
    const { residency } = engine;
    const schedulerBytes = facts && residency?.schedulerBytes?.(facts, residency.loadShape(facts, contextTokens));
    return {
      model: model.name,
      engine: engine.id,
      slot: slots.at(located).key,
      contextTokens,
      estimate,
      fileBytes: model.sizeBytes,
      ...defined({ schedulerBytes }),
      isLoaded: false,
    };
  }

  /** A model that is loaded with at least `sufficientTokens` counts as loaded. */
  async of(located: LocatedModel, contextTokens: number, signal: AbortSignal, sufficientTokens = contextTokens) {
    if (takesNoMemory(located)) return elsewherePlan(located, contextTokens);
    const { engine, model } = located;
    const [target, state, resident] = await Promise.all([
      this.target(located, contextTokens, signal),
      this.state(engine, model),
      this.#parts.inventory.residentOf(located, 0),
    ]);
    if (state !== undefined) this.#parts.policies.measured(engine, state);
    const loadedTokens = resident && (resident.contextTokens ?? contextTokens);
    const isLoaded = loadedTokens !== undefined && loadedTokens >= sufficientTokens;
    const loadedAs = resident && !sameModel(resident.name, model.name) ? { loadedAs: resident.name } : {};
    const asItIs = isLoaded ? { ...target, isLoaded, contextTokens: loadedTokens, ...loadedAs } : target;
    return state === undefined ? unmeasuredPlan(asItIs) : planLoad(asItIs, state);
  }

  /** At most a minute old; requested again if the keep-alive has ended since. */
  resident(located: LocatedModel): Awaitable<ResidentModel | undefined> {
    const { inventory, now } = this.#parts;
    const current = (remembered: ResidentModel | undefined) => {
      const isExpired = remembered?.expiresAt !== undefined && Date.parse(remembered.expiresAt) <= now();
      return isExpired ? inventory.residentOf(located, 0) : remembered;
    };
    const remembered = inventory.residentOf(located, 60_000);
    return remembered instanceof Promise ? remembered.then(current) : current(remembered);
  }

  /** The plan of a load, as the queue decides it; see `victimsOf`. */
  async ahead(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadAhead> {
    const { slots, policies, now } = this.#parts;
    const { engine, model } = located;
    // Before anything is read, so that a change meanwhile counts.
    const [changes, atMs] = [slots.changes, now()];
    const isCurrent = () => slots.changes === changes && Math.abs(now() - atMs) < measuredMs;
    const [target, state] = await Promise.all([
      this.target(located, contextTokens, signal),
      // What the router has just polled is as new as the measurement; a load, an unload and an eviction drop it.
      this.state(engine, model, measuredMs),
    ]);
    if (state === undefined) return { evicts: [] };
    policies.measured(engine, state);
    const plan = planLoad(target, state);
    const evicts = victimsOf(target, state, plan);
    // One that replaces an instance of the model is made when that instance is idle.
    const replaces = state.resident.some((entry) => isOfTarget(entry, target));
    return plan.fits && !replaces ? { evicts, plan, isCurrent } : { evicts };
  }

  /** Whether it would fit once all active requests are done and all loads in progress are undone. */
  async wouldFitWhenIdle(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<boolean> {
    const { engine, model } = located;
    const state = await this.state(engine, model);
    if (state === undefined) return false;
    const target = await this.target(located, contextTokens, signal);
    return fitOf(target, withoutReservations(allIdle(state))) !== "no";
  }

  #domain(id: string) {
    return getOrInsert(this.#domains, id, () => createDomain(id));
  }

  async #residentEntries(
    engine: Engine,
    lossOf: (id: string) => number | undefined,
    sampled: Promise<MemorySample>,
    maxAgeMs = 0,
  ): Promise<readonly SlotView[]> {
    const { inventory, observations, slots } = this.#parts;
    const isLeaving = this.#parts.leaving().includes(engine);
    const [residents, lists, { gpus }] = await Promise.all([
      inventory.resident(engine, maxAgeMs),
      inventory.recentLists(),
      sampled,
    ]);
    const installed = lists.find((list) => list.engine === engine)?.models ?? [];
    return residents.map((model) => {
      const id = modelId(engine.id, model.name);
      const freeAfterLoadBytes = slots.of(engine, model.name).freeAfterLoad(model, gpus);
      const reloadSeconds = lossOf(id) ?? observations.of(id).loadSeconds;
      const fileBytes = installed.find((candidate) => sameModel(candidate.name, model.name))?.sizeBytes ?? 0;
      return {
        ...slots.view(engine, model),
        mappedBytes: mappedBytesOf(model, fileBytes, gpus.length > 0),
        ...(isLeaving ? { isBusy: true } : {}),
        ...defined({ freeAfterLoadBytes, reloadSeconds }),
      };
    });
  }
}

const createDomain = (id: string) => ({ memory: createMemoryDomain(id), inTurn: createMutex() });

/**
 * Ids of the other models that a load would evict: idle models if they suffice, else what it would evict if
 * all models were idle. Empty if no eviction helps: the load itself reports why.
 */
export function victimsOf(target: LoadTarget, state: MemoryState, now = planLoad(target, state)): readonly string[] {
  const { evict } = now.fits ? now : planLoad(target, withoutReservations(allIdle(state)));
  const replaced = state.resident.filter((entry) => isOfTarget(entry, target));
  return evict.flatMap(({ name, engine }) =>
    replaced.some((entry) => entry.name === name && entry.engine === engine) ? [] : modelId(engine, name),
  );
}

/** The size configured for the engine's domain, else the one configured for all, else the measured one. */
function capacity(
  { memoryBytes }: Engine,
  { availableBytes }: Settings["memory"],
  sample: MemorySample,
  resident: readonly SlotView[],
): Pick<MemoryState, "availableBytes" | "isOverridden"> {
  if (memoryBytes !== undefined) {
    const used = resident.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return { availableBytes: memoryBytes - used, isOverridden: true };
  }
  if (availableBytes !== undefined) return { availableBytes, isOverridden: true };
  return { availableBytes: sample.availableBytes, isOverridden: false };
}

/**
 * File-mapped bytes of the model in RAM, which MemAvailable counts as available although they aren't. An engine that
 * doesn't report them is assumed to do as Ollama does (`llm/server.go`, and observed in /proc): without graphics cards
 * it reads the file into anonymous memory, else it maps the file.
 */
export function mappedBytesOf(model: ResidentModel, fileBytes: number, hasCards: boolean): number {
  if (model.mappedBytes !== undefined) return model.mappedBytes;
  if (!hasCards && model.vramBytes === 0) return 0;
  return Math.min(fileBytes, Math.max(0, model.sizeBytes - model.vramBytes));
}

/** Numbers cards of the same make, which have the same name. */
function named(gpus: readonly GpuMemory[]): readonly GpuMemory[] {
  return gpus.map((gpu, index) => {
    const isTwin = gpus.filter(({ name }) => name === gpu.name).length > 1;
    return isTwin ? { ...gpu, name: `${gpu.name} #${index + 1}` } : gpu;
  });
}

/** A plan that leaves the decision to the engine. */
function engineDecides(target: Omit<LoadTarget, "fileBytes">, why: string): LoadPlan {
  const { model, engine, contextTokens, isLoaded, estimate } = target;
  const numbers = { neededBytes: estimate.predictedBytes, freeBytes: 0 };
  return { model, engine, contextTokens, isLoaded, fits: true, estimate, ...numbers, evict: [], steps: [why] };
}

/** The memory of another machine can't be measured from here. */
const unmeasuredPlan = (target: LoadTarget): LoadPlan =>
  engineDecides(
    target,
    `the memory of ${target.engine} is on another machine and can't be measured (providers.ollama.memoryBytes is not set)`,
  );

/** The plan for a model that needs no memory here. */
function elsewherePlan({ engine, model }: LocatedModel, contextTokens: number): LoadPlan {
  const estimate = { method: "configured", predictedBytes: 0, margin: 0, processBytes: 0 } as const;
  return engineDecides(
    { model: model.name, engine: engine.id, contextTokens, isLoaded: false, estimate },
    engine.residency === undefined && engine.trust === "local"
      ? `${engine.id} manages its own memory: nothing is loaded or unloaded for ${model.name}`
      : `${model.name} is a cloud model: it uses no memory on this machine`,
  );
}
