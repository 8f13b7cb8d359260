import { setMaxListeners } from "node:events";
import { join } from "node:path";
import { InvalidRequest } from "./api/errors.ts";
import type { Change, GenerateRequest, Orchestrator } from "./api/facade.ts";
import type { CallerContext } from "./api/types.ts";
import { modelDatabase } from "./catalog/database.ts";
import { profiles } from "./catalog/names.ts";
import { createComparisons } from "./compare/comparisons.ts";
import { createSettingsAccess } from "./config/change.ts";
import { callerSettings } from "./config/load.ts";
import type { Engine } from "./engines/engine.ts";
import { createConversations } from "./generation/conversations.ts";
import { createCopies } from "./generation/copies.ts";
import { loadTarget, planGeneration } from "./generation/plan-generation.ts";
import { type GenerationWorld, runGeneration } from "./generation/runner.ts";
import { createChanges } from "./jobs/changes.ts";
import { createJobs } from "./jobs/jobs.ts";
import { createOperations } from "./jobs/operations.ts";
import { createWatcher } from "./jobs/watcher.ts";
import { createKeptLearning } from "./memory/measure/kept-learning.ts";
import { withKeptLoadSeconds } from "./memory/measure/kept-load-seconds.ts";
import { type Observations, createObservations } from "./memory/measure/observations.ts";
import { createSizeCompletion } from "./models/completed-sizes.ts";
import { createModelCreation } from "./models/create-model.ts";
import { EnginePolls } from "./models/engine-polls.ts";
import { createEngineSet, createExpectedEngines } from "./models/engine-set.ts";
import { Inventory } from "./models/inventory.ts";
import { createKnownFacts } from "./models/known-facts.ts";
import { createLibrary } from "./models/library.ts";
import { type ListingSource, describeModel, listModels } from "./models/listing.ts";
import { takesNoMemory } from "./models/located-model.ts";
import { createRunners } from "./models/runners.ts";
import { createSuggestions } from "./models/suggestions.ts";
import { createSummary } from "./models/summary.ts";
import { ramStatus, systemStatus } from "./models/system.ts";
import { createProjects } from "./projects/projects.ts";
import { createEmbedder } from "./recall/embedder.ts";
import { createMemories } from "./recall/memories.ts";
import { createDecisions } from "./residency/decisions.ts";
import { lastUseMs } from "./residency/last-use.ts";
import { createLifecycle } from "./residency/lifecycle.ts";
import { createLoader } from "./residency/loader.ts";
import { createPins } from "./residency/pins.ts";
import { createRequestQueues } from "./residency/request-queues.ts";
import { applyChanges } from "./settings-changes.ts";
import { createTemplates } from "./templates/templates.ts";
import { systemTimers } from "./util/timers.ts";
import { createUnderWay } from "./util/under-way.ts";
import type { World } from "./world.ts";

/** Bound for unloading on close, so that an engine can't delay the exit. */
const unloadOwnedMs = 1_000;
/** Polling interval for pinned models, which keep a daemon running. */
const pinnedPollMs = 60_000;

/**
 * Creates the orchestrator; all external dependencies are in `world`. Settings are read on each use, so that changes
 * apply at once.
 */
export function createOrchestrator(world: World): Orchestrator {
  const { now, log, probe, timers = systemTimers } = world;
  const steady = () => world.steady?.() ?? now();
  const settings = () => world.settings.current();
  const engines = createEngineSet(world.engines, log);
  const calls = createUnderWay();
  const closing = new AbortController();
  // Each listing of models adds a listener; many concurrent ones are not a leak.
  setMaxListeners(0, closing.signal);
  const changes = createChanges(systemTimers, log);
  const operations = createOperations(now);
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
  const kept = world.documentFiles === undefined ? {} : { files: world.documentFiles };
  const learning = kept.files && createKeptLearning({ files: kept.files, log });
  const runners = createRunners();
  const facts = createKnownFacts(runners, now);
  const polls = new EnginePolls({
    engines: engines.current,
    now,
    log,
    signal: closing.signal,
    completed: createSizeCompletion(facts, closing.signal),
    expected: createExpectedEngines({ kept: learning, now }),
    changes,
  });
  const measured = createObservations(now);
  const known = learning === undefined ? measured : withKeptLoadSeconds(measured, { kept: learning, polls });
  const suggestions = createSuggestions({
    polls,
    observations: known,
    probe,
    get memory() {
      return settings().memory;
    },
    ...(world.ramBandwidth === undefined ? {} : { ramBandwidth: world.ramBandwidth }),
  });
  const inventory = new Inventory({ polls, facts, runners, suggestions, signal: closing.signal });
  const summary = createSummary({ inventory, observations: known, timers, log, ...kept });
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
  const decisions = createDecisions({ now, log, publish });
  const queues = createRequestQueues({
    loader: () => loader,
    observations,
    decisions,
    settings,
    timers: { now: steady, after: timers.after },
  });
  const loader = createLoader({
    inventory,
    decisions,
    isAwaited: queues.isAwaited,
    enqueue: queues.load,
    changed: queues.wake,
    operations,
    observations,
    probe,
    settings,
    pins: createPins(settings),
    leaving: engines.leaving,
    ...(learning && { kept: learning }),
    now,
    steady,
    signal: closing.signal,
    log,
    publish,
    ownedModelsChanged: () => lifecycle.changed(),
  });
  const library = createLibrary({
    publish,
    inventory,
    operations,
    loader,
    recordPull: (operation, client, request) =>
      jobs.recordPull(operation, client, request, operations.ended(operation.id)),
  });
  const lastUsedMs = (engine: Engine, name: string) => lastUseMs(observations, inventory.runners, engine, name);
  const create = createModelCreation({ inventory, loader });
  const status = { inventory, probe, isPinned: loader.isPinned, lastUsedMs };
  const listing: ListingSource = { inventory, library, loader, observations, suggestions, log };
  const watcher = createWatcher({
    timers: systemTimers,
    log,
    pollMemory: () => ramStatus(status),
    pollModels: () =>
      Promise.all([inventory.lists(0), ...inventory.engines.map((engine) => inventory.resident(engine, 0))]),
    publish,
  });
  let remoteRequests = 0;
  const generation: GenerationWorld = {
    inventory,
    loader,
    observations,
    get memory() {
      return settings().memory;
    },
    now,
    steady,
    log,
    suggestions,
    queues,
    liveness: { begin: (...asked) => lifecycle.liveness.begin(...asked) },
    copies: createCopies(() => settings().models),
    conversations: createConversations(() => settings().conversations, steady),
    inject: (...asked) => memories.inject(...asked),
    picked: (task) => comparisons.preferred(task),
    noteRemote: () => {
      remoteRequests += 1;
    },
  };

  const embedder = createEmbedder({ inventory, loader, log });
  const embed: typeof embedder = (...asked) => calls.count(embedder(...asked));
  const remembered = world.memoryFiles === undefined ? kept : { files: world.memoryFiles };
  const memories = createMemories({ now, log, publish, ...remembered, embed });
  const named = { profiles: Object.keys(profiles) };
  const projects = createProjects({ now, log, publish, ...named, ...kept });
  const { writeForUser } = projects;
  const templatesFolder = world.templatesFolder ?? join(world.home, "templates");
  const templates = createTemplates({ folder: templatesFolder, log, publish, ...named, writeForUser });
  const comparisons = createComparisons({ world: generation, operations, ...kept });
  const access = createSettingsAccess({ home: world.home, live: world.settings });

  const overview = {
    ...status,
    world,
    queues,
    operations,
    jobs,
    remoteRequests: () => remoteRequests,
    problems: () => [
      ...memories.problems(),
      ...comparisons.problems(),
      ...projects.problems(),
      ...lifecycle.problems(),
    ],
  };

  /** Waits until the users of a replaced engine are done: current calls, and the operations they may have started. */
  async function drainEngine(engine: Engine): Promise<void> {
    await calls.settled();
    await Promise.all(operations.running().map(({ id }) => operations.ended(id)));
    await loader.unloadOwned(AbortSignal.timeout(unloadOwnedMs), [engine]);
  }

  const stopApplyingChanges = applyChanges({
    world,
    replaceEngines: (next) => engines.replace(next, drainEngine),
    inventory,
    observations,
    loader,
    publish,
    signal: closing.signal,
  });

  const lifecycle = createLifecycle({
    inventory,
    loader,
    decisions,
    settings,
    timers,
    now,
    log,
    statusChanged: () => publish({ kind: "models", isListChanged: false }),
    signal: closing.signal,
    ...kept,
    async contextTokensOf(model, signal) {
      const own = { id: "daemon", client: "ollm", roots: [], settings: callerSettings(settings()), signal };
      return (await loadTarget(generation, own, { model })).contextTokens;
    },
  });

  function checkPrompt(request: GenerateRequest): void {
    if (request.prompt.trim() !== "" || (request.files?.length ?? 0) > 0) return;
    throw new InvalidRequest("prompt is empty", { next: { step: "setArgument", argument: "prompt" } });
  }

  async function setPinned(caller: CallerContext, name: string, isPinned: boolean): Promise<string> {
    const found = await inventory.locate(name);
    const held = found.filter((located) => !takesNoMemory(located));
    const [first] = held;
    if (first === undefined) {
      throw new InvalidRequest(`${name} does not use this machine's memory, so it can't be pinned or unpinned`, {
        next: { step: "chooseModel", that: "on this machine" },
      });
    }
    for (const located of held) await loader.setPinned(located, isPinned, caller.signal);
    lifecycle.changed();
    return first.model.name;
  }

  /** Tracks a call, so that engines it may use are not closed during it. */
  const counted =
    <Given extends readonly unknown[], Result>(work: (...given: Given) => Promise<Result>) =>
    (...given: Given): Promise<Result> =>
      calls.count(work(...given));

  return {
    listModels: counted((caller, request) => listModels(listing, caller, request)),
    describeModel: counted((caller, name) => describeModel(listing, caller, name)),
    pullModel: counted((caller, request) => library.pull(caller, request)),
    planLoad: counted(async (caller, request) => {
      const { located, contextTokens } = await loadTarget(generation, caller, request);
      const plan = await loader.plan(located, contextTokens, caller.signal);
      // Throws the error with which the load would fail.
      if (inventory.isUnresponsive(located.engine)) await located.engine.residency?.loaded(caller.signal);
      return plan;
    }),
    loadModel: counted(async (caller, request) => {
      const { keepAliveSeconds: seconds } = request;
      if (seconds === 0) {
        throw new InvalidRequest("a keep-alive of 0 would unload the model as soon as it is loaded", {
          next: [
            { step: "omitArgument", argument: "keepAlive" },
            { step: "unloadModel", model: request.model },
          ],
        });
      }
      const { located, elsewhere, contextTokens } = await loadTarget(generation, caller, request);
      return loader.load(
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
      return operations.start({ kind: "generate", title }, (context) =>
        runGeneration(generation, caller, request, context),
      );
    },
    unloadModels: counted((caller, name, report = () => undefined) => library.unload(caller, name, report)),
    createModel: counted(create),
    deleteModel: counted((caller, name) => library.remove(caller, name)),
    setPinned: counted(setPinned),
    memories,
    templates,
    projects,
    comparisons,
    settings: access,
    database: () => modelDatabase,
    ramStatus: counted(() => ramStatus(status)),
    systemStatus: counted((caller) => systemStatus(overview, caller)),
    problems: lifecycle.problems,
    decisions: () => decisions.list(),
    jobs,
    async resume({ isSafeStart = false, ...answers }) {
      void lifecycle.start(isSafeStart);
      await jobs.restore(library.resume, answers);
    },
    onChange: changes.subscribe,
    watch: watcher.watch,
    activity() {
      const pinned = loader.pinnedCount();
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
      await lifecycle.wokeUp();
    },
    async close({ unloadsOwned = false } = {}) {
      stopApplyingChanges();
      watcher.close();
      closing.abort("disconnected");
      jobs.suspend();
      await operations.close();
      await jobs.settled();
      templates.close();
      await Promise.all([memories.close(), projects.close(), comparisons.close()]);
      if (unloadsOwned) await loader.unloadOwned(AbortSignal.timeout(unloadOwnedMs));
      await lifecycle.close();
      await Promise.all([learning?.close(), summary.close()]);
      await engines.close();
    },
  };
}
