import type { MemoryProbe, MemorySample } from "../memory/measure/system-probe.ts";
import { localDomain } from "../memory/state.ts";
import type { CallerContext, CallerSettings } from "../api/types.ts";
import { callerSettings } from "../config/load.ts";
import type { Settings } from "../config/schema.ts";
import { loadBytes, neededBytes } from "../memory/limits.ts";
import type { Estimates } from "../residency/estimates.ts";
import { canonicalContext, defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { Library } from "./library.ts";
import { type LocatedModel, keyOf, takesNoMemory } from "../catalog/located-model.ts";
import type { LoadedModels } from "../residency/loaded.ts";
import type { Pins } from "../residency/keep-alive.ts";
import type { Slots } from "../residency/slots.ts";
import { defaultsIn, forModel, matchesName } from "../routing/model-overrides.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { sameModel } from "../util/model-name.ts";
import type { CountedFigures, KeptRequests, ModelCounts, Metrics, UnusedModel } from "../api/facade-metrics.ts";
import { defined } from "../util/values.ts";
import type { Emit } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import { describeFromDatabase } from "../routing/database.ts";
import type { Timers } from "../util/timers.ts";
import { moneyReport, referenceOf, savedBy } from "./savings.ts";
import type { Advice } from "../api/facade-status.ts";
import { advice } from "../api/next-step.ts";
import { formatPath } from "../config/paths.ts";
import type { createSuggestions } from "./suggestions.ts";
import { oneLine } from "../util/control-characters.ts";
import { counted, formatBytes } from "../util/format-bytes.ts";

interface MetricsParts {
  readonly store: CountedFigures;
  readonly requests: KeptRequests;
  readonly inventory: Pick<Inventory, "engines" | "lists" | "uniqueModels" | "knownFacts">;
  readonly suggestions: Pick<ReturnType<typeof createSuggestions>, "advice">;
  readonly loaded: Pick<LoadedModels, "has">;
  readonly library: Pick<Library, "pulling">;
  readonly estimates: Pick<Estimates, "quick">;
  readonly pins: Pick<Pins, "isPinned">;
  readonly slots: Pick<Slots, "at">;
  readonly probe: Pick<MemoryProbe, "sample">;
  readonly settings: () => Settings;
  readonly emit: Emit;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The metrics of the facade, from what is counted. */
export function createMetrics(parts: MetricsParts): Metrics {
  const { store, now, settings } = parts;
  return {
    notePassedOn: (host) => parts.emit({ kind: "remote request sent", engine: host }),
    noteRead: ({ client }, task, text) =>
      // Counted when the figures are written, not in the call.
      parts.emit({ kind: "answer read", client, task, readTokens: () => estimateTokens(text) }),
    counters: () => store.counters(),
    report: () => store.report(),
    money: async () => moneyReport(await store.moneyCounts(), referenceOf(settings()), now()),
    breaches: () => store.breaches(),
    async advice(caller) {
      const facts = await adviceFacts(parts, caller);
      const found = [
        ...(await store.breaches()),
        ...adviceOf(facts),
        // What is being pulled may be for code.
        ...(parts.library.pulling().length > 0
          ? []
          : await parts.suggestions.advice((await store.report()).by.task, caller.signal)),
      ];
      return { found, unused: unusedModels(facts) };
    },
    async requests(_caller, query) {
      const reference = referenceOf(settings());
      const { rows, ...page } = await parts.requests.list(query);
      return { ...page, rows: rows.map((row) => ({ ...row, ...defined({ saved: savedBy(row, reference) }) })) };
    },
  };
}

const sampleIntervalMs = 60_000;

/** Samples the memory each minute, the first time after one, until the returned function is called. */
export function sampleMemory(parts: {
  readonly emit: Emit;
  readonly inventory: Pick<Inventory, "engines" | "lastList" | "knownFacts">;
  readonly loaded: LoadedModels;
  readonly probe: Pick<MemoryProbe, "sample">;
  readonly timers: Pick<Timers, "after">;
  readonly log: Log;
}): () => void {
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

async function sampleOf({ inventory, loaded, probe }: Parameters<typeof sampleMemory>[0]) {
  const names: string[] = [];
  const byType: Record<string, number> = {};
  let modelBytes = 0;
  for (const engine of inventory.engines) {
    // An engine without models in memory is not asked: an idle one should stay idle.
    const there = loaded.known(engine).length === 0 ? [] : await loaded.of(engine, sampleIntervalMs);
    for (const { name, sizeBytes } of there) {
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

/** How old the lists of models and of loaded ones may be. */
const maxAgeMs = 60_000;

/** The models on this machine with their uses, sizes and contexts, as advice needs them. Loads nothing. */
async function adviceFacts(parts: MetricsParts, caller: CallerContext) {
  const { store, inventory, probe, now } = parts;
  const [lists, sample, used] = await Promise.all([inventory.lists(maxAgeMs), probe.sample(), store.models()]);
  const daemon = callerSettings(parts.settings());
  const current = lists.filter(({ staleSince, isLocked }) => staleSince === undefined && isLocked !== true);
  const own = (await inventory.uniqueModels(current)).filter(isOwn);
  return {
    nowMs: now(),
    /** Since when uses are counted. */
    sinceMs: used.sinceMs ?? now(),
    models: await Promise.all(
      own.map((located) => ownModel(parts, { daemon, caller }, located, sample, used.byName.get(keyOf(located.model)))),
    ),
    /** Short calls to engines. */
    connections: inventory.engines.flatMap((engine) => {
      const { control, most = 0 } = engine.connections?.() ?? {};
      return control?.limit === undefined ? [] : [{ engine: engine.id, limit: control.limit, most }];
    }),
  };
}

/** On a disk that we may tidy. */
function isOwn({ engine, model }: LocatedModel): boolean {
  const isHere = engine.trust === "local" && model.trust === "local" && engine.library !== undefined;
  return isHere && !takesNoMemory({ engine, model }) && model.sizeBytes > 0;
}

async function ownModel(
  parts: MetricsParts,
  settled: { readonly daemon: CallerSettings; readonly caller: CallerContext },
  located: LocatedModel,
  sample: MemorySample,
  counts: ModelCounts | undefined,
) {
  const { inventory, slots, pins, library, settings } = parts;
  const { engine, model } = located;
  const installedMs = Date.parse(model.modifiedAt ?? "");
  const context = contextOf(parts, settled.daemon, located, counts);
  const capabilities = model.capabilities ?? inventory.knownFacts(located)?.capabilities ?? [];
  return {
    name: model.name,
    engine: engine.id,
    /** On disk. */
    sizeBytes: model.sizeBytes,
    /** Absent: unknown. Milliseconds since the epoch, as the last use, in all days that are kept. */
    ...(Number.isFinite(installedMs) && { installedMs }),
    ...(counts !== undefined && counts.lastUsedMs > 0 && { lastUsedMs: counts.lastUsedMs }),
    /** It is loaded, pinned, named in a setting, being pulled, or needed for memories. */
    isInUse:
      pins.isPinned(model.name) ||
      (await parts.loaded.has(located, maxAgeMs)) ||
      slots.at(located).isLoading ||
      library.pulling().some(({ name }) => sameModel(name, model.name)) ||
      // Embeddings of memories are not counted as requests.
      (capabilities.includes("embedding") && !capabilities.includes("completion")) ||
      isConfigured(model.name, settings(), settled),
    ...(engine.memoryDomain === localDomain && { load: loadOf(parts, located, sample) }),
    ...defined({ context }),
  };
}

/** Whether a setting, a profile or the caller's project names the model. Patterns such as `*` name none. */
function isConfigured(
  name: string,
  { model: { keepAlive } }: Settings,
  { daemon, caller }: Parameters<typeof ownModel>[1],
): boolean {
  const named = [
    ...[daemon, caller.settings].flatMap(namedIn),
    ...keepAlive.preload,
    ...(caller.project?.settings.model ?? "").split("\n"),
  ];
  return (
    named.some((each) => each !== "" && sameModel(each, name)) ||
    keepAlive.models.some((pattern) => matchesName(pattern, name))
  );
}

function namedIn({ model, profiles, models }: CallerSettings): readonly string[] {
  return [
    ...(model.default === undefined ? [] : [model.default]),
    ...Object.values(model.routing.overrides),
    ...Object.values(profiles).flatMap(({ models: listed = [], fallback = [] }) => [
      ...listed,
      ...(typeof fallback === "string" ? [] : fallback),
    ]),
    ...Object.keys(models),
  ];
}

/** What must be free to load it, by a quick estimate at the smallest usual context, and what models may have in all. */
function loadOf(
  { estimates, settings }: MetricsParts,
  { engine, model }: LocatedModel,
  { totalBytes, gpus }: MemorySample,
) {
  const { maxBytes, availableBytes, bufferBytes } = settings().memory;
  const estimate = estimates.quick(model, { engine, contextTokens: defaultContextTokens });
  const needed = neededBytes(estimate, model.sizeBytes, { bufferBytes });
  const cards = engine.usesCards === true ? gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0) : 0;
  const capacityBytes = availableBytes ?? totalBytes + cards;
  // The cap is on models alone.
  const own = loadBytes(estimate);
  if (maxBytes !== undefined && own > maxBytes) return { neededBytes: own, capacityBytes: maxBytes };
  return { neededBytes: needed, capacityBytes };
}

/** A context that a setting or the model asks for; undefined for the default, which all models share. */
function contextOf(
  { estimates, inventory }: MetricsParts,
  settings: CallerSettings,
  located: LocatedModel,
  counts: ModelCounts | undefined,
) {
  const { engine, model } = located;
  if (counts === undefined || counts.largestTokens === 0) return undefined;
  const facts = inventory.knownFacts(located);
  const { contextTokens: configured } = forModel({ settings }, model.name, defaultsIn(facts));
  if (configured === undefined) return undefined;
  const windowTokens = model.contextTokens ?? facts?.contextTokens;
  const tokens = canonicalContext({ atLeastTokens: configured, windowTokens });
  const enoughTokens = canonicalContext({
    atLeastTokens: Math.max(counts.largestTokens, defaultContextTokens),
    windowTokens,
  });
  const bytesAt = (contextTokens: number) => estimates.quick(model, { engine, contextTokens }).predictedBytes;
  return {
    tokens,
    /** The largest prompt with its answer. */
    usedTokens: counts.largestTokens,
    requests: counts.requests,
    /** The next smaller context that holds it, and the memory that it would free. */
    enoughTokens,
    savedBytes: Math.max(0, bytesAt(tokens) - bytesAt(enoughTokens)),
  };
}

type OwnModel = Awaited<ReturnType<typeof ownModel>>;
type AdviceFacts = Awaited<ReturnType<typeof adviceFacts>>;

const dayMs = 86_400_000;
const unusedDays = 30;
/** Fewer requests say little about the contexts that are needed. */
const leastRequests = 20;
/** Less is not worth a setting. */
const worthwhileBytes = 256e6;
const shownNames = 3;

/**
 * Models that were not used for at least a day and are not in use in another way, the largest first. The time begins at
 * the last use, at the installation, or when uses began to be counted, whichever is latest.
 */
export function unusedModels({ nowMs, sinceMs, models }: AdviceFacts): readonly UnusedModel[] {
  return models
    .filter(({ isInUse }) => !isInUse)
    .map(({ name, engine, sizeBytes, installedMs = 0, lastUsedMs }) => ({
      name,
      engine,
      sizeBytes,
      unusedDays: Math.floor((nowMs - Math.max(installedMs, lastUsedMs ?? sinceMs)) / dayMs),
      ...(lastUsedMs !== undefined && { lastUsedAt: new Date(lastUsedMs).toISOString() }),
    }))
    .filter((model) => model.unusedDays >= 1)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes || (a.name < b.name ? -1 : 1));
}

export function adviceOf(facts: AdviceFacts): readonly Advice[] {
  return [
    unusedAdvice(unusedModels(facts).filter((model) => model.unusedDays >= unusedDays)),
    ...facts.models.map(sizeAdvice),
    ...facts.models.map(contextAdvice),
    ...facts.connections.map(poolAdvice),
  ].filter((each) => each !== undefined);
}

function unusedAdvice(models: readonly UnusedModel[]): Advice | undefined {
  const [first] = models;
  if (first === undefined) return undefined;
  const bytes = models.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const names = models.slice(0, shownNames).map(({ name }) => oneLine(name));
  const more = models.length > names.length ? [`${models.length - names.length} more`] : [];
  const [was, take] = models.length === 1 ? ["was", "takes"] : ["were", "take"];
  return {
    kind: "unused",
    subject: first.name,
    text: `${counted(models.length, "model")} ${was} not used for ${unusedDays} days and ${take} ${formatBytes(bytes)} on disk: ${[...names, ...more].join(", ")}`,
    next: { step: "tidyModels" },
    bytes,
  };
}

function sizeAdvice({ name, sizeBytes, load }: OwnModel): Advice | undefined {
  if (load === undefined || load.neededBytes <= load.capacityBytes) return undefined;
  return {
    kind: "too_large",
    subject: name,
    text: `${oneLine(name)} does not fit on this machine, even with nothing else loaded: it needs ${formatBytes(load.neededBytes)}, and models may use ${formatBytes(load.capacityBytes)}`,
    next: { step: "deleteModel", model: name },
    bytes: sizeBytes,
  };
}

function contextAdvice({ name, context }: OwnModel): Advice | undefined {
  if (context === undefined || context.requests < leastRequests || context.savedBytes < worthwhileBytes)
    return undefined;
  if (context.enoughTokens >= context.tokens) return undefined;
  return {
    kind: "context",
    subject: name,
    text: `${oneLine(name)} is loaded with a context of ${context.tokens} tokens, and its largest of ${counted(context.requests, "request")} took ${context.usedTokens}: ${context.enoughTokens} would free ${formatBytes(context.savedBytes)} of memory`,
    next: {
      step: "changeSetting",
      setting: formatPath(["models", name, "contextTokens"]),
      to: String(context.enoughTokens),
    },
  };
}

function poolAdvice({ engine, limit, most }: AdviceFacts["connections"][number]): Advice | undefined {
  if (most <= limit) return undefined;
  return {
    kind: "pool",
    subject: engine,
    text: `${oneLine(engine)} had up to ${most} short calls at once for ${counted(limit, "connection")}: ${most - limit} had to wait`,
    next: advice("raise the number of connections in the settings of this engine"),
  };
}
