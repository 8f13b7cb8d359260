import { setMaxListeners } from "node:events";
import { join } from "node:path";
import type { Change } from "./api/facade.ts";
import { createComparisons } from "./compare/comparisons.ts";
import { Preferences } from "./watch/learning/preferences.ts";
import { callerSettings } from "./config/load.ts";
import type { Engine } from "./engines/engine.ts";
import { createConversations } from "./generation/conversations.ts";
import { createCopies } from "./generation/copies.ts";
import { loadTarget } from "./generation/budget.ts";
import type { Judging } from "./generation/ports.ts";
import type { GenerationWorld } from "./generation/runner.ts";
import { SpendingLedger } from "./money/spending.ts";
import { createChanges } from "./jobs/changes.ts";
import { createJobs } from "./jobs/jobs.ts";
import { createOperations } from "./jobs/operations.ts";
import { createWatcher } from "./jobs/watcher.ts";
import { createKeptLearning } from "./residency/kept-learning.ts";
import { withKeptLoadSeconds, type Observations, createObservations } from "./residency/observations.ts";
import { Breaches } from "./watch/metrics/breaches.ts";
import { createMetrics, sampleMemory } from "./views/metrics.ts";
import { MetricsStore } from "./watch/metrics/store.ts";
import { EnginePolls } from "./catalog/engine-polls.ts";
import { createEngineSet, createExpectedEngines } from "./catalog/engine-set.ts";
import { Inventory } from "./catalog/inventory.ts";
import { createKnownFacts } from "./catalog/known-facts.ts";
import { Live } from "./views/live.ts";
import { createLibrary } from "./views/library.ts";
import { createSizeCompletion } from "./views/listing.ts";
import { createRemoteLock } from "./catalog/remote-lock.ts";
import { createSuggestions } from "./views/suggestions.ts";
import { createSummary } from "./views/summary.ts";
import { ramStatus } from "./views/system.ts";
import { CallerProjects } from "./projects/projects.ts";
import { createEmbedder } from "./generation/embedder.ts";
import { StoredMemories } from "./recall/memories.ts";
import { type KeepAlive, createPins } from "./residency/keep-alive.ts";
import { createMaintenance, type createResidency } from "./residency/residency.ts";
import { Slots } from "./residency/slots.ts";
import { profileNames } from "./config/profiles.ts";
import { CallerTemplates } from "./templates/templates.ts";
import { systemTimers } from "./util/timers.ts";
import { createUnderWay } from "./util/joined-work.ts";
import type { World } from "./world.ts";
import { defined } from "./util/defined.ts";

/** All kept results of jobs together; the oldest are deleted first. */
const maxResultBytes = 256 * 1024 ** 2;

/** Bound for unloading on close, so that an engine can't delay the exit. */
const unloadOwnedMs = 1_000;

export type Base = ReturnType<typeof createBase>;
export type Models = ReturnType<typeof createModels>;
export type Residency = ReturnType<typeof createResidency>;
export type Requests = ReturnType<typeof createRequests>;
export type Services = ReturnType<typeof createServices>;

/** Clocks, settings, engines, and the work that is tracked. */
export function createBase(world: World) {
  const { now, steady = now, log, probe, timers = systemTimers } = world;
  const settings = world.settings.current;
  const closing = new AbortController();
  const lock = createRemoteLock(() => settings().privacy);
  // Each listing of models adds a listener; many concurrent ones are not a leak.
  setMaxListeners(0, closing.signal);
  const changes = createChanges(systemTimers, log);
  const operations = createOperations(now);
  const jobs = createJobs({
    operations,
    now,
    log,
    get keepHours() {
      return settings().jobs.keepHours;
    },
    maxBytes: maxResultBytes,
    publish: changes.publish,
    ...defined({ files: world.jobFiles }),
  });
  const engines = createEngineSet(world.engines.map(lock.guarded), log);
  const stored = world.documentFiles === undefined ? {} : { files: world.documentFiles };
  const { publish } = changes;
  const breaches = new Breaches({ now, timers, log, settings, probe, publish });
  return {
    world,
    now,
    log,
    probe,
    timers,
    steady,
    settings,
    lock,
    engines,
    calls: createUnderWay(),
    closing,
    signal: closing.signal,
    changes,
    operations,
    jobs,
    breaches,
    metrics: new MetricsStore({ now, log, timers, publish, engines: engines.current, breaches, ...stored }),
    stored,
  };
}

/** Which models there are, and what is known and was observed of them. */
export function createModels(base: Base) {
  const { world, now, log, probe, timers, steady, settings, engines, lock, signal, changes, stored } = base;
  const kept = stored.files && createKeptLearning({ files: stored.files, log });
  const measured = createObservations(now);
  const pins = createPins(settings);
  const slots = new Slots({ now, steady, observations: measured, isPinned: pins.isPinned });
  const facts = createKnownFacts(slots, now);
  const polls = new EnginePolls({
    engines: engines.current,
    now,
    log,
    signal,
    completed: createSizeCompletion(facts, signal),
    observed: (engine, residents) => slots.observe(engine, residents),
    expected: createExpectedEngines({ kept, now }),
    lock,
    changes,
  });
  const known = kept === undefined ? measured : withKeptLoadSeconds(measured, { kept, polls });
  const suggestions = createSuggestions({
    polls,
    observations: known,
    probe,
    get memory() {
      return settings().memory;
    },
    ...defined({ ramBandwidth: world.ramBandwidth }),
  });
  const inventory = new Inventory({ polls, facts, suggestions, signal });
  const summary = createSummary({ inventory, observations: known, timers, log, ...stored });
  polls.onListed(summary.touch);
  const observations: Observations = {
    ...known,
    generated(...given) {
      known.generated(...given);
      summary.touch();
    },
  };
  const publish = (change: Change): void => {
    changes.publish(change);
    if (change.kind === "models") summary.touch();
  };
  return { kept, pins, slots, inventory, suggestions, summary, observations, publish, leaving: engines.leaving };
}

/** What answers requests, and what users keep for them. */
export function createRequests(
  base: Base,
  { inventory, suggestions, observations, publish }: Models,
  residency: Residency,
) {
  const { world, now, log, steady, timers, settings, calls, operations, metrics, stored } = base;
  const remembered = world.memoryFiles === undefined ? stored : { files: world.memoryFiles };
  const spending = new SpendingLedger({ now, log, settings, ...remembered });
  const embedder = createEmbedder({ ...residency, inventory, spending, log });
  const embed: typeof embedder = (...asked) => calls.count(embedder(...asked));
  const memories = new StoredMemories({ now, log, publish, ...remembered, embed });
  const preferences = new Preferences({ log, timers, random: world.random ?? Math.random, ...stored });
  const remote = { requests: 0 };
  let judging: Promise<Judging> | undefined;
  const generation: GenerationWorld = {
    ...residency,
    spending,
    inventory,
    observations,
    get memory() {
      return settings().memory;
    },
    now,
    steady,
    log,
    suggestions,
    copies: createCopies(() => settings().models),
    conversations: createConversations(() => settings().conversations.keepHours, steady, timers),
    inject: memories.inject.bind(memories),
    preferences,
    async judge(...asked) {
      judging ??= import("./checks/checks.ts").then((loaded) => loaded.createJudging(world.checkWorker, base.signal));
      return (await judging)(...asked);
    },
    reader: () => import("./reading/reader.ts").then((loaded) => loaded.reader),
    metrics,
    noteRemote: () => {
      remote.requests += 1;
    },
  };
  const names = (): readonly string[] => profileNames(settings().profiles);
  const projects = new CallerProjects({
    now,
    log,
    publish,
    profiles: names,
    ...defined({ tools: world.tools }),
    ...stored,
  });
  const folder = world.templatesFolder ?? join(world.home, "templates");
  const writeForUser: typeof projects.writeForUser = (project, write) => projects.writeForUser(project, write);
  return {
    generation,
    remote,
    spending,
    memories,
    preferences,
    projects,
    templates: new CallerTemplates({ folder, log, publish, writeForUser }),
    comparisons: createComparisons({ world: generation, operations, preferences, ...stored }),
  };
}

/** What runs beside requests, and what reports. */
export function createServices(base: Base, models: Models, residency: Residency, requests: Requests) {
  const { world, settings, log, probe, timers, engines, lock, calls, closing, operations, jobs, stored } = base;
  const { inventory, slots, pins, observations, publish, summary } = models;
  const { keepAlive, queues } = residency;
  const { generation, remote, spending, memories, preferences, projects, templates, comparisons } = requests;
  const maintenance = createMaintenance({
    ...base,
    ...models,
    ...residency,
    ...stored,
    async contextTokensOf(model, signal) {
      const own = { id: "daemon", client: "ollm", roots: [], settings: callerSettings(settings()), signal };
      return (await loadTarget(generation, own, { model })).contextTokens;
    },
  });
  const library = createLibrary({
    ...base,
    ...models,
    ...residency,
    recordPull: (operation, client, request) =>
      jobs.recordPull(operation, client, request, operations.ended(operation.id)),
  });
  const status = { inventory, probe, slots, pins };
  const listing = { ...models, ...residency, library, log };
  const watcher = createWatcher({
    timers: systemTimers,
    log,
    pollMemory: () => ramStatus(status),
    pollModels: () =>
      Promise.all([inventory.lists(0), ...inventory.engines.map((engine) => inventory.resident(engine, 0))]),
    publish,
  });
  const metrics = createMetrics({ ...base, ...models, ...residency, library, store: base.metrics });
  const overview = {
    ...status,
    metrics,
    world,
    observations,
    queues,
    operations,
    jobs,
    spending,
    breaches: base.breaches,
    remoteRequests: () => remote.requests,
    problems: () =>
      [memories, comparisons, preferences, projects, maintenance, base.metrics].flatMap((part) => part.problems()),
  };
  const stopSampling = sampleMemory({ store: base.metrics, inventory, probe, timers, log });
  const live = new Live({ ...overview, plans: residency.plans, metrics, now: base.now });

  /** Waits until the users of a replaced engine are done: current calls, and the operations they may have started. */
  async function drainEngine(engine: Engine): Promise<void> {
    await calls.settled();
    await Promise.all(operations.running().map(({ id }) => operations.ended(id)));
    await keepAlive.unloadOwned(AbortSignal.timeout(unloadOwnedMs), [engine]);
    slots.drop(engine);
  }

  const stopApplyingChanges = applyChanges({
    world,
    replaceEngines: (next) => engines.replace(next.map(lock.guarded), drainEngine),
    inventory,
    observations,
    keepAlive,
    publish,
    signal: closing.signal,
  });

  async function close({ unloadsOwned = false } = {}): Promise<void> {
    stopApplyingChanges();
    watcher.close();
    stopSampling();
    closing.abort("disconnected");
    jobs.suspend();
    await operations.close();
    await jobs.settled();
    templates.close();
    await Promise.all([memories, projects, comparisons, preferences, spending].map((part) => part.close()));
    if (unloadsOwned) await keepAlive.unloadOwned(AbortSignal.timeout(unloadOwnedMs));
    await maintenance.close();
    // After the last unload.
    await base.metrics.close();
    base.breaches.close();
    await Promise.all([models.kept?.close(), summary.close()]);
    await engines.close();
  }

  return { maintenance, library, listing, status, overview, metrics, live, watcher, close };
}

/**
 * Applies changed settings: replaces engines whose settings changed, updates the keep-alives of loaded models, and
 * publishes changes. Returns a function that ends this.
 */
function applyChanges(parts: {
  readonly world: Pick<World, "settings" | "remakeEngines" | "log">;
  /** Returns the engines that were replaced. */
  readonly replaceEngines: (next: readonly Engine[]) => readonly Engine[];
  readonly inventory: Inventory;
  readonly observations: Observations;
  readonly keepAlive: Pick<KeepAlive, "refresh">;
  readonly publish: (change: Change) => void;
  readonly signal: AbortSignal;
}): () => void {
  const { world, inventory, observations, keepAlive, publish } = parts;
  let before = world.settings.current();

  return world.settings.onChange((settings) => {
    const hasOtherTools = JSON.stringify(before.tools) !== JSON.stringify(settings.tools);
    before = settings;
    if (hasOtherTools) publish({ kind: "tools", isListChanged: true });
    const replaced = world.remakeEngines === undefined ? [] : parts.replaceEngines(world.remakeEngines(settings));
    for (const { id } of replaced) {
      world.log.info(`settings: ${id} was replaced; running requests finish on the previous one`);
      observations.forgetEngine(id);
    }
    inventory.forgetAll();
    publish({ kind: "memory" });
    // Which models fit may have changed, even with the same engines.
    publish({ kind: "models", isListChanged: replaced.length > 0 });
    void keepAlive.refresh(parts.signal);
  });
}
