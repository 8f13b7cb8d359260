import { planLoad, type ResidentEntry } from "../../../src/orchestrator/memory/plan.ts";
import { createEvictionPolicy } from "../../../src/orchestrator/scheduler/eviction-policy.ts";
import { gib, type Machine, modelAt } from "./machine.ts";
import type { Replayed } from "./rivals.ts";

/** The machine under ours: plans, policy and eviction are the very ones that the loader calls. */
export interface OwnMachine extends Replayed {
  readonly resident: ReadonlySet<number>;
  /** Evicts what has to go and loads; reload seconds. `awaited` are models that others wait for. */
  load(model: number, awaited: ReadonlySet<number>): number;
  /** Begins to answer with a resident model. */
  use(model: number): void;
  /** What a load would evict. */
  wouldEvict(model: number, awaited: ReadonlySet<number>): readonly number[];
  /** As the policy has it; 0 of a model that was not used. */
  expectedLossSeconds(model: number): number;
}

const engine = "bench";

export function createOwnMachine({ models, capacityBytes }: Machine): OwnMachine {
  const policy = createEvictionPolicy();
  const lastUsedMs = new Map<number, number>();
  const resident = new Set<number>();
  const numberOf = new Map(models.map(({ name }, index) => [name, index]));
  let requests = 0;

  function evictedFor(model: number, awaited: ReadonlySet<number>): readonly number[] {
    const target = modelAt(models, model);
    const entries = [...resident].map((index): ResidentEntry => {
      const { name, bytes, loadSeconds } = modelAt(models, index);
      return {
        name,
        engine,
        sizeBytes: bytes,
        mappedBytes: 0,
        isBusy: false,
        isPinned: false,
        reloadSeconds: policy.expectedLossSeconds(name) ?? loadSeconds,
        lastUsedMs: lastUsedMs.get(index) ?? 0,
        isForeign: false,
        isAwaited: awaited.has(index),
      };
    });
    const plan = planLoad(
      {
        model: target.name,
        engine,
        contextTokens: 4_096,
        estimate: { method: "configured", predictedBytes: target.bytes, margin: 0, processBytes: 0 },
        fileBytes: target.bytes,
        isLoaded: false,
      },
      {
        availableBytes: capacityBytes - entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        isOverridden: true,
        totalBytes: capacityBytes,
        bufferBytes: 0,
        smallModelBytes: 5 * gib,
        reservedBytes: 0,
        resident: entries,
      },
    );
    if (!plan.fits) throw new Error(`${target.name} does not fit: ${plan.steps.join(" -> ")}`);
    return plan.evict.map(({ name }) => numberOf.get(name) ?? -1);
  }

  function use(model: number): void {
    const { name, bytes, loadSeconds } = modelAt(models, model);
    requests += 1;
    policy.used({ key: name, sizeBytes: bytes, loadSeconds, capacityBytes });
    lastUsedMs.set(model, requests);
  }

  function load(model: number, awaited: ReadonlySet<number>): number {
    for (const victim of evictedFor(model, awaited)) resident.delete(victim);
    resident.add(model);
    return modelAt(models, model).loadSeconds;
  }

  return {
    resident,
    serve(model) {
      use(model);
      return resident.has(model) ? 0 : load(model, new Set());
    },
    load,
    use,
    wouldEvict: evictedFor,
    expectedLossSeconds: (model) => policy.expectedLossSeconds(modelAt(models, model).name) ?? 0,
  };
}
