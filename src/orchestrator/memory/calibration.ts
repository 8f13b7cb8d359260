import type { ReservedOutputs } from "./compute.ts";

/**
 * Correction of the compute formula for one build of an engine (host and version), learned from observed sizes. Builds
 * differ by up to a factor of five.
 */
export interface ComputeCalibration {
  readonly outputs: ReservedOutputs;
  /** Factor for the formula's compute bytes. */
  readonly scale: number;
  /** Number of observations that it was learned from; 0: nothing is known. */
  readonly observations: number;
  /** Largest relative distance of an observation from the scaled formula. */
  readonly spread: number;
}

/** The compute buffer of one loaded model as observed, and as computed for both kinds of reserved outputs. */
export interface ComputeObservation {
  readonly observedBytes: number;
  readonly batchBytes: number;
  readonly sequencesBytes: number;
}

/** Without observations: logits for the whole batch, the larger of the two. */
export const unobserved: ComputeCalibration = { outputs: "batch", scale: 1, observations: 0, spread: 0 };

/**
 * Ratios outside this range have another cause than the compute buffer: another cache type, more sequences, offloaded
 * weights.
 */
const plausible = { min: 0.4, max: 2.5 };

/** Below this ratio of the two formulas, an observation can't tell them apart. */
const significantRatio = 1.25;
/** Observations below this share of the larger formula count for the smaller one. */
const clearlyLess = 0.8;

/**
 * Determines from the observations for which tokens a build reserves logits, and one scale for its compute term.
 * Observations that neither formula explains within a factor of 2.5 are ignored. If all others fit both formulas (a
 * small vocabulary, a wide block), nothing is known about the build: only a scale above 1 is kept.
 *
 * The scale is the largest observed ratio, at least 1. A ratio below 1 is specific to the observed model and context,
 * and would underestimate others; it widens the spread instead.
 */
export function calibrate(observations: readonly ComputeObservation[]): ComputeCalibration {
  const votes = observations.flatMap((observation) => indicatedOutputs(observation) ?? []);
  const few = votes.filter((vote) => vote === "sequences").length;
  // The larger formula wins a tie.
  const outputs: ReservedOutputs = few * 2 > votes.length ? "sequences" : "batch";
  const ratios = observations.map((observation) => ratioTo(outputs, observation)).filter(isPlausible);
  const scale = Math.max(1, ...ratios);
  if (ratios.length === 0 || votes.length === 0) return { ...unobserved, scale };
  return { outputs, scale, observations: ratios.length, spread: 1 - Math.min(...ratios) / scale };
}

/** Which outputs an observation indicates; undefined if it fits both formulas or neither. */
function indicatedOutputs(observation: ComputeObservation): ReservedOutputs | undefined {
  const { observedBytes, batchBytes, sequencesBytes } = observation;
  const [toBatch, toSequences] = [ratioTo("batch", observation), ratioTo("sequences", observation)];
  if (!isPlausible(toBatch) && !isPlausible(toSequences)) return undefined;
  if (batchBytes < sequencesBytes * significantRatio) return undefined;
  const isLess = observedBytes < batchBytes * clearlyLess;
  return isLess && Math.abs(Math.log(toSequences)) < Math.abs(Math.log(toBatch)) ? "sequences" : "batch";
}

const ratioTo = (outputs: ReservedOutputs, { observedBytes, batchBytes, sequencesBytes }: ComputeObservation): number =>
  observedBytes / (outputs === "batch" ? batchBytes : sequencesBytes);

const isPlausible = (ratio: number): boolean => ratio >= plausible.min && ratio <= plausible.max;
