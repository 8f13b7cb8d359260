import type { ModelSuggestion, SuggestedModel } from "../api/facade.ts";
import { sizeRuleBytes } from "../memory/estimate.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { cardBandwidth, expectedTokensPerSecond } from "./expected-speed.ts";
import { firstModel, firstModels, type FirstModel } from "./first-models.ts";

/** What a suggestion depends on. Bytes. */
export interface SuggestionMachine {
  readonly availableBytes: number;
  /** `memory.bufferBytes` */
  readonly bufferBytes: number;
  /** Effective bandwidth of main memory, bytes per second (`ramBandwidth`, or observed); absent if unknown. */
  readonly ramBytesPerSecond?: number | undefined;
  /** Graphics cards that the engines use. */
  readonly cards?: readonly { readonly name: string; readonly totalBytes: number; readonly freeBytes?: number }[];
  /** Whether an Ollama on this machine responds. */
  readonly hasOllama?: boolean;
}

/** About the speed at which people read. */
const leastTokensPerSecond = 8;
/** The quick model reads this many times fewer bytes per token, and is smaller, too. */
const quickFactor = 2.5;
/** For the choice alone, if no speed is known: a notebook with two memory channels. */
const assumedBytesPerSecond = 20e9;

/** A model of the table on this machine. */
interface Measured {
  readonly model: FirstModel;
  readonly neededBytes: number;
  readonly fits: boolean;
  /** Free memory that it would use, with its name if it is a card. */
  readonly memory: string;
  readonly tokensPerSecond: number;
  readonly isSpeedKnown: boolean;
}

/**
 * The strongest model that fits and is expected to reach 8 tokens/s, else the quickest that fits; beside it one that is
 * clearly quicker, and one that reads images. Strength is the geometric mean of all and active parameters, which
 * ranks mixtures of experts beside dense models.
 */
export function suggestModels(machine: SuggestionMachine): ModelSuggestion {
  const usable = firstModels.filter(({ runsEmbedded }) => runsEmbedded || machine.hasOllama === true);
  const measured = usable.map((model) => measure(model, machine)).toSorted((a, b) => strength(b) - strength(a));
  const fitting = measured.filter(({ fits }) => fits);
  const best = fitting.find(isQuickEnough) ?? quickest(fitting);
  if (best === undefined) return nothingFits(measured, machine);
  const quick = fitting.find(
    ({ model }) => model.activeBytes * quickFactor <= best.model.activeBytes && model.sizeBytes < best.model.sizeBytes,
  );
  const withVision = fitting.filter(({ model }) => model.hasVision);
  const vision = best.model.hasVision ? undefined : (withVision.find(isQuickEnough) ?? quickest(withVision));
  return {
    ...described(best),
    alternatives: [
      ...(quick === undefined ? [] : [{ kind: "quick" as const, ...described(quick) }]),
      ...(vision === undefined || vision === quick ? [] : [{ kind: "vision" as const, ...described(vision) }]),
    ],
  };
}

/** What is known of a model before it is pulled: `2.5 GB download, ...`; undefined for models without a row. */
export function describeDownload(name: string, machine: SuggestionMachine): string | undefined {
  const model = firstModel(name);
  return model && reasonOf(measure(model, machine));
}

/** A model that reads images and runs here. */
export function suggestVisionModel(machine: SuggestionMachine): string | undefined {
  const { alternatives, ...best } = suggestModels(machine);
  const hasBestVision = firstModels.some(({ name, hasVision }) => hasVision && name === best.name);
  return hasBestVision ? best.name : alternatives.find(({ kind }) => kind === "vision")?.name;
}

function measure(model: FirstModel, machine: SuggestionMachine): Measured {
  const { availableBytes, bufferBytes, ramBytesPerSecond, cards = [] } = machine;
  const loadedBytes = sizeRuleBytes(model.sizeBytes);
  const card = cards
    .map((each) => ({ ...each, freeBytes: each.freeBytes ?? each.totalBytes }))
    .filter(({ freeBytes }) => loadedBytes <= freeBytes)
    .toSorted((a, b) => cardBandwidth(b.name) - cardBandwidth(a.name))[0];
  if (card !== undefined) {
    return {
      model,
      neededBytes: loadedBytes,
      fits: true,
      memory: `${formatBytes(card.freeBytes)} free on ${card.name}`,
      tokensPerSecond: expectedTokensPerSecond(cardBandwidth(card.name), model.activeBytes),
      isSpeedKnown: true,
    };
  }
  const neededBytes = Math.max(loadedBytes, model.sizeBytes + bufferBytes);
  return {
    model,
    neededBytes,
    fits: neededBytes < availableBytes,
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

function quickest(measured: readonly Measured[]): Measured | undefined {
  return measured.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];
}

function described(measured: Measured): SuggestedModel {
  const slow = isQuickEnough(measured)
    ? ""
    : `; no model that fits reaches ${leastTokensPerSecond} tokens/s on this machine`;
  return { name: measured.model.name, reason: `${reasonOf(measured)}${slow}` };
}

function reasonOf({ model, neededBytes, memory, tokensPerSecond, isSpeedKnown }: Measured): string {
  const speed = isSpeedKnown ? `, about ${shown(tokensPerSecond)} tokens/s` : "";
  const licence = model.licence === undefined ? "" : `, ${model.licence}`;
  return `${formatBytes(model.sizeBytes)} download, needs ${formatBytes(neededBytes)} of the ${memory}${speed}${licence}`;
}

/** Two digits: it is an expectation. */
function shown(tokensPerSecond: number): string {
  return String(Number(tokensPerSecond.toPrecision(tokensPerSecond < 1 ? 1 : 2)));
}

function nothingFits(measured: readonly Measured[], { availableBytes }: SuggestionMachine): ModelSuggestion {
  const smallest = measured.reduce((a, b) => (b.model.sizeBytes < a.model.sizeBytes ? b : a));
  const needed = formatBytes(smallest.neededBytes);
  const reason = `the smallest known (${formatBytes(smallest.model.sizeBytes)}); it needs ${needed} with memory.bufferBytes, and ${formatBytes(availableBytes)} are available`;
  return { name: smallest.model.name, reason, alternatives: [] };
}
