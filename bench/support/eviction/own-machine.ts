import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { planLoad } from "../../../src/orchestrator/memory/plan.ts";
import type { MemoryState, SlotView } from "../../../src/orchestrator/memory/state.ts";
import { modelId } from "../../../src/orchestrator/catalog/located-model.ts";
import { createEvictionPolicies } from "../../../src/orchestrator/residency/eviction-policies.ts";
import { type Machine, gib, modelAt } from "./machine.ts";
import type { Replayed } from "./rivals.ts";

/**
 * The machine under ours: plans, policy and eviction are the very ones that the loader calls, in its order: a load is
 * planned, models are evicted, the load time is recorded, and the policy is notified of the use.
 */
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

const engine = { id: "bench", memoryDomain: "bench" };

export function createOwnMachine({ models, capacityBytes }: Machine): OwnMachine {
  let requests = 0;
  const observations = createObservations(() => requests);
  const policies = createEvictionPolicies({ observations, isPinned: () => false });
  /** Two spellings of a name are one model to the loader; those of a trace are not. */
  const idOf = (model: number) => modelId(engine.id, String(model));
  const resident = new Set<number>();

  function evictedFor(model: number, awaited: ReadonlySet<number>): readonly number[] {
    const target = modelAt(models, model);
    const lossOf = policies.losses(engine, { name: String(model), sizeBytes: target.bytes });
    const entries = [...resident].map((index): SlotView => {
      const { bytes } = modelAt(models, index);
      const { loadSeconds = 0, lastUsedMs = 0 } = observations.of(idOf(index));
      return {
        name: String(index),
        engine: engine.id,
        sizeBytes: bytes,
        mappedBytes: 0,
        isBusy: false,
        isPinned: false,
        reloadSeconds: lossOf(idOf(index)) ?? loadSeconds,
        lastUsedMs,
        isForeign: false,
        isAwaited: awaited.has(index),
      };
    });
    const state: MemoryState = {
      availableBytes: capacityBytes - entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      isOverridden: true,
      bufferBytes: 0,
      smallModelBytes: 5 * gib,
      reservedBytes: 0,
      resident: entries,
    };
    policies.measured(engine, state);
    const plan = planLoad(
      {
        model: String(model),
        engine: engine.id,
        contextTokens: 4_096,
        estimate: { method: "configured", predictedBytes: target.bytes, margin: 0, processBytes: 0 },
        fileBytes: target.bytes,
        isLoaded: false,
      },
      state,
    );
    if (!plan.fits) throw new Error(`${target.name} does not fit: ${plan.steps.join(" -> ")}`);
    return plan.evict.map(({ name }) => Number(name));
  }

  function use(model: number): void {
    requests += 1;
    observations.used(idOf(model));
    policies.served(engine, { name: String(model), sizeBytes: modelAt(models, model).bytes });
  }

  function load(model: number, awaited: ReadonlySet<number>): number {
    const { loadSeconds } = modelAt(models, model);
    for (const victim of evictedFor(model, awaited)) resident.delete(victim);
    resident.add(model);
    observations.loaded(idOf(model), loadSeconds * 1_000);
    use(model);
    return loadSeconds;
  }

  return {
    resident,
    serve(model) {
      if (!resident.has(model)) return load(model, new Set());
      use(model);
      return 0;
    },
    load,
    use,
    wouldEvict: evictedFor,
    expectedLossSeconds: (model) => policies.losses(engine)(idOf(model)) ?? 0,
  };
}
