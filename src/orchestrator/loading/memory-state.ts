import type { Engine } from "../engines/engine.ts";
import type { MemoryProbe } from "../hardware/probe.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { MemoryDomain } from "../memory/domain.ts";
import type { MemoryState, ResidentEntry } from "../memory/plan.ts";
import type { Observations } from "../observations/observations.ts";
import { sameModel } from "../store/model-name.ts";
import type { Settings } from "../config/schema.ts";
import type { ResidentModel } from "../types.ts";

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
  /** What losing it is expected to cost; undefined before its first request. */
  readonly lossSeconds: (engine: Engine, id: string) => number | undefined;
  /** Loaded through this program; others were loaded by somebody else and go last. */
  readonly isOurs: (engine: Engine, name: string) => boolean;
}

/**
 * What is in the memory that `engine` loads into, now. Undefined when it can't be known: another machine's memory,
 * unless `memory.availableBytes` states it. `exceptId` is the load being planned, whose own reservation doesn't count.
 */
export async function readMemoryState(
  source: MemoryStateSource,
  engine: Engine,
  exceptId?: string,
): Promise<MemoryState | undefined> {
  const memory = source.memory();
  if (engine.memoryDomain !== localDomain && memory.availableBytes === undefined) return undefined;
  // Before the measurement: a load that ends meanwhile is rather counted twice than not at all.
  const reservedBytes = source.domains(engine.memoryDomain).reservedBytes(exceptId);
  const neighbours = [...source.inventory.engines, ...source.leaving()].filter(
    (other) => other.memoryDomain === engine.memoryDomain,
  );
  const [sample, resident] = await Promise.all([
    source.probe.sample(),
    Promise.all(neighbours.map((neighbour) => residentEntries(source, neighbour))),
  ]);
  return {
    availableBytes: memory.availableBytes ?? sample.availableBytes,
    isOverridden: memory.availableBytes !== undefined,
    totalBytes: sample.totalBytes,
    bufferBytes: memory.bufferBytes,
    ...(memory.maxBytes === undefined ? {} : { maxBytes: memory.maxBytes }),
    smallModelBytes: memory.smallModelBytes,
    reservedBytes,
    resident: resident.flat(),
  };
}

async function residentEntries(source: MemoryStateSource, engine: Engine): Promise<readonly ResidentEntry[]> {
  const { inventory, observations } = source;
  const isLeaving = source.leaving().includes(engine);
  // A plan is made from what is loaded now, not from what was loaded a while ago.
  const [resident, lists] = await Promise.all([inventory.resident(engine, 0), inventory.recentLists()]);
  const installed = lists.find((list) => list.engine === engine)?.models ?? [];
  return resident.map((model) => {
    const id = modelId(engine.id, model.name);
    const { loadSeconds, lastUsedMs } = observations.of(id);
    const reloadSeconds = source.lossSeconds(engine, id) ?? loadSeconds;
    const fileBytes = installed.find((candidate) => sameModel(candidate.name, model.name))?.sizeBytes ?? 0;
    return {
      name: model.name,
      engine: engine.id,
      sizeBytes: model.sizeBytes,
      mappedBytes: mappedBytes(model, fileBytes),
      isBusy: isLeaving || source.isBusy(id),
      isPinned: source.isPinned(model.name),
      isAwaited: source.isAwaited(id),
      ...(reloadSeconds === undefined ? {} : { reloadSeconds }),
      lastUsedMs: lastUsedMs ?? 0,
      isForeign: !source.isOurs(engine, model.name),
    };
  });
}

/** An engine that doesn't say how much it maps is taken to map its whole file: MemAvailable may count that as free. */
function mappedBytes(model: ResidentModel, fileBytes: number): number {
  return model.mappedBytes ?? Math.min(fileBytes, Math.max(0, model.sizeBytes - model.vramBytes));
}
