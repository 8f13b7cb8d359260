import { InvalidRequest } from "./api/errors.ts";
import type { GenerateRequest, LoadRequest, Orchestrator } from "./api/facade.ts";
import type { CallerContext } from "./api/types.ts";
import { createSettingsAccess } from "./config/change.ts";
import { loadTarget } from "./generation/budget.ts";
import { embedTexts } from "./generation/embedder.ts";
import { planGeneration, runGeneration } from "./generation/runner.ts";
import { createModelCreation } from "./views/create-model.ts";
import { describeModel, listModels } from "./views/listing.ts";
import { takesNoMemory } from "./catalog/located-model.ts";
import { ramStatus, systemStatus } from "./views/system.ts";
import { createResidency } from "./residency/residency.ts";
import { modelDatabase } from "./routing/database.ts";
import { profileNames, shownProfile } from "./config/profiles.ts";
import {
  type Base,
  type Models,
  type Requests,
  type Residency,
  createBase,
  createModels,
  createRequests,
  createServices,
} from "./parts.ts";
import { type Watchers, createWatchers } from "./watchers.ts";
import type { World } from "./world.ts";
import { defined } from "./util/values.ts";

/**
 * Creates the orchestrator; all external dependencies are in `world`. Settings are read on each use, so that changes
 * apply at once. Parts are made in order, each of those before it.
 */
export function createOrchestrator(world: World): Orchestrator {
  const base = createBase(world);
  const models = createModels(base);
  const residency = createResidency({ ...base, ...models, operations: base.operations });
  const watchers = createWatchers({ ...base, ...models });
  const requests = createRequests(base, models, residency, watchers);
  const services = createServices(base, models, residency, requests, watchers);
  return createFacade(base, models, residency, requests, services, watchers);
}

function createFacade(
  base: Base,
  models: Models,
  residency: Residency,
  requests: Requests,
  services: ReturnType<typeof createServices>,
  watchers: Watchers,
): Orchestrator {
  const { world, settings, lock, calls, closing, operations, jobs } = base;
  const { inventory } = models;
  const { plans, keepAlive, loads } = residency;
  const { generation, spending, memories, projects, templates, comparisons, batches, workers } = requests;
  const { maintenance, library, listing, status, overview, live } = services;
  const create = createModelCreation({ ...models, ...residency });
  /** Tracks a call, so that engines it may use are not closed during it, and applies its caller's privacy. */
  const counted =
    <Given extends readonly [CallerContext, ...unknown[]], Result>(work: (...given: Given) => Promise<Result>) =>
    (...given: Given): Promise<Result> =>
      calls.count(lock.serving(given[0], () => work(...given)));

  return {
    listModels: counted((caller, request) => listModels(listing, caller, request)),
    describeModel: counted((caller, name, manages) => describeModel(listing, caller, name, manages)),
    pullModel: counted((caller, request) => library.pull(caller, request)),
    planLoad: counted(async (caller, request) => {
      const { located, contextTokens } = await loadTarget(generation, caller, request);
      const plan = await plans.of(located, contextTokens, caller.signal);
      // Throws the error with which the load would fail.
      await models.loaded.checkResponse(located.engine, caller.signal);
      return plan;
    }),
    loadModel: counted(async (caller, request) => {
      checkKeepAlive(request);
      const { keepAliveSeconds: seconds } = request;
      const { located, elsewhere, contextTokens } = await loadTarget(generation, caller, request);
      return loads.start(
        located,
        { contextTokens, ...defined({ keepAliveSeconds: seconds }) },
        true,
        { caller: caller.id, client: caller.client, isBackground: false },
        elsewhere,
      );
    }),
    planGeneration: counted(async (caller, request) => {
      checkPrompt(request);
      return planGeneration(generation, caller, request);
    }),
    async generate(caller, request) {
      checkPrompt(request);
      const title = request.model === undefined ? "answer" : `answer by ${request.model}`;
      return lock.serving(caller, () =>
        operations.start({ kind: "generate", title, client: caller.client }, (context) =>
          runGeneration(generation, caller, request, context),
        ),
      );
    },
    embed: counted((caller, request) => embedTexts({ ...generation, spending }, caller, request)),
    unloadModels: counted((caller, name, report = () => undefined) => library.unload(caller, name, report)),
    createModel: counted(create),
    deleteModel: counted((caller, name) => library.remove(caller, name)),
    setPinned: counted(async (caller, name, isPinned) => {
      const held = (await inventory.locate(name, undefined, true)).filter((located) => !takesNoMemory(located));
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
      evaluate: counted((caller, request) => comparisons.evaluate(caller, request)),
    },
    batches,
    workers,
    metrics: services.metrics,
    live: {
      state: counted((caller, worded) => live.state(caller, worded)),
      onChange: (listener) => live.onChange(listener),
      history: () => live.history(),
      sample: () => calls.count(live.sample()),
    },
    settings: createSettingsAccess({ home: world.home, live: world.settings }),
    database: () => modelDatabase,
    ramStatus: () => calls.count(ramStatus(status)),
    systemStatus: counted((caller) => systemStatus(overview, caller)),
    problems: maintenance.problems,
    decisions: () => watchers.decisions.list(),
    jobs,
    async resume({ isSafeStart = false, ...answers }) {
      void maintenance.start(isSafeStart);
      await jobs.restore({ pull: library.resume, batch: (id) => batches.resume(id) }, answers);
    },
    onChange: watchers.changes.subscribe,
    watch: watchers.changes.watch,
    activity() {
      return { operations: operations.running(), pinned: keepAlive.pinnedCount() };
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
  if (request.chat !== undefined || request.prompt.trim() !== "" || (request.files?.length ?? 0) > 0) return;
  throw new InvalidRequest("prompt is empty", { next: { step: "setArgument", argument: "prompt" } });
}

/** Throws `InvalidRequest`. */
function checkKeepAlive({ keepAliveSeconds, model }: LoadRequest): void {
  if (keepAliveSeconds !== 0) return;
  throw new InvalidRequest("a keep-alive of 0 would unload the model as soon as it is loaded", {
    next: [
      { step: "omitArgument", argument: "keepAlive" },
      { step: "unloadModel", model },
    ],
  });
}
