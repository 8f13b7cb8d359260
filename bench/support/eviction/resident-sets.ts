import type { Machine } from "./machine.ts";

/** A set of models, bit by bit: model n is in it when bit n is set. */
export type ResidentSet = number;

export interface ResidentSets {
  /**
   * What may be resident after `model`, which isn't in `set`, was loaded: the largest sets of both that fit and hold it.
   * Giving up more than is needed is never better, since it can still be given up later.
   */
  after(set: ResidentSet, model: number): readonly ResidentSet[];
}

/** Bits of a number that are shifted without a sign. */
export const mostModels = 30;

export function createResidentSets({ models, capacityBytes }: Machine): ResidentSets {
  const known = new Map<ResidentSet, Map<number, readonly ResidentSet[]>>();
  const bytesOf = (set: ResidentSet) =>
    models.reduce((sum, { bytes }, index) => (has(set, index) ? sum + bytes : sum), 0);

  function search(full: ResidentSet, model: number): readonly ResidentSet[] {
    if (bytesOf(full) <= capacityBytes) return [full];
    const found: ResidentSet[] = [];
    const others = full & ~(1 << model);
    // Every subset of the others, from the largest number down.
    for (let part = others; ; part = (part - 1) & others) {
      const set = part | (1 << model);
      const bytes = bytesOf(set);
      const isLargest = models.every(
        (other, index) => !has(full, index) || has(set, index) || bytes + other.bytes > capacityBytes,
      );
      if (bytes <= capacityBytes && isLargest) found.push(set);
      if (part === 0) return found;
    }
  }

  return {
    after(set, model) {
      const full = set | (1 << model);
      const ofFull = known.get(full) ?? new Map<number, readonly ResidentSet[]>();
      known.set(full, ofFull);
      const answer = ofFull.get(model) ?? search(full, model);
      ofFull.set(model, answer);
      return answer;
    },
  };
}

export function has(set: ResidentSet, model: number): boolean {
  return ((set >>> model) & 1) === 1;
}
