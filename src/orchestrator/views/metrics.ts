import type { MemorySample, Metrics } from "../api/facade-metrics.ts";
import type { Log } from "../api/log.ts";
import type { MemoryProbe } from "../memory/measure/probe.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { describeFromDatabase } from "../routing/database.ts";
import type { Timers } from "../util/timers.ts";
import { adviceOf, unusedModels } from "./advice.ts";
import type { Breaches } from "../watch/metrics/breaches.ts";
import { type OwnModelsParts, adviceFacts } from "./own-models.ts";
import { moneyReport, referenceOf } from "./savings.ts";
import type { MetricsStore } from "../watch/metrics/store.ts";

interface MetricsParts extends OwnModelsParts {
  readonly store: Pick<MetricsStore, "counters" | "report" | "moneyCounts" | "models">;
  readonly breaches: Pick<Breaches, "list">;
}

/** The metrics of the facade, from what is counted. */
export function createMetrics(parts: MetricsParts): Metrics {
  const { store, breaches, now, settings } = parts;
  return {
    counters: () => store.counters(),
    report: () => store.report(),
    money: async () => moneyReport(await store.moneyCounts(), referenceOf(settings()), now()),
    breaches: () => breaches.list(),
    unused: async (caller) => unusedModels(await adviceFacts(parts, caller)),
    advice: async (caller) => [...(await breaches.list()), ...adviceOf(await adviceFacts(parts, caller))],
  };
}

const sampleIntervalMs = 60_000;

interface SamplerParts {
  readonly store: Pick<MetricsStore, "noteMemory" | "noteLoaded">;
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
        .then((sample) => isStopped || parts.store.noteMemory(sample))
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

async function sampleOf({ store, inventory, probe }: SamplerParts): Promise<MemorySample> {
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
      store.noteLoaded(name);
    }
  }
  const { availableBytes, sampledAtMs } = await probe.sample();
  return { at: new Date(sampledAtMs).toISOString(), availableBytes, modelBytes, byType };
}
