import { basename, dirname, join } from "node:path";
import { CardFailed, EngineNotInstalled, LoadFailed, throwIfCancelled } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { InstalledModel, ModelFacts } from "../../api/types.ts";
import type { Engine, EngineLibrary, EngineResidency, LoadOptions } from "../engine.ts";
import { incompatibilityOf } from "../gguf/compatibility.ts";
import { factsFromHeader, type GgufHeader, type InspectGguf } from "../gguf/header.ts";
import { ChildFailure } from "./child/failure.ts";
import { ChildGone, type ChildSession, openChild } from "./child-session.ts";
import { type ChildrenList, createChildrenList } from "./child/children-list.ts";
import { ComputeGate } from "./compute-gate.ts";
import { createComputing, createTokenizer } from "./computing.ts";
import { createEstimator } from "./estimator.ts";
import { causeOf, createCards, notInstalled, notInstalledMessage, unknownModel, unsupported } from "./failures.ts";
import { type Backend, engineVersion } from "./install/platform.ts";
import { type Loadable, Models } from "./models.ts";
import { embeddedLoadRules, loadRequestFor, readParameters } from "./prepare-request.ts";
import type { ModelStore } from "./store/model-store.ts";
import type { StoredModel } from "./store/reader.ts";
import { defined } from "../../util/values.ts";

interface LlamaCppOptions {
  /** The one of the settings in force. Models that were loaded from another one stay loaded. */
  readonly store: () => ModelStore;
  readonly inspect: InspectGguf;
  readonly installation: NonNullable<Engine["installation"]> & {
    /** Absolute path of the installed node-llama-cpp's module; undefined when it isn't installed. */
    modulePath(): Promise<string | undefined>;
  };
  /** Absolute path of the built `engine-child.mjs`. */
  readonly childEntry: string;
  /** A Node that can be spawned. */
  readonly nodeExecutable: string;
  /** `OLLM_HOME/run`: stores the list of child processes. */
  readonly runFolder: string;
  /** `providers.llamaCpp.backend`; default the processor. */
  readonly backend?: Backend;
  /** Milliseconds that the cards may take to start; default a minute. */
  readonly cardLimitMs?: number;
  /** Cores that all models together may use. */
  readonly threads: number;
  /**
   * Idle seconds until a model is unloaded (`model.keepAlive.timeout`); negative: never. Read at each load.
   */
  readonly keepAliveSeconds: number;
  /** For what models have read; it may not exist. */
  readonly promptsFolder: string;
  /** `store.promptCacheBytes`, read at each request. */
  readonly promptCacheBytes?: number | undefined;
  /** Shared with the engine that this one replaces, whose models may still answer; own ones by default. */
  readonly shared?: { readonly children: ChildrenList; readonly gate: ComputeGate };
  /** Milliseconds since the epoch, for expiry times. */
  readonly now: () => number;
  /** A monotonic clock in milliseconds, for durations; default `now`. */
  readonly steady?: () => number;
  readonly log: Log;
  /** Milliseconds that a load may take; default 60 s plus 0.1 s per megabyte. */
  readonly loadLimitMs?: (weightsBytes: number) => number;
  /** Milliseconds without progress after which a computing process is ended; default five minutes. */
  readonly stallMs?: number;
}

/** Twice what a very large model on a small machine needs for 64 tokens, the smallest chunk that reports progress. */
const defaultStallMs = 300_000;

/**
 * The embedded engine: llama.cpp through node-llama-cpp. Each loaded model has its own child process, so that a corrupt
 * file or a crash never reaches the server. One computation runs at a time over all processes.
 */
export function createLlamaCppEngine(options: LlamaCppOptions): Engine {
  const { store, inspect, installation, now, steady = now, log } = options;
  const gate = options.shared?.gate ?? new ComputeGate(steady);
  const { backend = "cpu" } = options;
  const cards = createCards({ backend, now: steady, log });
  const processes = createProcesses(options, cards, () => gate.schedule());
  const open = (signal: AbortSignal, usesCards = false) => processes.open(signal, usesCards);
  const file = join(dirname(options.promptsFolder), "estimates.json");
  const estimator = createEstimator({ open, mayUseCards: cards.isUsable, now: steady, log, file });
  const models = new Models({
    open,
    cards,
    gate,
    now,
    steady,
    log,
    get keepAliveSeconds() {
      return options.keepAliveSeconds;
    },
    loadLimitMs: options.loadLimitMs ?? ((weightsBytes) => 60_000 + weightsBytes / 10_000),
    estimate: (stored, request) => estimator.estimate(stored.digest, request, AbortSignal.timeout(60_000)),
  });
  const prepare: Prepare = (model, signal) => prepared(options, model, signal);
  const stallMs = options.stallMs ?? defaultStallMs;
  const { generate, embed } = createComputing({
    models,
    gate,
    now: steady,
    stallMs,
    prepare,
    get promptCacheBytes() {
      return options.promptCacheBytes;
    },
  });

  return {
    id: "llama-cpp",
    kind: "llama-cpp",
    isPrivate: true,
    // The binaries of Apple silicon use Metal (`binaryPackages`).
    ...(backend === "cpu"
      ? { processor: process.platform === "darwin" && process.arch === "arm64" ? ("GPU" as const) : ("CPU" as const) }
      : { usesCards: true as const }),
    pausesAnswers: true,
    cachesOf: (model) => models.findNamed(model)?.session.capacity().sequences ?? 1,
    answersAtOnce: (model) => models.findNamed(model)?.session.capacity().together ?? 1,
    trust: "local",
    memoryDomain: "local",
    address: "embedded",
    async health() {
      const isInstalled = await installation.isInstalled().catch(() => false);
      const message = cards.failureOf();
      if (isInstalled) return { isReachable: true, version: engineVersion, ...defined({ message }) };
      return { isReachable: false, message: notInstalledMessage };
    },
    async list(signal) {
      throwIfCancelled(signal, "listing the embedded engine's models");
      return (await store().list()).map(toInstalled);
    },
    async describe(model, signal) {
      throwIfCancelled(signal, `describing ${model}`);
      const stored = await find(store(), model);
      return factsOf(stored, await inspect(stored.weightsFile, signal));
    },
    generate,
    library: libraryOf(store, models),
    residency: { ...residencyOf(store, models, prepare), cardFailure: cards.failureOf },
    embedding: { embed },
    tokenizer: createTokenizer({
      models,
      open,
      prepare,
      find: (model) => store().find(model),
      now: steady,
      stallMs,
      log,
    }),
    estimation: estimationOf(options, estimator, prepare),
    installation,
    async close() {
      processes.refuse();
      await models.close();
      await processes.close();
    },
  };
}

type Prepare = (model: string, signal: AbortSignal) => Promise<Loadable & { readonly facts: ModelFacts }>;

/**
 * The child processes of this engine, listed on disk so that the next daemon ends those of a killed one. `changed`: a process
 * may answer more or fewer requests at the same time.
 */
function createProcesses(options: LlamaCppOptions, cards: ReturnType<typeof createCards>, changed: () => void) {
  const children = options.shared?.children ?? createChildrenList(options.runFolder, options.log);
  const sessions = new Set<ChildSession>();
  const closing = new AbortController();
  let reaped: Promise<number> | undefined;

  return {
    /** `usesCards`: throws `CardFailed` if they don't start. */
    async open(signal: AbortSignal, usesCards: boolean): Promise<ChildSession> {
      const { childEntry: entry, nodeExecutable, installation, threads, log, runFolder, cardLimitMs } = options;
      const { backend, failureOf, driverFailed } = cards;
      const known = usesCards ? failureOf() : undefined;
      if (known !== undefined) throw new CardFailed(known);
      const computes = usesCards ? backend : backend === "cpu" ? ("auto" as const) : ("cpu" as const);
      const readyLimitMs = usesCards ? cardLimitMs : undefined;
      const modulePath = await installation.modulePath();
      if (modulePath === undefined) throw notInstalled(installation.downloadBytes);
      await (reaped ??= children.reapOrphans());
      const noteFailure = (error: unknown) =>
        log.warn(`engine: ${join(runFolder, "children.json")} could not be updated: ${String(error)}`);
      const listed: Promise<void>[] = [];
      let startedPid = 0;
      const started = (pid: number) => {
        startedPid = pid;
        listed.push(children.add(pid).catch(noteFailure));
      };
      const forget = () => children.remove(startedPid).catch(noteFailure);
      try {
        const untilClosed = AbortSignal.any([signal, closing.signal]);
        const given = { entry, nodeExecutable, modulePath, threads, computes, readyLimitMs, changed };
        const session = await openChild(given, started, untilClosed);
        sessions.add(session);
        void session.ended.then(() => {
          sessions.delete(session);
          return forget();
        });
        await Promise.all(listed);
        return session;
      } catch (error) {
        await forget();
        if (usesCards && error instanceof ChildFailure) throw driverFailed(error.message, error.code === "stalled");
        if (usesCards && error instanceof ChildGone)
          throw driverFailed(`its process ended ${causeOf(error.end)}`, false);
        throw error;
      }
    },
    /** Opens no process from now on. */
    refuse(): void {
      closing.abort(new Error("the engine was closed"));
    },
    /** Ends processes that hold no model: those of running estimates. */
    async close(): Promise<void> {
      await Promise.all([...sessions].map((session) => session.stop()));
      // The folder may be removed next, so no write may be pending.
      await children.idle();
    },
  };
}

async function find(store: ModelStore, model: string): Promise<StoredModel> {
  const stored = await store.find(model);
  if (stored !== undefined) return stored;
  throw unknownModel(
    model,
    (await store.list()).map(({ name }) => name),
  );
}

/** Reads the model's header. Throws `LoadFailed` for a model that the embedded engine does not support. */
async function prepared(
  { store, inspect, installation, threads, promptsFolder, backend = "cpu" }: LlamaCppOptions,
  model: string,
  signal: AbortSignal,
): ReturnType<Prepare> {
  throwIfCancelled(signal, `the call for ${model}`);
  const stored = await find(store(), model);
  if (stored.unsupported !== undefined) throw unsupported(stored.name, stored.unsupported);
  if (!(await installation.isInstalled())) throw notInstalled(installation.downloadBytes);
  const header = await inspect(stored.weightsFile, signal);
  const incompatibility = incompatibilityOf(header);
  if (incompatibility !== undefined) throw unsupported(stored.name, incompatibility.reason, incompatibility.next);
  const facts = factsOf(stored, header);
  const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
  const request = ({ contextTokens, gpuLayers = 0 }: LoadOptions) =>
    loadRequestFor({ stored, header, isEmbedding, contextTokens, threads, promptsFolder, backend, gpuLayers });
  return { stored, header, facts, request };
}

function libraryOf(store: LlamaCppOptions["store"], models: Models): EngineLibrary {
  return {
    pull: (model, report, signal) => store().pull(model, report, signal),
    downloadOf: (model, signal) => store().downloadOf(model, signal),
    import: (file, name, report, signal) => store().import(file, name, report, signal),
    async remove(model, signal) {
      throwIfCancelled(signal, `deleting ${model}`);
      const current = store();
      const stored = await find(current, model);
      // An instance that was loaded under another name of the same weights stays loaded.
      await models.unloadNamed(stored.name);
      return await current.remove(stored.name);
    },
    creation: {
      parameterNames: readParameters,
      create: (recipe, report, signal) => store().create(recipe, report, signal),
    },
  };
}

function residencyOf(store: LlamaCppOptions["store"], models: Models, prepare: Prepare): EngineResidency {
  return {
    ...embeddedLoadRules,
    async loaded(signal) {
      throwIfCancelled(signal, "listing loaded models");
      return await models.list();
    },
    async load(model, load, report, signal) {
      const use = await models.use(await prepare(model, signal), load, report, signal);
      try {
        return await models.describe(use.resident);
      } finally {
        use.release();
      }
    },
    async unload(model, signal) {
      throwIfCancelled(signal, `unloading ${model}`);
      const stored = await store().find(model);
      // A model that was deleted while loaded, or is in another store, is still listed by its name.
      await (stored === undefined ? models.unloadNamed(model) : models.unload(stored));
    },
  };
}

function estimationOf(
  { store, installation, inspect }: LlamaCppOptions,
  estimator: ReturnType<typeof createEstimator>,
  prepare: Prepare,
): NonNullable<Engine["estimation"]> {
  return {
    estimate: (model, load, signal) =>
      unlessUnsupported(async () => {
        const { stored, request } = await prepare(model, signal);
        return await estimator.estimate(stored.digest, request(load), signal);
      }),
    async simulate(weightsDigest, load, signal) {
      const file = await store().weights(weightsDigest);
      if (file === undefined || !(await installation.isInstalled())) return undefined;
      return await unlessUnsupported(async () => {
        if (incompatibilityOf(await inspect(file, signal)) !== undefined) return undefined;
        return await estimator.simulate(weightsDigest, file, load, signal);
      });
    },
  };
}

async function unlessUnsupported<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof EngineNotInstalled || error instanceof LoadFailed) return undefined;
    throw error;
  }
}

function toInstalled(stored: StoredModel): InstalledModel {
  const { name, digest, sizeBytes, modifiedAt, family, parameterSize, quantization } = stored;
  return {
    name,
    digest,
    sizeBytes,
    modifiedAt,
    trust: "local",
    ...defined({ family, parameterSize, quantization }),
  };
}

/** The file's own facts take precedence over the manifest's. */
function factsOf(stored: StoredModel, header: GgufHeader): ModelFacts {
  const { name, digest, sizeBytes, parameterSize, quantization, system, parameters } = stored;
  const attachedDigests = stored.adapterFiles.map((file) => basename(file).replace(/^sha256-/, ""));
  return {
    ...defined({ parameterSize, quantization }),
    ...factsFromHeader(header),
    weightsBytes: header.weightsBytes,
    name,
    digest,
    weightsDigest: digest,
    ...(attachedDigests.length === 0 ? {} : { attachedDigests }),
    sizeBytes,
    trust: "local",
    ...defined({ system }),
    parameters,
  };
}
