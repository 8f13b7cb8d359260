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

/**
 * Fits one scale for the compute term, under whichever habit of reserving logits explains the observations better.
 * Observations that neither explains within a factor of 2.5 are left out; without any others nothing is known.
 *
 * The scale is the largest of the rest, and never below 1: what lies below the formula says something of the model and
 * the context that were seen, and would have others underrated. It widens the spread instead.
 */
export function calibrate(observations: readonly ComputeObservation[]): ComputeCalibration {
  const fits = (["batch", "sequences"] as const).map((outputs) => {
    const ratios = observations
      .map(({ observedBytes, batchBytes, sequencesBytes }) =>
        outputs === "batch" ? observedBytes / batchBytes : observedBytes / sequencesBytes,
      )
      .filter((ratio) => ratio >= plausible.least && ratio <= plausible.most);
    const distance = ratios.reduce((sum, ratio) => sum + Math.abs(Math.log(ratio)), 0);
    return { outputs, ratios, distance: distance / Math.max(1, ratios.length) };
  });
  const best = fits.reduce((a, b) =>
    b.ratios.length > a.ratios.length || (b.ratios.length === a.ratios.length && b.distance < a.distance) ? b : a,
  );
  if (best.ratios.length === 0) return unobserved;
  const scale = Math.max(1, ...best.ratios);
  return {
    outputs: best.outputs,
    scale,
    observations: best.ratios.length,
    spread: 1 - Math.min(...best.ratios) / scale,
  };
}
