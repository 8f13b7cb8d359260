import type { Machine } from "./machine.ts";
import type { Replayed } from "./rivals.ts";
import { has, type ResidentSet, type ResidentSets } from "./resident-sets.ts";

/** A second of reload after a thousand further requests is worth a third of one now: nearly the average cost. */
const discount = 0.999;
/** Sweeps end when no value changes by more than this part of a reload second. */
const tolerance = 0.02;
const mostSweeps = 2_000;

/**
 * The best policy that knows how requests are drawn (independently, in proportion to `weights`), but not which: value
 * iteration over the resident sets. A request for the model of the last one is a hit for every policy, so sticky
 * sessions, whose next model is drawn the same way, have the same best policy.
 */
export function createBestOnline(machine: Machine, weights: readonly number[], sets: ResidentSets): Replayed {
  const { models } = machine;
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const chances = models.map((_unused, model) => (weights[model] ?? 0) / total);
  const states: ResidentSet[] = [0];
  const indexOf = new Map<ResidentSet, number>([[0, 0]]);
  /** State → model that it lacks → states to choose from. */
  const choices: (readonly number[])[][] = [];
  for (let state = 0; state < states.length; state += 1) {
    const set = states[state] ?? 0;
    choices[state] = models.map((_unused, model) => {
      if (has(set, model)) return [];
      return sets.after(set, model).map((after) => {
        const known = indexOf.get(after);
        if (known !== undefined) return known;
        indexOf.set(after, states.length);
        states.push(after);
        return states.length - 1;
      });
    });
  }

  const values = new Float64Array(states.length);
  const bestOf = (options: readonly number[]) =>
    options.reduce((best, option) => ((values[option] ?? 0) < (values[best] ?? 0) ? option : best), options[0] ?? 0);
  for (let sweep = 0, change = Infinity; change > tolerance && sweep < mostSweeps; sweep += 1) {
    change = 0;
    // Full sets first, the empty one last: each is worth what the sets after it are.
    for (let state = states.length - 1; state >= 0; state -= 1) {
      let [cost, staying] = [0, 0];
      for (const [model, chance] of chances.entries()) {
        const options = choices[state]?.[model] ?? [];
        if (options.length === 0) staying += chance;
        else cost += chance * ((models[model]?.loadSeconds ?? 0) + discount * (values[bestOf(options)] ?? 0));
      }
      const value = cost / (1 - discount * staying);
      change = Math.max(change, Math.abs(value - (values[state] ?? 0)));
      values[state] = value;
    }
  }

  let state = 0;
  return {
    serve(model) {
      const options = choices[state]?.[model] ?? [];
      if (options.length === 0) return 0;
      state = bestOf(options);
      return models[model]?.loadSeconds ?? 0;
    },
  };
}
