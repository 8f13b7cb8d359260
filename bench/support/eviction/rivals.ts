import { chooseEviction } from "../../../src/orchestrator/memory/eviction.ts";
import { gib, type Machine, modelAt } from "./machine.ts";

/** A policy with the memory it manages, empty at first. */
export interface Replayed {
  /** Serves a request for the model of that number; reload seconds that it cost. */
  serve(model: number): number;
}

export type CreatePolicy = (machine: Machine) => Replayed;

/** Evicts by a rule of its own: the order in which models go, one at a time, until it is enough. */
function oneByOne(
  { models, capacityBytes }: Machine,
  rule: {
    /** Called for every request. */
    readonly used: (model: number, isHit: boolean) => void;
    /** Least goes first. */
    readonly worth: (model: number) => number;
    readonly evicted?: (model: number) => void;
  },
): Replayed {
  const resident = new Set<number>();
  return {
    serve(model) {
      const isHit = resident.has(model);
      rule.used(model, isHit);
      if (isHit) return 0;
      const { bytes, loadSeconds } = modelAt(models, model);
      let missing = bytes - capacityBytes;
      for (const other of resident) missing += modelAt(models, other).bytes;
      for (const victim of [...resident].toSorted((a, b) => rule.worth(a) - rule.worth(b))) {
        if (missing <= 0) break;
        resident.delete(victim);
        rule.evicted?.(victim);
        missing -= modelAt(models, victim).bytes;
      }
      resident.add(model);
      return loadSeconds;
    },
  };
}

/** Uses after which a request counts half, for the rates of `ewma_knapsack`. */
const rateHalfLife = 120;

/** What ours is held against. */
export const rivals = {
  lru(machine) {
    const last: number[] = [];
    let requests = 0;
    return oneByOne(machine, { used: (model) => (last[model] = requests += 1), worth: (model) => last[model] ?? 0 });
  },

  /** GreedyDual-Size-Frequency (Cherkasova 1998), frequency counted while resident. */
  gdsf(machine) {
    const frequency: number[] = [];
    const credit: number[] = [];
    let inflation = 0;
    return oneByOne(machine, {
      used(model, isHit) {
        const { bytes, loadSeconds } = modelAt(machine.models, model);
        const count = isHit ? (frequency[model] ?? 0) + 1 : 1;
        frequency[model] = count;
        credit[model] = inflation + (count * loadSeconds) / (bytes / gib);
      },
      worth: (model) => credit[model] ?? 0,
      evicted: (model) => (inflation = credit[model] ?? 0),
    });
  },

  /** The set with the least smoothed request rate × load seconds goes. */
  ewma_knapsack({ models, capacityBytes }) {
    const decay = 0.5 ** (1 / rateHalfLife);
    const rates = models.map(() => 0);
    const resident = new Set<number>();
    return {
      serve(model) {
        for (const [index, rate] of rates.entries()) rates[index] = rate * decay + (index === model ? 1 - decay : 0);
        if (resident.has(model)) return 0;
        const { bytes, loadSeconds } = modelAt(models, model);
        const sum = [...resident].reduce((total, index) => total + modelAt(models, index).bytes, 0);
        const victims = chooseEviction({
          bytesToFree: sum + bytes - capacityBytes,
          candidates: [...resident].map((index) => ({
            key: String(index),
            releasedBytes: modelAt(models, index).bytes,
            reloadSeconds: (rates[index] ?? 0) * modelAt(models, index).loadSeconds * 1_000,
            sizeBytes: modelAt(models, index).bytes,
            lastUsedMs: 0,
            isForeign: false,
          })),
          smallModelBytes: 0,
        });
        for (const key of victims ?? []) resident.delete(Number(key));
        resident.add(model);
        return loadSeconds;
      },
    };
  },

  /** Shortest keep-alive first, then the path of the weights (server/sched.go): with one keep-alive, a fixed order. */
  ollama: (machine) => oneByOne(machine, { used: () => undefined, worth: (model) => model }),

  unload_all({ models, capacityBytes }) {
    const resident = new Set<number>();
    return {
      serve(model) {
        if (resident.has(model)) return 0;
        const { bytes, loadSeconds } = modelAt(models, model);
        const sum = [...resident].reduce((total, index) => total + modelAt(models, index).bytes, 0);
        if (sum + bytes > capacityBytes) resident.clear();
        resident.add(model);
        return loadSeconds;
      },
    };
  },
} as const satisfies Record<string, CreatePolicy>;

export function replay(policy: Replayed, requests: readonly number[]): number {
  return requests.reduce((seconds, model) => seconds + policy.serve(model), 0);
}
