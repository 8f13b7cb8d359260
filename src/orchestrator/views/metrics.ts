import type { Emit, EventOf } from "../api/events.ts";
import type { CountedFigures, Metrics } from "../api/facade-metrics.ts";
import type { Log } from "../api/log.ts";
import type { MemoryProbe } from "../memory/measure/probe.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { describeFromDatabase } from "../routing/database.ts";
import type { Timers } from "../util/timers.ts";
import { adviceOf, unusedModels } from "./advice.ts";
import { type OwnModelsParts, adviceFacts } from "./own-models.ts";
import { moneyReport, referenceOf } from "./savings.ts";

interface MetricsParts extends OwnModelsParts {
  readonly store: CountedFigures;
}

/** The metrics of the facade, from what is counted. */
export function createMetrics(parts: MetricsParts): Metrics {
  const { store, now, settings } = parts;
  return {
    counters: () => store.counters(),
    report: () => store.report(),
    money: async () => moneyReport(await store.moneyCounts(), referenceOf(settings()), now()),
    breaches: () => store.breaches(),
    unused: async (caller) => unusedModels(await adviceFacts(parts, caller)),
    advice: async (caller) => [...(await store.breaches()), ...adviceOf(await adviceFacts(parts, caller))],
  };
}

const sampleIntervalMs = 60_000;

interface SamplerParts {
  readonly emit: Emit;
  readonly inventory: Pick<Inventory, "engines" | "lastResident" | "resident" | "lastList" | "knownFacts">;
  readonly probe: Pick<MemoryProbe, "sample">;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
}

/** Samples the memory each minute, the first time after one, until the returned function is called. */
export function sampleMemory(parts: SamplerParts): () => void {
  let isStopped = false;
  let cancel: () => void = () => undefined;
  const turn = (): void => {
    cancel = parts.timers.after(sampleIntervalMs, () => {
      sampleOf(parts)
        .then((sampled) => isStopped || parts.emit({ kind: "memory sampled", ...sampled }))
        .catch((error: unknown) => parts.log.debug(`metrics: ${String(error)}`))
        .finally(() => isStopped || turn());
    });
  };
  turn();
  return () => {
    isStopped = true;
    cancel();
  };
}

async function sampleOf({ inventory, probe }: SamplerParts): Promise<Omit<EventOf<"memory sampled">, "kind">> {
  const names: string[] = [];
  const byType: Record<string, number> = {};
  let modelBytes = 0;
  for (const engine of inventory.engines) {
    // An engine without models in memory is not asked: an idle one should stay idle.
    const loaded =
      inventory.lastResident(engine).length === 0 ? [] : await inventory.resident(engine, sampleIntervalMs);
    for (const { name, sizeBytes } of loaded) {
      const model = inventory.lastList(engine).find((listed) => listed.name === name);
      const facts = model === undefined ? undefined : inventory.knownFacts({ engine, model });
      const family = model?.family ?? describeFromDatabase(name, facts).family;
      byType[family] = (byType[family] ?? 0) + sizeBytes;
      modelBytes += sizeBytes;
      names.push(name);
    }
  }
  const { availableBytes, sampledAtMs } = await probe.sample();
  return { sample: { at: new Date(sampledAtMs).toISOString(), availableBytes, modelBytes, byType }, loaded: names };
}
