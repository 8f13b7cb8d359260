/** A model as a trace knows it. */
export interface TraceModel {
  readonly name: string;
  /** Everything it occupies. */
  readonly bytes: number;
  readonly loadSeconds: number;
}

/** Requests are numbers of models. */
export interface Machine {
  readonly models: readonly TraceModel[];
  readonly capacityBytes: number;
}

/** Throws when there is no model of that number. */
export function modelAt(models: readonly TraceModel[], index: number): TraceModel {
  const model = models[index];
  if (model === undefined) throw new Error(`there is no model ${index}`);
  return model;
}

/** A number from 0 to below 1. */
export type Random = () => number;

export const gib = 1024 ** 3;

/** The same sequence for the same seed on every machine (mulberry32, Tommy Ettinger). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fisher–Yates. */
export function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other] as Item, result[last] as Item];
  }
  return result;
}

/** The number of a weight, drawn in proportion to it. */
export function draw(weights: readonly number[], random: Random): number {
  let left = random() * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [index, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return index;
  }
  return weights.length - 1;
}

/** What people run, in GiB at a context of some thousand tokens: from 0.6 to 32 billion parameters at four bits. */
const sizesGib = [0.6, 1.3, 2.0, 3.3, 4.7, 5.2, 7.8, 9.0, 11.5, 13.2, 15.9, 18.5] as const;
/** An engine's start, then the file at 1.25 GiB/s, the same disk for all models. */
const startSeconds = 1.5;
const secondsPerGib = 0.8;

/** `count` of the sizes, including the smallest and the largest, in shuffled order. */
export function drawModels(count: number, random: Random): readonly TraceModel[] {
  const between = shuffled(sizesGib.slice(1, -1), random).slice(0, count - 2);
  return shuffled([sizesGib[0], ...between, sizesGib[11]], random).map((size, index) => ({
    name: `model${index}`,
    bytes: Math.round(size * gib),
    loadSeconds: startSeconds + size * secondsPerGib,
  }));
}
