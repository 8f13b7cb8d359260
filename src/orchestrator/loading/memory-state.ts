import type { Engine } from "../engines/engine.ts";
import type { GpuMemory, MemoryProbe, MemorySample } from "../hardware/probe.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { MemoryDomain } from "../memory/domain.ts";
import type { MemoryState, ResidentEntry } from "../memory/plan.ts";
import { pressureWarnings } from "../memory/pressure.ts";
import type { Observations } from "../observations/observations.ts";
import { sameModel } from "../store/model-name.ts";
import type { Settings } from "../config/schema.ts";
import type { ResidentModel } from "../types.ts";
import { lastUseMs } from "./last-use.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";

/** The domain of this machine: the only one whose memory can be measured from here. */
export const localDomain = "local";

export interface MemoryStateSource {
  readonly inventory: Inventory;
  readonly probe: MemoryProbe;
  readonly observations: Observations;
  readonly memory: () => Settings["memory"];
  readonly domains: (id: string) => MemoryDomain;
  /** Engines that were replaced: what they hold stays until they end what was under way. */
  readonly leaving: () => readonly Engine[];
  /** Busy models are never evicted. */
  readonly isBusy: (id: string) => boolean;
  /** Nor are pinned ones. */
  readonly isPinned: (name: string) => boolean;
  /** Somebody waits for an answer of it. */
  readonly isAwaited: (id: string) => boolean;
  readonly losses: EvictionPolicies["losses"];
  /** Told what is loaded, before it is asked which of it is foreign. */
  readonly saw: (engine: Engine, resident: readonly ResidentModel[]) => void;
  /** Loaded, or used of late, by somebody else: goes last. */
  readonly isForeign: (engine: Engine, name: string) => boolean;
  /** Told to leave, and not seen to. */
  readonly hasUnconfirmedUnload: (id: string) => boolean;
}

/**
 * What is in the memory that `engine` loads into, now. Undefined when it can't be known: another machine's memory,
 * unless the settings state it. `loading` is the model whose load is planned: its own reservation doesn't count.
 * `maxAgeMs` of the measurement: the probe's own unless given.
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
  // Before the measurement: a load that ends meanwhile is rather counted twice than not at all.
  const reserved = source.domains(engine.memoryDomain).reserved(loading && modelId(engine.id, loading.name));
  const neighbours = [...source.inventory.engines, ...source.leaving()].filter(
    (other) => other.memoryDomain === engine.memoryDomain,
  );
  // Which times loads took is known only then.
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
      // The embedded engine computes on the processor.
      mayUseGpus: engine.kind === "ollama",
      warnings: pressureWarnings(sample),
    }),
  };
}

/** Stated for the engine's own domain, else stated for all, else measured. */
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
  // A plan is made from what is loaded now, not from what was loaded a while ago.
  const [resident, lists, { gpus }] = await Promise.all([
    inventory.resident(engine, 0),
    inventory.recentLists(),
    sampled,
  ]);
  const installed = lists.find((list) => list.engine === engine)?.models ?? [];
  source.saw(engine, resident);
  return resident.map((model) => {
    const id = modelId(engine.id, model.name);
    const { loadSeconds } = observations.of(id);
    const reloadSeconds = lossOf(id) ?? loadSeconds;
    const fileBytes = installed.find((candidate) => sameModel(candidate.name, model.name))?.sizeBytes ?? 0;
    const names = inventory.runners.namesOf(engine, model.name);
    const ids = names.map((name) => modelId(engine.id, name));
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
      ...(reloadSeconds === undefined ? {} : { reloadSeconds }),
      lastUsedMs: lastUseMs(observations, inventory.runners, engine, model.name) ?? 0,
      isForeign: source.isForeign(engine, model.name),
    };
  });
}

/**
 * An engine that doesn't say what it maps is taken to do as Ollama does (`llm/server.go`, and seen in /proc): where there
 * is no graphics unit it reads the file into memory of its own, else it maps the file. What lies in RAM of that counts as
 * available, and is not.
 */
function mappedBytes(model: ResidentModel, fileBytes: number, hasCards: boolean): number {
  if (model.mappedBytes !== undefined) return model.mappedBytes;
  if (!hasCards && model.vramBytes === 0) return 0;
  return Math.min(fileBytes, Math.max(0, model.sizeBytes - model.vramBytes));
}

/** Two cards of one make carry one name. */
function named(gpus: readonly GpuMemory[]): readonly GpuMemory[] {
  return gpus.map((gpu, index) => {
    const isTwin = gpus.filter(({ name }) => name === gpu.name).length > 1;
    return isTwin ? { ...gpu, name: `${gpu.name} #${index + 1}` } : gpu;
  });
}
