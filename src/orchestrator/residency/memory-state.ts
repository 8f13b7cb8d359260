import type { ResidentModel } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Observations } from "../memory/measure/observations.ts";
import type { GpuMemory, MemoryProbe, MemorySample } from "../memory/measure/probe.ts";
import type { MemoryState, ResidentEntry } from "../memory/plan.ts";
import { pressureWarnings } from "../memory/pressure.ts";
import type { MemoryDomain } from "../memory/state.ts";
import type { Inventory } from "../models/inventory.ts";
import { modelId } from "../models/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import type { FreeAfterLoad } from "./free-after-load.ts";
import { lastUseMs } from "./last-use.ts";

/** The memory domain of this machine, the only one that can be measured. */
export const localDomain = "local";

export interface MemoryStateSource {
  readonly inventory: Inventory;
  readonly probe: MemoryProbe;
  readonly observations: Observations;
  readonly memory: () => Settings["memory"];
  readonly domains: (id: string) => MemoryDomain;
  /** Engines that were replaced: their models stay loaded until their active requests have ended. */
  readonly leaving: () => readonly Engine[];
  /** Busy models are never evicted. */
  readonly isBusy: (id: string) => boolean;
  /** Pinned models are never evicted either. */
  readonly isPinned: (name: string) => boolean;
  /** Whether requests wait for the model. */
  readonly isAwaited: (id: string) => boolean;
  readonly losses: EvictionPolicies["losses"];
  /** Called with the loaded models before `isForeign` is called. */
  readonly observed: (engine: Engine, resident: readonly ResidentModel[]) => void;
  /** Loaded, or recently used, by another program: evicted last. */
  readonly isForeign: (engine: Engine, name: string) => boolean;
  /** Whether an unload of the model was requested and not confirmed. */
  readonly hasUnconfirmedUnload: (id: string) => boolean;
  readonly freeAfterLoad: FreeAfterLoad;
}

/**
 * The current state of the memory that `engine` loads into. Undefined for the memory of another machine, unless the
 * settings give its size. `loading` is the model whose load is planned: its own reservation doesn't count. `maxAgeMs`
 * of the measurement defaults to the probe's.
 */
export async function readMemoryState(
  source: MemoryStateSource,
  engine: Engine,
  loading?: Pick<ResidentModel, "name" | "sizeBytes">,
  maxAgeMs?: number,
): Promise<MemoryState | undefined> {
  const memory = source.memory();
  const isHere = engine.memoryDomain === localDomain;
  if (!isHere && engine.memoryBytes === undefined && memory.availableBytes === undefined) return undefined;
  // Read before measuring: a load that ends meanwhile is counted twice rather than not at all.
  const reserved = source.domains(engine.memoryDomain).reserved(loading && modelId(engine.id, loading.name));
  const neighbours = [...source.inventory.engines, ...source.leaving()].filter(
    (other) => other.memoryDomain === engine.memoryDomain,
  );
  // The losses depend on the load times of earlier processes.
  await source.observations.ready?.();
  const lossOf = source.losses(engine, loading);
  const sampled = source.probe.sample(maxAgeMs);
  const [sample, entries] = await Promise.all([
    sampled,
    Promise.all(neighbours.map((neighbour) => residentEntries(source, neighbour, lossOf, sampled))),
  ]);
  const resident = entries.flat();
  return {
    ...capacity(engine, memory, sample, resident),
    bufferBytes: memory.bufferBytes,
    ...(memory.maxBytes === undefined ? {} : { maxBytes: memory.maxBytes }),
    smallModelBytes: memory.smallModelBytes,
    reservedBytes: reserved.ramBytes,
    resident,
    ...(isHere && {
      gpus: named(sample.gpus).map((gpu) => ({ ...gpu, reservedBytes: reserved.vramBytes[gpu.name] ?? 0 })),
      mayUseGpus: engine.usesCards === true,
      warnings: pressureWarnings(sample),
    }),
  };
}

/** The size configured for the engine's domain, else the one configured for all, else the measured one. */
function capacity(
  { memoryBytes }: Engine,
  { availableBytes }: Settings["memory"],
  sample: MemorySample,
  resident: readonly ResidentEntry[],
): Pick<MemoryState, "availableBytes" | "isOverridden"> {
  if (memoryBytes !== undefined) {
    const used = resident.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return { availableBytes: memoryBytes - used, isOverridden: true };
  }
  if (availableBytes !== undefined) return { availableBytes, isOverridden: true };
  return { availableBytes: sample.availableBytes, isOverridden: false };
}

async function residentEntries(
  source: MemoryStateSource,
  engine: Engine,
  lossOf: (id: string) => number | undefined,
  sampled: Promise<MemorySample>,
): Promise<readonly ResidentEntry[]> {
  const { inventory, observations } = source;
  const isLeaving = source.leaving().includes(engine);
  // Plans need the current state, not a remembered one.
  const [resident, lists, { gpus }] = await Promise.all([
    inventory.resident(engine, 0),
    inventory.recentLists(),
    sampled,
  ]);
  const installed = lists.find((list) => list.engine === engine)?.models ?? [];
  source.observed(engine, resident);
  const freeAfterLoad = source.freeAfterLoad.observe(engine, resident, gpus);
  return resident.map((model) => {
    const id = modelId(engine.id, model.name);
    const { loadSeconds } = observations.of(id);
    const reloadSeconds = lossOf(id) ?? loadSeconds;
    const fileBytes = installed.find((candidate) => sameModel(candidate.name, model.name))?.sizeBytes ?? 0;
    const names = inventory.runners.namesOf(engine, model.name);
    const ids = names.map((name) => modelId(engine.id, name));
    const freeAfterLoadBytes = freeAfterLoad.get(model.name);
    return {
      name: model.name,
      engine: engine.id,
      slot: inventory.runners.slotOf(id),
      sizeBytes: model.sizeBytes,
      vramBytes: model.vramBytes,
      mappedBytes: mappedBytes(model, fileBytes, gpus.length > 0),
      isBusy: isLeaving || source.isBusy(id),
      isPinned: names.some(source.isPinned),
      isAwaited: ids.some(source.isAwaited),
      ...(source.hasUnconfirmedUnload(id) ? { hasUnconfirmedUnload: true } : {}),
      ...(freeAfterLoadBytes === undefined ? {} : { freeAfterLoadBytes }),
      ...(reloadSeconds === undefined ? {} : { reloadSeconds }),
      lastUsedMs: lastUseMs(observations, inventory.runners, engine, model.name) ?? 0,
      isForeign: source.isForeign(engine, model.name),
    };
  });
}

/**
 * File-mapped bytes of the model in RAM, which MemAvailable counts as available although they aren't. An engine that
 * doesn't report them is assumed to do as Ollama does (`llm/server.go`, and observed in /proc): without graphics cards
 * it reads the file into anonymous memory, else it maps the file.
 */
function mappedBytes(model: ResidentModel, fileBytes: number, hasCards: boolean): number {
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
