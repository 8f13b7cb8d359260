import type { ReservedOutputs } from "./compute.ts";

/** What observed sizes say of one build of an engine (host and version): engine builds differ by a factor of five. */
export interface ComputeCalibration {
  readonly outputs: ReservedOutputs;
  /** The formula's compute bytes times this. */
  readonly scale: number;
  /** How many sizes it was learned from; 0: nothing is known. */
  readonly observations: number;
  /** Largest relative distance of an observation from the scaled formula. */
  readonly spread: number;
}

/** Of one loaded model: what was left for compute, and what the formula says for either habit of a build. */
export interface ComputeObservation {
  readonly observedBytes: number;
  readonly batchBytes: number;
  readonly sequencesBytes: number;
}

/** Logits for the whole batch: the more careful of the two. */
export const unobserved: ComputeCalibration = { outputs: "batch", scale: 1, observations: 0, spread: 0 };

/** Beyond this it is not the compute buffer that was misjudged: a cache of another type, more sequences, weights elsewhere. */
const plausible = { least: 0.4, most: 2.5 };

/** Formulas of the two habits that are closer than this can't be told apart by an observation. */
const significantRatio = 1.25;
/** Share of the careful formula below which an observation speaks for the other one: it was never that much too high. */
const clearlyLess = 0.8;

/**
 * Fits one scale for the compute term under the habit of reserving logits that the observations speak for. One that
 * neither habit explains within a factor of 2.5 is left out, and where all others fit either (a small vocabulary, a
 * wide block) nothing is known of the build: only a scale above 1 is kept of them.
 *
 * The scale is the largest of the rest, and never below 1: what lies below the formula says something of the model and
 * the context that were seen, and would have others underrated. It widens the spread instead.
 */
export function calibrate(observations: readonly ComputeObservation[]): ComputeCalibration {
  const votes = observations.flatMap((observation) => habitOf(observation) ?? []);
  const few = votes.filter((habit) => habit === "sequences").length;
  // Of contradicting ones the careful habit wins.
  const outputs: ReservedOutputs = few * 2 > votes.length ? "sequences" : "batch";
  const ratios = observations.map((observation) => ratioTo(outputs, observation)).filter(isPlausible);
  const scale = Math.max(1, ...ratios);
  if (ratios.length === 0 || votes.length === 0) return { ...unobserved, scale };
  return { outputs, scale, observations: ratios.length, spread: 1 - Math.min(...ratios) / scale };
}

/** Which habit an observation speaks for; undefined where it fits both or neither. */
function habitOf(observation: ComputeObservation): ReservedOutputs | undefined {
  const { observedBytes, batchBytes, sequencesBytes } = observation;
  const [toBatch, toSequences] = [ratioTo("batch", observation), ratioTo("sequences", observation)];
  if (!isPlausible(toBatch) && !isPlausible(toSequences)) return undefined;
  if (batchBytes < sequencesBytes * significantRatio) return undefined;
  const isLess = observedBytes < batchBytes * clearlyLess;
  return isLess && Math.abs(Math.log(toSequences)) < Math.abs(Math.log(toBatch)) ? "sequences" : "batch";
}

const ratioTo = (outputs: ReservedOutputs, { observedBytes, batchBytes, sequencesBytes }: ComputeObservation): number =>
  observedBytes / (outputs === "batch" ? batchBytes : sequencesBytes);

const isPlausible = (ratio: number): boolean => ratio >= plausible.least && ratio <= plausible.most;
