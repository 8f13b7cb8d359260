/** What could be tidied up, with its numbers: pure. */
import type { UnusedModel } from "../api/facade-metrics.ts";
import type { Advice } from "../api/facade-status.ts";
import { advice } from "../api/next-step.ts";
import { formatPath } from "../config/paths.ts";
import { oneLine } from "../util/control-characters.ts";
import { counted, formatBytes } from "../util/format-bytes.ts";

/** A model on this machine. */
export interface OwnModel {
  readonly name: string;
  readonly engine: string;
  /** On disk. */
  readonly sizeBytes: number;
  /** Absent: unknown. Milliseconds since the epoch, as below. */
  readonly installedMs?: number;
  /** In all days that are kept; absent: none is known. */
  readonly lastUsedMs?: number;
  /** It is loaded, pinned, named in a setting, being pulled, or needed for memories. */
  readonly isInUse: boolean;
  /** What must be free to load it, with what models on this machine may have in all; absent where that is unknown. */
  readonly load?: { readonly neededBytes: number; readonly capacityBytes: number };
  /** A context that a setting or the model asks for; absent: the default. */
  readonly context?: {
    readonly tokens: number;
    /** The largest prompt with its answer. */
    readonly usedTokens: number;
    readonly requests: number;
    /** The next smaller context that holds it. */
    readonly enoughTokens: number;
    /** Memory that it would free. */
    readonly savedBytes: number;
  };
}

export interface AdviceFacts {
  readonly nowMs: number;
  /** Since when uses are counted. */
  readonly sinceMs: number;
  readonly models: readonly OwnModel[];
  /** Short calls to engines. */
  readonly connections: readonly { readonly engine: string; readonly limit: number; readonly most: number }[];
}

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
    ...unusedAdvice(unusedModels(facts).filter((model) => model.unusedDays >= unusedDays)),
    ...facts.models.flatMap(sizeAdvice),
    ...facts.models.flatMap(contextAdvice),
    ...facts.connections.flatMap(poolAdvice),
  ];
}

function unusedAdvice(models: readonly UnusedModel[]): readonly Advice[] {
  const [first] = models;
  if (first === undefined) return [];
  const bytes = models.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const names = models.slice(0, shownNames).map(({ name }) => oneLine(name));
  const more = models.length > names.length ? [`${models.length - names.length} more`] : [];
  const [was, take] = models.length === 1 ? ["was", "takes"] : ["were", "take"];
  return [
    {
      kind: "unused",
      subject: first.name,
      text: `${counted(models.length, "model")} ${was} not used for ${unusedDays} days and ${take} ${formatBytes(bytes)} on disk: ${[...names, ...more].join(", ")}`,
      next: { step: "tidyModels" },
      bytes,
    },
  ];
}

function sizeAdvice({ name, sizeBytes, load }: OwnModel): readonly Advice[] {
  if (load === undefined || load.neededBytes <= load.capacityBytes) return [];
  return [
    {
      kind: "too_large",
      subject: name,
      text: `${oneLine(name)} does not fit on this machine, even with nothing else loaded: it needs ${formatBytes(load.neededBytes)}, and models may use ${formatBytes(load.capacityBytes)}`,
      next: { step: "deleteModel", model: name },
      bytes: sizeBytes,
    },
  ];
}

function contextAdvice({ name, context }: OwnModel): readonly Advice[] {
  if (context === undefined || context.requests < leastRequests || context.savedBytes < worthwhileBytes) return [];
  if (context.enoughTokens >= context.tokens) return [];
  return [
    {
      kind: "context",
      subject: name,
      text: `${oneLine(name)} is loaded with a context of ${context.tokens} tokens, and its largest of ${counted(context.requests, "request")} took ${context.usedTokens}: ${context.enoughTokens} would free ${formatBytes(context.savedBytes)} of memory`,
      next: {
        step: "changeSetting",
        setting: formatPath(["models", name, "contextTokens"]),
        to: String(context.enoughTokens),
      },
    },
  ];
}

function poolAdvice({ engine, limit, most }: AdviceFacts["connections"][number]): readonly Advice[] {
  if (most <= limit) return [];
  return [
    {
      kind: "pool",
      subject: engine,
      text: `${oneLine(engine)} had up to ${most} short calls at once for ${counted(limit, "connection")}: ${most - limit} had to wait`,
      next: advice("raise the number of connections in the settings of this engine"),
    },
  ];
}
