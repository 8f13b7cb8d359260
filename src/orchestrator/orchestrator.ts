import { setMaxListeners } from "node:events";
import { join } from "node:path";
import { InvalidRequest } from "./api/errors.ts";
import type { Change, GenerateRequest, Orchestrator } from "./api/facade.ts";
import type { CallerContext } from "./api/types.ts";
import { createComparisons } from "./compare/comparisons.ts";
import { Preferences } from "./compare/preferences.ts";
import { createSettingsAccess } from "./config/change.ts";
import { callerSettings } from "./config/load.ts";
import type { Engine } from "./engines/engine.ts";
import { createConversations } from "./generation/conversations.ts";
import { createCopies } from "./generation/copies.ts";
import { checkKeepAlive, loadTarget, planGeneration } from "./generation/plan-generation.ts";
import { type GenerationWorld, runGeneration } from "./generation/runner.ts";
import { SpendingLedger } from "./generation/spending.ts";
import { createChanges } from "./jobs/changes.ts";
import { createJobs } from "./jobs/jobs.ts";
import { createOperations } from "./jobs/operations.ts";
import { createWatcher } from "./jobs/watcher.ts";
import { createKeptLearning } from "./memory/measure/kept-learning.ts";
import { withKeptLoadSeconds } from "./memory/measure/kept-load-seconds.ts";
import { type Observations, createObservations } from "./memory/measure/observations.ts";
import { createModelCreation } from "./models/create-model.ts";
import { EnginePolls } from "./models/engine-polls.ts";
import { createEngineSet, createExpectedEngines } from "./models/engine-set.ts";
import { Inventory } from "./models/inventory.ts";
import { createKnownFacts } from "./models/known-facts.ts";
import { createLibrary } from "./models/library.ts";
import { createSizeCompletion, describeModel, listModels } from "./models/listing.ts";
import { takesNoMemory } from "./models/located-model.ts";
import { createRemoteLock } from "./models/remote-lock.ts";
import { createSuggestions } from "./models/suggestions.ts";
import { createSummary } from "./models/summary.ts";
import { ramStatus, systemStatus } from "./models/system.ts";
import { CallerProjects } from "./projects/projects.ts";
import { createEmbedder } from "./recall/embedder.ts";
import { StoredMemories } from "./recall/memories.ts";
import { createPins } from "./residency/keep-alive.ts";
import { createMaintenance, createResidency } from "./residency/residency.ts";
import { Slots } from "./residency/slots.ts";
import { modelDatabase } from "./routing/database.ts";
import { profileNames, shownProfile } from "./routing/profiles.ts";
import { applyChanges } from "./settings-changes.ts";
import { CallerTemplates } from "./templates/templates.ts";
import { systemTimers } from "./util/timers.ts";
import { createUnderWay } from "./util/under-way.ts";
import type { World } from "./world.ts";

/** Bound for unloading on close, so that an engine can't delay the exit. */
const unloadOwnedMs = 1_000;
/** Polling interval for pinned models, which keep a daemon running. */
const pinnedPollMs = 60_000;

/**
 * Creates the orchestrator; all external dependencies are in `world`. Settings are read on each use, so that changes
 * apply at once. Parts are made in order, each of those before it.
 */
export function createOrchestrator(world: World): Orchestrator {
  const base = createBase(world);
  const models = createModels(base);
  const residency = createResidency({ ...base, ...models, operations: base.operations });
  const requests = createRequests(base, models, residency);
  return createFacade(base, models, residency, requests, createServices(base, models, residency, requests));
}

type Base = ReturnType<typeof createBase>;
type Models = ReturnType<typeof createModels>;
type Residency = ReturnType<typeof createResidency>;
type Requests = ReturnType<typeof createRequests>;
type Services = ReturnType<typeof createServices>;

/** Clocks, settings, engines, and the work that is tracked. */
function createBase(world: World) {
  const { now, log, probe, timers = systemTimers } = world;
  const settings = () => world.settings.current();
  const closing = new AbortController();
  const lock = createRemoteLock(() => settings().privacy);
  // Each listing of models adds a listener; many concurrent ones are not a leak.
  setMaxListeners(0, closing.signal);
  const changes = createChanges(systemTimers, log);
  const jobs = createJobs({
    now,
    log,
    get keepHours() {
      return settings().jobs.keepHours;
    },
    get maxBytes() {
      return settings().jobs.maxBytes;
    },
    publish: changes.publish,
    ...(world.jobFiles === undefined ? {} : { files: world.jobFiles }),
  });
  return {
    world,
    now,
    log,
    probe,
    timers,
    steady: () => world.steady?.() ?? now(),
    settings,
    lock,
    engines: createEngineSet(world.engines.map(lock.guarded), log),
    calls: createUnderWay(),
    closing,
    signal: closing.signal,
    changes,
    operations: createOperations(now),
    jobs,
    stored: world.documentFiles === undefined ? {} : { files: world.documentFiles },
  };
}

/** Which models there are, and what is known and was observed of them. */
function createModels(base: Base) {
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
    ...(world.ramBandwidth === undefined ? {} : { ramBandwidth: world.ramBandwidth }),
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
function createRequests(base: Base, { inventory, suggestions, observations, publish }: Models, residency: Residency) {
  const { world, now, log, steady, timers, settings, calls, operations, stored } = base;
  const remembered = world.memoryFiles === undefined ? stored : { files: world.memoryFiles };
  const spending = new SpendingLedger({ now, log, settings, ...remembered });
  const embedder = createEmbedder({ ...residency, inventory, spending, log });
  const embed: typeof embedder = (...asked) => calls.count(embedder(...asked));
  const memories = new StoredMemories({ now, log, publish, ...remembered, embed });
  const preferences = new Preferences({ log, timers, random: world.random ?? Math.random, ...stored });
  const remote = { requests: 0 };
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
    conversations: createConversations(() => settings().conversations, steady),
    inject: memories.inject.bind(memories),
    preferences,
    noteRemote: () => {
      remote.requests += 1;
    },
  };
  const names = (): readonly string[] => profileNames(settings().profiles);
  const projects = new CallerProjects({ now, log, publish, profiles: names, ...stored });
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
function createServices(base: Base, models: Models, residency: Residency, requests: Requests) {
  const { world, settings, log, probe, engines, lock, calls, closing, operations, jobs, stored } = base;
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
  const overview = {
    ...status,
    world,
    observations,
    queues,
    operations,
    jobs,
    spending,
    remoteRequests: () => remote.requests,
    problems: () => [memories, comparisons, preferences, projects, maintenance].flatMap((part) => part.problems()),
  };

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
    closing.abort("disconnected");
    jobs.suspend();
    await operations.close();
    await jobs.settled();
    templates.close();
    await Promise.all([memories, projects, comparisons, preferences, spending].map((part) => part.close()));
    if (unloadsOwned) await keepAlive.unloadOwned(AbortSignal.timeout(unloadOwnedMs));
    await maintenance.close();
    await Promise.all([models.kept?.close(), summary.close()]);
    await engines.close();
  }

  return { maintenance, library, listing, status, overview, watcher, close };
}

function createFacade(
  base: Base,
  models: Models,
  residency: Residency,
  requests: Requests,
  services: Services,
): Orchestrator {
  const { world, settings, lock, calls, closing, changes, operations, jobs } = base;
  const { inventory } = models;
  const { plans, keepAlive, loads, decisions } = residency;
  const { generation, memories, projects, templates, comparisons } = requests;
  const { maintenance, library, listing, status, overview, watcher } = services;
  const create = createModelCreation({ ...models, ...residency });
  /** Tracks a call, so that engines it may use are not closed during it, and applies its caller's privacy. */
  const counted =
    <Given extends readonly [CallerContext, ...unknown[]], Result>(work: (...given: Given) => Promise<Result>) =>
    (...given: Given): Promise<Result> =>
      calls.count(lock.serving(given[0], () => work(...given)));

  return {
    listModels: counted((caller, request) => listModels(listing, caller, request)),
    describeModel: counted((caller, name) => describeModel(listing, caller, name)),
    pullModel: counted((caller, request) => library.pull(caller, request)),
    planLoad: counted(async (caller, request) => {
      const { located, contextTokens } = await loadTarget(generation, caller, request);
      const plan = await plans.of(located, contextTokens, caller.signal);
      // Throws the error with which the load would fail.
      if (inventory.isUnresponsive(located.engine)) await located.engine.residency?.loaded(caller.signal);
      return plan;
    }),
    loadModel: counted(async (caller, request) => {
      checkKeepAlive(request);
      const { keepAliveSeconds: seconds } = request;
      const { located, elsewhere, contextTokens } = await loadTarget(generation, caller, request);
      return loads.start(
        located,
        { contextTokens, ...(seconds === undefined ? {} : { keepAliveSeconds: seconds }) },
        true,
        { caller: caller.id, isBackground: false },
        elsewhere,
      );
    }),
    planGeneration: counted(async (caller, request) => {
      checkPrompt(request);
      return planGeneration(generation, caller, request);
    }),
    async generate(caller, request) {
      checkPrompt(request);
      const title = request.model === undefined ? "generate" : `generate with ${request.model}`;
      return lock.serving(caller, () =>
        operations.start({ kind: "generate", title }, (context) => runGeneration(generation, caller, request, context)),
      );
    },
    unloadModels: counted((caller, name, report = () => undefined) => library.unload(caller, name, report)),
    createModel: counted(create),
    deleteModel: counted((caller, name) => library.remove(caller, name)),
    setPinned: counted(async (caller, name, isPinned) => {
      const held = (await inventory.locate(name)).filter((located) => !takesNoMemory(located));
      const [first] = held;
      if (first === undefined) {
        throw new InvalidRequest(`${name} does not use this machine's memory, so it can't be pinned or unpinned`, {
          next: { step: "chooseModel", that: "on this machine" },
        });
      }
      for (const located of held) await keepAlive.setPinned(located, isPinned, caller.signal);
      return first.model.name;
    }),
    memories,
    templates,
    projects,
    profiles: {
      list: (caller) => profileNames(caller.settings.profiles).map((name) => shownProfile(name, caller)),
      get: (caller, name) => shownProfile(name, caller),
    },
    comparisons: {
      ...comparisons,
      compare: (caller, request) => lock.serving(caller, () => comparisons.compare(caller, request)),
    },
    settings: createSettingsAccess({ home: world.home, live: world.settings }),
    database: () => modelDatabase,
    ramStatus: () => calls.count(ramStatus(status)),
    systemStatus: counted((caller) => systemStatus(overview, caller)),
    problems: maintenance.problems,
    decisions: () => decisions.list(),
    jobs,
    async resume({ isSafeStart = false, ...answers }) {
      void maintenance.start(isSafeStart);
      await jobs.restore(library.resume, answers);
    },
    onChange: changes.subscribe,
    watch: watcher.watch,
    activity() {
      const pinned = keepAlive.pinnedCount();
      // Detects engines that were restarted and lost their models.
      if (pinned > 0) for (const engine of inventory.engines) void inventory.resident(engine, pinnedPollMs);
      return { operations: operations.running(), pinned };
    },
    get fileLimits() {
      const { maxFileBytes, maxTotalBytes } = settings().files;
      return { maxFileBytes, maxTotalBytes };
    },
    async wokeUp() {
      inventory.forgetAll();
      await Promise.all(inventory.engines.map((engine) => engine.health(closing.signal)));
      await maintenance.wokeUp();
    },
    close: services.close,
  };
}

function checkPrompt(request: GenerateRequest): void {
  if (request.prompt.trim() !== "" || (request.files?.length ?? 0) > 0) return;
  throw new InvalidRequest("prompt is empty", { next: { step: "setArgument", argument: "prompt" } });
}
