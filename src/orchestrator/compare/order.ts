import type { GenerationWorld } from "../generation/runner.ts";
import type { Observations } from "../memory/measure/observations.ts";
import { formatBytes } from "../util/format-bytes.ts";

/** A model that takes part, as planned before the comparison begins. */
export interface Contestant {
  readonly model: string;
  readonly engine: string;
  /** Models of one domain share cores and memory; `local` is this machine. */
  readonly domain: string;
  readonly isLoaded: boolean;
  readonly fits: boolean;
  /** Names of models that would be unloaded to make room. */
  readonly evicts: readonly string[];
  /** Predicted memory. */
  readonly bytes: number;
}

interface Order<Entry extends Contestant> {
  /** Lanes run in parallel; the models of one lane run in sequence. */
  readonly lanes: readonly (readonly Entry[])[];
  /** Describes the order and the reason for it. */
  readonly sentence: string;
}

/**
 * The order with the fewest loads. Models that share cores run in sequence, in each lane:
 *
 * 1. loaded models, before anything can unload them, so that each model is loaded at most once;
 * 2. models that fit beside everything else, smallest first;
 * 3. models whose load unloads others, largest last: the unloaded models have answered by then;
 * 4. models that don't seem to fit; if they really don't, they fail without unloading anything.
 */
export function planOrder<Entry extends Contestant>(contestants: readonly Entry[]): Order<Entry> {
  const domains = new Map<string, Entry[]>();
  for (const entry of contestants) domains.set(entry.domain, [...(domains.get(entry.domain) ?? []), entry]);
  const lanes = [...domains.values()].map((lane) =>
    lane.toSorted((a, b) => stepOf(a) - stepOf(b) || a.bytes - b.bytes),
  );
  return { lanes, sentence: sentenceOf(lanes) };
}

function stepOf({ isLoaded, fits, evicts }: Contestant): number {
  if (isLoaded) return 1;
  if (!fits) return 4;
  return evicts.length === 0 ? 2 : 3;
}

function sentenceOf(lanes: readonly (readonly Contestant[])[]): string {
  const sentences = lanes.map(laneWords);
  if (sentences.length < 2) return sentences[0] ?? "";
  return `in parallel, because they share no cores: ${sentences.join("; in parallel ")}`;
}

function laneWords(lane: readonly Contestant[]): string {
  const [only] = lane;
  if (lane.length === 1 && only !== undefined) return `${only.model} on ${only.engine} (${why(only)})`;
  const names = lane.map((entry) => `${entry.model} (${why(entry)})`);
  return `in sequence, because they share cores, in the order with the fewest loads: ${names.join(", then ")}`;
}

function why(entry: Contestant): string {
  if (entry.isLoaded) return "already loaded";
  const size = entry.bytes > 0 ? `, ${formatBytes(entry.bytes)}` : "";
  switch (stepOf(entry)) {
    case 4:
      return `does not seem to fit${size}`;
    case 3:
      return `unloads ${entry.evicts.join(" and ")}${size}`;
    default:
      return entry.bytes > 0 ? `fits beside loaded models${size}` : "uses no memory here";
  }
}

/** Detects whether other requests run on the same cores while one model answers. */
interface ContentionWatch {
  /** Checks now; called at each step of the generation. */
  check(): void;
  wasContended(): boolean;
}

/** `domain` is the memory domain of the answering engine; more than one running request there is contention. */
export function watchContention(world: Pick<GenerationWorld, "queues">, domain: string): ContentionWatch {
  let wasContended = false;
  return {
    check() {
      wasContended ||= runningIn(world, domain) > 1;
    },
    wasContended: () => wasContended,
  };
}

function runningIn({ queues }: Pick<GenerationWorld, "queues">, domain: string): number {
  return queues
    .snapshot()
    .filter(({ located }) => located.engine.memoryDomain === domain)
    .reduce((sum, { running }) => sum + running, 0);
}

/** Observations that ignore speeds measured under contention, which would mislead routing. */
export function observationsWithoutContention(observations: Observations, watch: ContentionWatch): Observations {
  return {
    ...observations,
    generated(key, completionTokens, decodeMs) {
      watch.check();
      // A decode time of 0 still counts as an answer, which ends a cool-down after failures.
      if (watch.wasContended()) observations.generated(key, completionTokens, 0);
      else observations.generated(key, completionTokens, decodeMs);
    },
  };
}
