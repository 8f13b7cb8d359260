import type { ModelSuggestion, SuggestedModel } from "../api/facade.ts";
import type { NamedFigures } from "../api/facade-metrics.ts";
import type { Advice } from "../api/facade-status.ts";
import type { Log } from "../api/log.ts";
import type { InstalledModel, Task } from "../api/types.ts";
import { profileForTask } from "../config/profiles.ts";
import { sizeRuleBytes } from "../memory/predict.ts";
import {
  activeBytesOf,
  assumedBytesPerSecond,
  cardBandwidth,
  expectedTokensPerSecond,
  firstModel,
  firstModels,
  observedBandwidth,
} from "../routing/first-models.ts";
import { describeFromDatabase, isCodeName } from "../routing/database.ts";
import { strengthAt } from "../routing/expected-seconds.ts";
import { defined } from "../util/values.ts";
import { counted, formatBytes, formatNeed } from "../util/format-bytes.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, EngineLibrary } from "../engines/engine.ts";
import type { Observations } from "../residency/observations.ts";
import type { MemoryProbe, MemorySample } from "../memory/measure/system-probe.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { describedBy, factsOf } from "../catalog/known-facts.ts";
import { idOf } from "../catalog/located-model.ts";

/** Expected decode speed of an installed model, tokens/s; undefined if it may run on a card or another machine. */
type ExpectedSpeed = (
  engine: Pick<Engine, "usesCards" | "memoryDomain">,
  model: Pick<InstalledModel, "name" | "sizeBytes">,
) => Promise<number | undefined>;

/** An Ollama that does not respond within this time is left out. */
const patienceMs = 2_000;
const maxListAgeMs = 60_000;

/** Models to pull, for this machine as it is now. */
export function createSuggestions(source: {
  readonly inventory: Pick<Inventory, "engines" | "lastList" | "lists" | "uniqueModels" | "facts">;
  readonly log: Log;
  readonly observations: Observations;
  readonly probe: MemoryProbe;
  readonly memory: Settings["memory"];
  /** Effective bandwidth of main memory, bytes per second; undefined if it could not be measured. */
  readonly ramBandwidth?: () => Promise<number | undefined>;
}) {
  const { inventory, probe } = source;

  async function machine(): Promise<SuggestionMachine> {
    const [sample, hasOllama] = await Promise.all([probe.sample(), hasLocalServer()]);
    return {
      availableBytes: source.memory.availableBytes ?? sample.availableBytes,
      maxBytes: source.memory.maxBytes,
      bufferBytes: source.memory.bufferBytes,
      ramBytesPerSecond: await bandwidthOf(sample),
      // The embedded engine computes on the processor.
      cards: hasOllama ? sample.gpus : [],
      hasOllama,
    };
  }

  /** Whether a server of this machine responds that can pull models, as only Ollama does. */
  async function hasLocalServer(): Promise<boolean> {
    const local = inventory.engines.filter(
      ({ library, isPrivate, memoryDomain }) => library !== undefined && isPrivate !== true && memoryDomain === "local",
    );
    const healths = await Promise.all(local.map((engine) => engine.health(AbortSignal.timeout(patienceMs))));
    return healths.some(({ isReachable }) => isReachable);
  }

  const bandwidthOf = async (sample: MemorySample) => observed(sample) ?? (await source.ramBandwidth?.());

  /** The best bandwidth that models in main memory reached. */
  function observed(sample: MemorySample): number | undefined {
    const measured: { readonly tokensPerSecond: number; readonly activeBytes: number | undefined }[] = [];
    for (const engine of inventory.engines) {
      if (!computesOnProcessor(engine, sample)) continue;
      for (const model of inventory.lastList(engine)) {
        const { tokensPerSecond } = source.observations.of(idOf({ engine, model }));
        if (tokensPerSecond !== undefined) measured.push({ tokensPerSecond, activeBytes: activeBytesOf(model) });
      }
    }
    return observedBandwidth(measured);
  }

  return {
    models: async (): Promise<ModelSuggestion> => suggestModels(await machine()),
    /** What a pull of this name downloads and needs here; undefined for other models than ours whose download isn't given. */
    download: async (name: string, download?: Download): Promise<string | undefined> =>
      firstModel(name) === undefined && download === undefined
        ? undefined
        : describeDownload(name, await machine(), download),
    /** A model that reads images, fits here and an engine runs. */
    vision: async (): Promise<SuggestedModel | undefined> => suggestVisionModel(await machine()),
    /** About a model for what these requests need. May ask engines about their models, and loads none. */
    async advice(tasks: Parameters<typeof codeAdvice>[0]["tasks"], signal: AbortSignal) {
      if (codeShare(tasks) === undefined) return [];
      const lists = await inventory.lists(maxListAgeMs);
      const models = (await inventory.uniqueModels(lists)).map(async (located) => {
        const { name, sizeBytes, stated } = located.model;
        const { entry, ...known } = describedBy(located.model, await factsOf(source, located, signal));
        const isKnown = (entry ?? stated?.profiles) !== undefined;
        return defined({ ...known, model: name, sizeBytes, isKnown });
      });
      const areAllKnown = lists.every(({ staleSince }) => staleSince === undefined);
      return codeAdvice({ tasks, models: await Promise.all(models), areAllKnown }, await machine());
    },
    /** For one list: the machine is looked at once, when the first speed is asked for. */
    speeds(): ExpectedSpeed {
      let sampled: Promise<MemorySample> | undefined;
      let bandwidth: Promise<number | undefined> | undefined;
      return async (engine, model) => {
        const sample = await (sampled ??= probe.sample());
        if (!computesOnProcessor(engine, sample)) return undefined;
        const bytesPerSecond = await (bandwidth ??= bandwidthOf(sample));
        const activeBytes = activeBytesOf(model);
        if (activeBytes === undefined || bytesPerSecond === undefined) return undefined;
        return expectedTokensPerSecond(bytesPerSecond, activeBytes);
      };
    },
  };
}

/** One that may use cards does where there is none. */
function computesOnProcessor(
  { usesCards, memoryDomain }: Pick<Engine, "usesCards" | "memoryDomain">,
  { gpus }: MemorySample,
) {
  return usesCards !== true || (memoryDomain === "local" && gpus.length === 0);
}

/** What a suggestion depends on. Bytes. */
interface SuggestionMachine {
  readonly availableBytes: number;
  /** `memory.bufferBytes` */
  readonly bufferBytes: number;
  /** `memory.maxBytes` */
  readonly maxBytes?: number | undefined;
  /** Effective bandwidth of main memory, bytes per second (`ramBandwidth`, or observed); absent if unknown. */
  readonly ramBytesPerSecond?: number | undefined;
  /** Graphics cards that the engines use. */
  readonly cards?: readonly { readonly name: string; readonly totalBytes: number; readonly freeBytes?: number }[];
  /** Whether an Ollama on this machine responds. */
  readonly hasOllama?: boolean;
}

/** About the speed at which people read. */
const leastTokensPerSecond = 8;
/** A larger download is suggested only where a speed is known: two cores may be all that there is. */
const mostUnmeasuredBytes = 4e9;
/** The quick model reads this many times fewer bytes per token, and is smaller, too. */
const quickFactor = 2.5;

/** A model of the table on this machine. */
type Measured = ReturnType<typeof measure>;

/**
 * The strongest model that fits and is expected to reach 8 tokens/s, else the quickest that fits; beside it one that is
 * clearly quicker, and one that reads images. Strength is the geometric mean of all and active parameters, which
 * ranks mixtures of experts beside dense models.
 */
export function suggestModels(machine: SuggestionMachine): ModelSuggestion {
  const measured = usable(({ name }) => !isCodeName(name), machine);
  const fitting = measured.filter(isFitting);
  const best = bestOf(fitting);
  if (best === undefined) return nothingFits(measured, machine);
  const quick = fitting.find(
    ({ model }) => model.activeBytes * quickFactor <= best.model.activeBytes && model.sizeBytes < best.model.sizeBytes,
  );
  const vision = best.model.hasVision ? undefined : bestOf(fitting.filter(({ model }) => model.hasVision));
  return {
    ...described(best),
    alternatives: [
      ...(quick === undefined ? [] : [{ kind: "quick" as const, ...described(quick) }]),
      ...(vision === undefined || vision === quick ? [] : [{ kind: "vision" as const, ...described(vision) }]),
    ],
  };
}

type Download = Awaited<ReturnType<NonNullable<EngineLibrary["downloadOf"]>>>;

/** What is known of a model before it is pulled: `2.5 GB download, ...`. Without a row all follows from the size. */
function describeDownload(name: string, machine: SuggestionMachine, download?: Download): string | undefined {
  const known = firstModel(name);
  if (known !== undefined || download === undefined) return known && reasonOf(measure(known, machine));
  const { sizeBytes, host: source } = download;
  const activeBytes = activeBytesOf({ name, sizeBytes }) ?? sizeBytes;
  const unknown = { parameters: 0, activeParameters: 0, hasVision: false, runsEmbedded: true };
  const measured = measure({ name, sizeBytes, activeBytes, source, ...unknown }, machine);
  const verdict = measured.fits ? "" : ", does not fit";
  return `${reasonOf(measured)}${verdict}; the size is from ${source}, the rest estimated from it`;
}

/** A model that reads images and runs here. */
function suggestVisionModel(machine: SuggestionMachine): SuggestedModel | undefined {
  const best = bestOf(usable(({ hasVision }) => hasVision, machine).filter(isFitting));
  return best && { name: best.model.name, reason: reasonOf(best) };
}

/** Fewer requests say little about what is needed. */
const leastRequests = 20;
/** The share of requests about code for which a model of its own is worth a download. */
const leastShare = 0.2;

/**
 * About a model for code, where many requests are about it. Nothing while an installed model may be good at it: one that was
 * made for it, a general one that is as strong at it, or one of which nothing is known.
 */
export function codeAdvice(
  known: {
    /** With their requests of each of the last 30 days. */
    readonly tasks: readonly Pick<NamedFigures, "name" | "history">[];
    /** On all engines that may be used. */
    readonly models: readonly Parameters<typeof strengthAt>[0][];
    /** No engine is silent. */
    readonly areAllKnown: boolean;
  },
  machine: SuggestionMachine,
): readonly Advice[] {
  const { tasks, models, areAllKnown } = known;
  const share = codeShare(tasks);
  const best = bestOf(usable(({ name }) => isCodeName(name), machine).filter(isFitting));
  if (best === undefined || !areAllKnown || share === undefined) return [];
  const { name, parameters, ...size } = best.model;
  const row = { ...describeFromDatabase(name), ...size, parameterCount: parameters * 1e9, model: name, isKnown: true };
  const mayBeGood = (model: (typeof models)[number]) =>
    !model.isKnown || model.profiles.includes("code") || strengthAt(model, "code") >= strengthAt(row, "code");
  if (models.some((model) => model.capabilities.includes("completion") && mayBeGood(model))) return [];
  return [
    {
      kind: "lacking",
      subject: name,
      text: `${Math.round(100 * share.ofCode)} % of ${counted(share.all, "request")} of the last 30 days were about code, and no installed model was made for it; ${name} was, and fits: ${reasonOf(best)}`,
      next: { step: "pullModel", model: name },
    },
  ];
}

/** The share of requests that is about code; undefined if few are, or few are counted. */
function codeShare(tasks: Parameters<typeof codeAdvice>[0]["tasks"]) {
  const requestsOf = (some: typeof tasks) => some.flatMap(({ history }) => history).reduce((a, b) => a + b, 0);
  const all = requestsOf(tasks);
  const ofCode = requestsOf(tasks.filter(({ name }) => profileForTask(name as Task, "general") === "code")) / all;
  return all < leastRequests || ofCode < leastShare ? undefined : { ofCode, all };
}

/** Those that an engine here runs, the strongest first. */
function usable(
  isMeant: (model: (typeof firstModels)[number]) => boolean,
  machine: SuggestionMachine,
): readonly Measured[] {
  return firstModels
    .filter((model) => (model.runsEmbedded || machine.hasOllama === true) && isMeant(model))
    .map((model) => measure(model, machine))
    .toSorted((a, b) => strength(b) - strength(a));
}

function isFitting({ fits, isSpeedKnown, model }: Measured): boolean {
  return fits && (isSpeedKnown || model.sizeBytes <= mostUnmeasuredBytes);
}

function measure(model: (typeof firstModels)[number], machine: SuggestionMachine) {
  const { availableBytes, bufferBytes, maxBytes = Number.POSITIVE_INFINITY, ramBytesPerSecond, cards = [] } = machine;
  const loadedBytes = sizeRuleBytes(model.sizeBytes);
  const card = cards
    .map((each) => ({ ...each, freeBytes: each.freeBytes ?? each.totalBytes }))
    .filter(({ freeBytes }) => loadedBytes <= Math.min(freeBytes, maxBytes))
    .toSorted((a, b) => cardBandwidth(b.name) - cardBandwidth(a.name))[0];
  if (card !== undefined) {
    return {
      model,
      loadedBytes,
      neededBytes: loadedBytes,
      fits: true,
      /** Free memory that it would use, with its name if it is a card. */
      memory: `${formatBytes(card.freeBytes)} free on ${card.name}`,
      tokensPerSecond: expectedTokensPerSecond(cardBandwidth(card.name), model.activeBytes),
      isSpeedKnown: true,
    };
  }
  const neededBytes = Math.max(loadedBytes, model.sizeBytes + bufferBytes);
  return {
    model,
    loadedBytes,
    neededBytes,
    fits: loadedBytes <= maxBytes && neededBytes < availableBytes,
    memory: `${formatBytes(availableBytes)} available`,
    tokensPerSecond: expectedTokensPerSecond(ramBytesPerSecond ?? assumedBytesPerSecond, model.activeBytes),
    isSpeedKnown: ramBytesPerSecond !== undefined,
  };
}

function strength({ model }: Measured): number {
  return Math.sqrt(model.parameters * model.activeParameters);
}

function isQuickEnough({ tokensPerSecond }: Measured): boolean {
  return tokensPerSecond >= leastTokensPerSecond;
}

/** The strongest that is quick enough, else the quickest; `measured` begins with the strongest. */
function bestOf(measured: readonly Measured[]): Measured | undefined {
  return measured.find(isQuickEnough) ?? measured.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];
}

function described(measured: Measured): SuggestedModel {
  const slow = isQuickEnough(measured)
    ? ""
    : `; no model that fits reaches ${leastTokensPerSecond} tokens/s on this machine`;
  return { name: measured.model.name, reason: `${reasonOf(measured)}${slow}` };
}

function reasonOf({ model, loadedBytes, neededBytes, memory, tokensPerSecond, isSpeedKnown }: Measured): string {
  // Two digits: it is an expectation.
  const shown = Number(tokensPerSecond.toPrecision(tokensPerSecond < 1 ? 1 : 2));
  const speed = isSpeedKnown ? `, about ${shown} tokens/s` : "";
  const licence = model.licence === undefined ? "" : `, ${model.licence}`;
  return `${formatBytes(model.sizeBytes)} download, ${formatNeed(loadedBytes, neededBytes)} (${memory})${speed}${licence}`;
}

function nothingFits(measured: readonly Measured[], { availableBytes }: SuggestionMachine): ModelSuggestion {
  const smallest = measured.reduce((a, b) => (b.model.sizeBytes < a.model.sizeBytes ? b : a));
  const needed = formatNeed(smallest.loadedBytes, smallest.neededBytes);
  const reason = `the smallest known (${formatBytes(smallest.model.sizeBytes)}); it ${needed} (memory.bufferBytes), and ${formatBytes(availableBytes)} are available`;
  return { name: smallest.model.name, reason, alternatives: [] };
}
