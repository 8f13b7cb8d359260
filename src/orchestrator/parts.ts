import { setMaxListeners } from "node:events";
import { join } from "node:path";
import { type Emit, createEvents } from "./api/events.ts";
import type { Rating } from "./api/facade-compare.ts";
import { KeptBatches } from "./compare/batches.ts";
import { createComparisons } from "./compare/comparisons.ts";
import type { Workers } from "./api/facade-batches.ts";
import { callerSettings } from "./config/load.ts";
import type { Engine } from "./engines/engine.ts";
import { createChatHomes } from "./generation/chat-prefix.ts";
import { createConversations } from "./generation/conversations.ts";
import { createCopies } from "./generation/copies.ts";
import { loadTarget } from "./generation/budget.ts";
import type { Judging } from "./generation/ports.ts";
import type { GenerationWorld } from "./generation/runner.ts";
import { SpendingLedger } from "./money/spending.ts";
import { KeptJobs } from "./jobs/jobs.ts";
import { createOperations } from "./jobs/operations.ts";
import { createKeptLearning } from "./residency/kept-learning.ts";
import { type Observations, createObservations } from "./residency/observations.ts";
import { createMetrics, sampleMemory } from "./views/metrics.ts";
import { createEngineSet, createExpectedEngines, createRemoteLock } from "./catalog/engine-set.ts";
import { Inventory } from "./catalog/inventory.ts";
import { createKnownFacts } from "./catalog/known-facts.ts";
import { Live } from "./views/live.ts";
import { overridesOf } from "./routing/model-overrides.ts";
import { createLibrary } from "./views/library.ts";
import { LoadedModels, createSizeCompletion } from "./residency/loaded.ts";
import { createSuggestions } from "./views/suggestions.ts";
import { CallerProjects } from "./projects/projects.ts";
import { createEmbedder } from "./generation/embedder.ts";
import { findSecret } from "./recall/entry.ts";
import { StoredMemories } from "./recall/memories.ts";
import { type KeepAlive, createPins } from "./residency/keep-alive.ts";
import { createMaintenance, type createResidency } from "./residency/residency.ts";
import { Slots } from "./residency/slots.ts";
import { profileNames } from "./config/profiles.ts";
import { CallerTemplates } from "./templates/templates.ts";
import { openedOnce } from "./storage/document.ts";
import { defined, messageOf } from "./util/values.ts";
import { systemTimers } from "./util/timers.ts";
import { createUnderWay } from "./util/joined-work.ts";
import type { Watchers } from "./watchers.ts";
import type { World } from "./world.ts";

/** All kept results of jobs together; the oldest are deleted first. */
const maxResultBytes = 256 * 1024 ** 2;

/** Bound for unloading on close, so that an engine can't delay the exit. */
const unloadOwnedMs = 1_000;

export type Base = ReturnType<typeof createBase>;
export type Models = ReturnType<typeof createModels>;
export type Residency = ReturnType<typeof createResidency>;
export type Requests = ReturnType<typeof createRequests>;

/** Clocks, settings, engines, and the work that is tracked. */
export function createBase(world: World) {
  const { now, steady = now, log, probe, timers = systemTimers } = world;
  const settings = world.settings.current;
  const closing = new AbortController();
  const lock = createRemoteLock(() => settings().privacy);
  // Each listing of models adds a listener; many concurrent ones are not a leak.
  setMaxListeners(0, closing.signal);
  const events = world.events ?? createEvents(log);
  const operations = createOperations(now, events.emit);
  const jobs = new KeptJobs({
    operations,
    now,
    log,
    get keepHours() {
      return settings().jobs.keepHours;
    },
    maxBytes: maxResultBytes,
    emit: events.emit,
    ...defined({ files: world.jobFiles }),
  });
  const engines = createEngineSet(world.engines.map(lock.guarded), log);
  const stored = world.documentFiles === undefined ? {} : { files: world.documentFiles };
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
    events,
    emit: events.emit,
    operations,
    jobs,
    stored,
  };
}

/** Which models there are, and what is known and was observed of them. */
export function createModels(base: Base) {
  const { world, now, log, probe, steady, settings, engines, lock, signal, events, stored } = base;
  const kept = stored.files && createKeptLearning({ files: stored.files, log });
  const observations = createObservations(
    now,
    kept && { kept, engines: engines.current, lastList: (engine) => inventory.lastList(engine) },
  );
  const pins = createPins(settings);
  const slots = new Slots({ now, steady, observations, isPinned: pins.isPinned });
  const facts = createKnownFacts(slots, now);
  const inventory = new Inventory({
    engines: engines.current,
    now,
    log,
    signal,
    completed: createSizeCompletion(facts, signal),
    observed: slots.observe.bind(slots),
    overrides: (name) => overridesOf(settings().models, name),
    expected: createExpectedEngines({ kept, now }),
    lock,
    events,
    facts,
    suggestions: { download: (name) => suggestions.download(name) },
  });
  const suggestions = createSuggestions({
    inventory,
    log,
    observations,
    probe,
    get memory() {
      return settings().memory;
    },
    ...defined({ ramBandwidth: world.ramBandwidth }),
  });
  const loaded = new LoadedModels({ inventory, slots });
  return { kept, pins, slots, inventory, loaded, suggestions, observations, leaving: engines.leaving };
}

/** What answers requests, and what users keep for them. */
export function createRequests(
  base: Base,
  { inventory, loaded, suggestions, observations }: Models,
  residency: Residency,
  { learning }: Watchers,
) {
  const { world, now, log, steady, timers, settings, calls, operations, emit, stored } = base;
  const remembered = world.memoryFiles === undefined ? stored : { files: world.memoryFiles };
  const spending = new SpendingLedger({ now, log, settings, ...remembered });
  const embedder = createEmbedder({ ...residency, inventory, loaded, spending, log });
  const embed: typeof embedder = (...asked) => calls.count(embedder(...asked));
  const memories = new StoredMemories({ now, log, emit, ...remembered, embed });
  const training = lazyTraining(base);
  let judging: Judging | undefined;
  let workers: Workers | undefined;
  const chats = createChatHomes();
  const generation: GenerationWorld = {
    ...residency,
    spending,
    inventory,
    loaded,
    observations,
    get memory() {
      return settings().memory;
    },
    ...defined({ ramBytesPerSecond: world.ramBandwidth }),
    now,
    steady,
    log,
    suggestions,
    copies: createCopies(() => settings().models, chats),
    conversations: createConversations(() => settings().conversations.keepHours, steady, timers),
    chats,
    inject: memories.inject.bind(memories),
    learned: learning,
    async judge(...asked) {
      // Not the promise: an import that failed is tried again.
      const { createJudging } = await import("./checks/checks.ts");
      judging ??= createJudging(world.checkWorker, settings, base.signal);
      return judging(...asked);
    },
    reader: () => import("./reading/reader.ts").then(({ reader }) => reader),
    async similarities(query, texts, signal) {
      const { similaritiesTo } = await import("./recall/meaning.ts");
      return similaritiesTo(query, texts, { embed, signal });
    },
    emit,
  };
  training.applyTo(generation);
  const names = (): readonly string[] => profileNames(settings().profiles);
  const projects = new CallerProjects({
    now,
    log,
    emit,
    profiles: names,
    ...defined({ tools: world.tools }),
    ...stored,
  });
  const folder = world.templatesFolder ?? join(world.home, "templates");
  const writeForUser: typeof projects.writeForUser = (project, write) => projects.writeForUser(project, write);
  return {
    generation,
    spending,
    memories,
    projects,
    templates: new CallerTemplates({ folder, log, emit, writeForUser }),
    comparisons: createComparisons({ world: generation, operations, preferences: learning, emit, training, ...stored }),
    training,
    async workers() {
      const { createWorkers } = await import("./compare/workers.ts");
      return (workers ??= createWorkers({ ...base, world: generation, checkWorker: world.checkWorker }));
    },
    batches: new KeptBatches({
      world: generation,
      operations,
      serving: base.lock.serving,
      privacy: () => settings().privacy,
      onBattery: world.probe.onBattery,
      files: world.jobFiles?.disk,
    }),
  };
}

/** Loaded with the first answer that is recorded, or its first reader. */
function lazyTraining({ world, now, log, settings, stored }: Base) {
  const tasks = () => settings().training.tasks;
  const opened = openedOnce(async () => {
    const { createTraining } = await import("./compare/training.ts");
    return createTraining({ log, now, tasks, findSecret, ...stored });
  });
  const record: GenerationWorld["record"] = (...answered) =>
    void opened.get().then(
      (training) => training.record(...answered),
      (error: unknown) => log.warn(`training: ${messageOf(error)}`),
    );
  return {
    ...opened,
    async rated(rating: Rating): Promise<Rating> {
      if (tasks().length > 0) await (await opened.get()).rate(rating);
      return rating;
    },
    /** Without a task to record, a prompt's way has no call for it. */
    applyTo(generation: { record?: GenerationWorld["record"] }): void {
      const apply = () => void (tasks().length > 0 ? (generation.record = record) : delete generation.record);
      apply();
      world.settings.onChange(apply);
    },
  };
}

/** What runs beside requests, and what reports. */
export function createServices(
  base: Base,
  models: Models,
  residency: Residency,
  requests: Requests,
  watchers: Watchers,
) {
  const { world, settings, log, probe, timers, engines, lock, calls, closing, operations, jobs, stored } = base;
  const { inventory, loaded, slots, pins, observations } = models;
  const { keepAlive, queues } = residency;
  const { generation, spending, memories, projects, templates, comparisons, training } = requests;
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
  const status = { inventory, loaded, probe, slots, pins };
  const listing = { ...models, ...residency, library, counted: watchers.metrics, log };
  const stores = { store: watchers.metrics, requests: watchers.requests };
  const metrics = createMetrics({ ...base, ...models, ...residency, library, ...stores });
  const overview = {
    ...status,
    metrics,
    world,
    observations,
    queues,
    operations,
    jobs,
    spending,
    counted: watchers.metrics,
    library,
    log,
    now: base.now,
    ...stored,
    problems: () =>
      [memories, comparisons, projects, maintenance, watchers, training].flatMap((part) => part.problems()),
  };
  const stopSampling = sampleMemory({ emit: base.emit, inventory, loaded, probe, timers, log });
  const live = new Live({
    ...overview,
    plans: residency.plans,
    health: residency.health,
    metrics,
    events: base.events,
  });

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
    slots,
    observations,
    keepAlive,
    emit: base.emit,
    signal: closing.signal,
  });

  async function close({ unloadsOwned = false } = {}): Promise<void> {
    stopApplyingChanges();
    watchers.changes.close?.();
    stopSampling();
    closing.abort("disconnected");
    jobs.suspend();
    await operations.close();
    await jobs.settled();
    templates.close();
    await Promise.all([memories, projects, comparisons, spending, training].map((part) => part.close()));
    if (unloadsOwned) await keepAlive.unloadOwned(AbortSignal.timeout(unloadOwnedMs));
    await maintenance.close();
    // After the last unload.
    base.events.flush();
    await Promise.all([models.kept?.close(), watchers.close(), live.close()]);
    await engines.close();
  }

  return { maintenance, library, listing, status, overview, metrics, live, close };
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
  readonly slots: Slots;
  readonly observations: Observations;
  readonly keepAlive: Pick<KeepAlive, "refresh">;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}): () => void {
  const { world, inventory, slots, observations, keepAlive, emit } = parts;
  let before = world.settings.current();

  return world.settings.onChange((settings) => {
    const hasOtherTools = JSON.stringify(before.tools) !== JSON.stringify(settings.tools);
    before = settings;
    if (hasOtherTools) emit({ kind: "settings changed" });
    const replaced = world.remakeEngines === undefined ? [] : parts.replaceEngines(world.remakeEngines(settings));
    for (const { id } of replaced) {
      world.log.info(`settings: ${id} was replaced; running requests finish on the previous one`);
      observations.forgetEngine(id);
    }
    inventory.forgetAll();
    // A plan that was made ahead no longer holds.
    slots.changes += 1;
    emit({ kind: "memory changed" });
    // Which models fit may have changed, even with the same engines.
    emit({ kind: "models changed", isListChanged: replaced.length > 0 });
    void keepAlive.refresh(parts.signal);
  });
}
