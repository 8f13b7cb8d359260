import type { Events } from "./api/events.ts";
import type { CountedFigures, KeptRequests } from "./api/facade-metrics.ts";
import type { Decision } from "./api/facade-status.ts";
import type { Orchestrator } from "./api/facade.ts";
import type { Log } from "./api/log.ts";
import type { ProfileSettings } from "./api/types.ts";
import type { createComparisons } from "./compare/comparisons.ts";
import { findProfile } from "./config/profiles.ts";
import type { Settings } from "./config/schema.ts";
import type { RouteSource } from "./generation/route.ts";
import { busyProcessor, shortMemory } from "./memory/state.ts";
import type { Observations } from "./residency/observations.ts";
import { overridesOf } from "./routing/model-overrides.ts";
import { nothingLearned } from "./routing/quality-state.ts";
import type { DocumentFiles } from "./storage/document-files.ts";
import { type Timers, systemTimers } from "./util/timers.ts";
import { localChatModels } from "./views/listing.ts";
import { ramStatus } from "./views/system.ts";
import { watchChanges } from "./watch/changes.ts";
import { watchDecisions } from "./watch/decisions.ts";
import { watchLearning } from "./watch/learning.ts";
import { watchMetrics } from "./watch/metrics/store.ts";
import { watchRequests } from "./watch/requests.ts";
import { watchSummary } from "./watch/summary.ts";
import type { World } from "./world.ts";

interface Watcher {
  /** Files that were set aside or can't be written, and why. */
  problems?(): readonly string[];
  close?(): Promise<void> | void;
}

export type Watchers = ReturnType<typeof createWatchers>;

/**
 * Makes all watchers. Each is its file or folder under `watch/`, its import above and its line in `watching`, and nothing
 * else: `npm run check:without` deletes them one after the other.
 */
export function createWatchers(
  parts: Readonly<Parameters<typeof ramStatus>[0]> & {
    readonly world: Pick<World, "random">;
    readonly events: Events;
    readonly settings: () => Settings;
    readonly observations: Pick<Observations, "of">;
    readonly timers: Timers;
    readonly log: Log;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
    readonly stored: { readonly files?: DocumentFiles };
  },
) {
  const { world, now, log, timers, settings, probe, inventory, loaded, observations, events, stored } = parts;
  const given = {
    events,
    now,
    log,
    timers,
    ...stored,
    /** From 0 to 1. */
    random: world.random ?? Math.random,
    limitsOf: ({ kind, name }: { readonly kind: "profile" | "model"; readonly name: string }) =>
      kind === "profile"
        ? findProfile(name, settings().profiles as Readonly<Record<string, ProfileSettings>>)
        : overridesOf(settings().models, name),
    async pressure() {
      const sample = await probe.sample();
      return { swap: shortMemory(sample), cpu: busyProcessor(sample) };
    },
    async requestsSince(ms: number) {
      const query = { from: new Date(ms).toISOString(), limit: Number.POSITIVE_INFINITY };
      const { rows } = await (watching.requests as KeptRequests).list(query);
      return rows;
    },
    connections: () =>
      Object.fromEntries(
        inventory.engines.flatMap((engine) => {
          const used = engine.connections?.();
          return used === undefined
            ? []
            : [[engine.id, { control: used.control, generation: used.generation, most: used.most }]];
        }),
      ),
    listed: () => localChatModels(inventory, observations),
    isAnyStale: async () => (await inventory.recentLists()).some(({ staleSince }) => staleSince !== undefined),
    pollMemory: async () => (await ramStatus(parts)).availableBytes,
    pollModels: () => Promise.all([inventory.lists(0), ...inventory.engines.map((engine) => loaded.of(engine, 0))]),
  };
  const watching = {
    ...nothing(),
    changes: watchChanges({ ...given, timers: systemTimers }),
    decisions: watchDecisions(given),
    learning: watchLearning(given),
    metrics: watchMetrics(given),
    requests: watchRequests(given),
    summary: watchSummary(given),
  } satisfies Readonly<Record<string, object>>;
  const all = Object.values(watching) as readonly Watcher[];
  return {
    ...watching,
    problems: (): readonly string[] => all.flatMap((watcher) => watcher.problems?.() ?? []),
    async close(): Promise<void> {
      await Promise.all(all.map(async (watcher) => watcher.close?.()));
    },
  };
}

/** What is read of watchers, as it is without them. */
function nothing(): {
  readonly changes: { readonly subscribe: Orchestrator["onChange"]; readonly watch: Orchestrator["watch"] } & Watcher;
  readonly decisions: { list(): readonly Decision[] } & Watcher;
  readonly learning: RouteSource["learned"] & Parameters<typeof createComparisons>[0]["preferences"] & Watcher;
  readonly metrics: CountedFigures & Watcher;
  readonly requests: KeptRequests & Watcher;
} {
  const percentiles = { count: 0, p50: 0, p95: 0 };
  const total = {
    requests: 0,
    answered: 0,
    failed: 0,
    cancelled: 0,
    errors: {},
    fallbacks: 0,
    queueMs: percentiles,
    loadMs: percentiles,
    firstTokenMs: percentiles,
    totalMs: percentiles,
    failedMs: percentiles,
    comparedMs: percentiles,
    promptTokens: 0,
    cachedPromptTokens: 0,
    restoredPromptTokens: 0,
    completionTokens: 0,
    tokensPerSecond: 0,
  };
  return {
    changes: { subscribe: () => () => undefined, watch: () => () => undefined },
    decisions: { list: () => [] },
    learning: {
      known: async () => ({ learned: nothingLearned }),
      chance: () => undefined,
      explored: () => undefined,
      list: async () => [],
      add: () => Promise.resolve(),
      undo: async () => undefined,
      rate: (rating) => Promise.resolve(rating),
      observe: () => undefined,
      learned: async () => [],
      reset: () => Promise.resolve(),
    },
    metrics: {
      counters: () => ({ requests: [], durations: [] }),
      report: async () => ({
        since: new Date().toISOString(),
        total,
        by: { model: [], engine: [], profile: [], client: [], task: [], day: [] },
        connections: {},
        evictions: [],
        memory: [],
      }),
      models: async () => ({ byName: new Map() }),
      moneyCounts: async () => [],
      breaches: async () => [],
      remote: async () => ({ count: 0, sinceMs: Date.now() }),
    },
    requests: { list: async () => ({ rows: [], total: 0 }) },
  };
}
