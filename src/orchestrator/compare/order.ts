import { formatBytes } from "../text/format-bytes.ts";

/** What is known of a model before the comparison begins. */
export interface Contestant {
  readonly model: string;
  readonly engine: string;
  /** Models of one domain share cores and memory; `local` is this machine. */
  readonly domain: string;
  readonly isLoaded: boolean;
  readonly fits: boolean;
  /** Names of models that are unloaded to make room. */
  readonly evicts: readonly string[];
  /** What it will take in memory. */
  readonly bytes: number;
}

export interface Order<Entry extends Contestant> {
  /** Lanes run beside each other, the models of one lane one after the other. */
  readonly lanes: readonly (readonly Entry[])[];
  /** Which order, and why. */
  readonly sentence: string;
}

/**
 * The order with the least loading. Models that share cores run one after the other; of each lane
 *
 * 1. those that are loaded, before anything can unload them: each model is loaded once at most;
 * 2. those that fit beside everything, the smallest first;
 * 3. those that something has to make room for, the largest last: what it unloads has answered by then;
 * 4. those that don't seem to fit, which fail without unloading anything if it is so.
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
  const told = lanes.map(laneWords);
  if (told.length < 2) return told[0] ?? "";
  return `beside each other, because they share no cores: ${told.join("; beside that ")}`;
}

function laneWords(lane: readonly Contestant[]): string {
  const [only] = lane;
  if (lane.length === 1 && only !== undefined) return `${only.model} on ${only.engine} (${why(only)})`;
  const names = lane.map((entry) => `${entry.model} (${why(entry)})`);
  return `one after the other, because they share cores, with the least loading: ${names.join(", then ")}`;
}

function why(entry: Contestant): string {
  if (entry.isLoaded) return "loaded already";
  const size = entry.bytes > 0 ? `, ${formatBytes(entry.bytes)}` : "";
  switch (stepOf(entry)) {
    case 4:
      return `seems not to fit${size}`;
    case 3:
      return `unloads ${entry.evicts.join(" and ")}${size}`;
    default:
      return entry.bytes > 0 ? `fits beside what is loaded${size}` : "takes no memory here";
  }
}
