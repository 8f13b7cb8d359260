import type { ClassifiedTask } from "../../src/orchestrator/api/types.ts";
import type { taskFeatures } from "../../src/orchestrator/routing/classify.ts";

type ClassifiedText = Parameters<typeof taskFeatures>[0];

/** A prompt whose class is known. */
export interface Labelled extends ClassifiedText {
  readonly task: ClassifiedTask;
  /** What it was made from: prompts of one group are near-duplicates, and are all trained on or all held out. */
  readonly group: string;
}

/** Reproducible numbers from 0 to 1 (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A reproducible number for a name. */
export function seedOf(name: string): number {
  let hash = 7;
  for (const character of name) hash = (Math.imul(hash, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash;
}

/** What is never trained on, and the rest. */
export const splitHeldOut = (prompts: readonly Labelled[]): Split => split(prompts, 0.2, "held out");

export interface Split {
  readonly rest: readonly Labelled[];
  readonly heldOut: readonly Labelled[];
}

/**
 * Whole groups, chosen by their name alone, until they are a `share` of their class's prompts; and the rest. What is held
 * out does not change when other groups are added or removed around it, except at the border.
 */
export function split(prompts: readonly Labelled[], share: number, salt: string): Split {
  const heldOutGroups = new Set<string>();
  for (const task of new Set(prompts.map((prompt) => prompt.task))) {
    const ofTask = prompts.filter((prompt) => prompt.task === task);
    const groups = grouped(ofTask);
    const order = [...groups.keys()].toSorted(
      (a, b) => randomNumbers(seedOf(salt + a))() - randomNumbers(seedOf(salt + b))() || (a < b ? -1 : 1),
    );
    let count = 0;
    for (const group of order) {
      if (count >= share * ofTask.length) break;
      const size = groups.get(group)?.length ?? 0;
      // A group that would take far more than its share is trained on.
      if (count + size > 2 * share * ofTask.length) continue;
      heldOutGroups.add(group);
      count += size;
    }
  }
  return {
    rest: prompts.filter((prompt) => !heldOutGroups.has(prompt.group)),
    heldOut: prompts.filter((prompt) => heldOutGroups.has(prompt.group)),
  };
}

/** The prompts of each group. */
export function grouped(prompts: readonly Labelled[]): ReadonlyMap<string, readonly Labelled[]> {
  const groups = new Map<string, Labelled[]>();
  for (const prompt of prompts) {
    const group = groups.get(prompt.group);
    if (group === undefined) groups.set(prompt.group, [prompt]);
    else group.push(prompt);
  }
  return groups;
}

/** The text of a file, by its path in the folder of sources. */
export type Read = (path: string) => Promise<string>;

export function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, index) => items[Math.floor((index * items.length) / count)] as T);
}

/** RFC 4180. */
export function parseCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  for (const [, quoted, plain = "", end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    if (rows.length === 0) rows.push([]);
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end !== ",") rows.push([]);
  }
  return rows;
}
