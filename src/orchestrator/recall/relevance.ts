import type { WordMatch } from "./text-index.ts";
import { endsOf, isCommon, wordsOf } from "./words.ts";

/** More words of each end of a prompt add only cost. */
const maxEndWords = 100;
const maxEndCharacters = 20_000;
/** In a prompt with more distinctive words than these, a match may be accidental. */
const shortPrompt = 30;
/** A word in more notes than these, and in more than a tenth of all, is not distinctive. */
const fewNotes = 3;
const smallPart = 0.1;
/** Matches of shorter words of a value may be accidental. */
const distinctiveLength = 5;
const enough = 1;

/** The distinctive words of a prompt, in singular and plural, without duplicates. */
export function distinctiveWords(prompt: string): readonly string[] {
  const distinctive = wordsOf(endsOf(prompt, maxEndCharacters), "asked").filter((word) => !isCommon(word));
  const words = new Set([...new Set(distinctive)].slice(0, maxEndWords));
  for (const word of new Set(distinctive.toReversed())) if (words.size < 2 * maxEndWords) words.add(word);
  const forms = [...words].flatMap((word) =>
    /^[a-z]{3,}$/.test(word) ? [word, singularOf(word), `${singularOf(word)}s`] : [word],
  );
  return [...new Set(forms)];
}

/**
 * Entries that are relevant to a prompt by its words, best first. Stricter than a search, because each result costs tokens
 * of the prompt: the weights of an entry's words must sum up to 1.
 *
 * | word of the prompt                | rare in the notes | else |
 * |-----------------------------------|-------------------|------|
 * | in the key or a tag               | 1                 | ½    |
 * | in the value, of a short prompt   | 1, from five letters on; else ½ | ¼ |
 * | in the value, of a long prompt    | ½                 | ¼    |
 */
export function relevantIds(
  words: readonly string[],
  matches: readonly WordMatch[],
  noteCount: number,
): readonly string[] {
  const notesWith = new Map<string, number>();
  for (const { fields } of matches) {
    for (const word of new Set([...fields.keys()].map(singularOf))) notesWith.set(word, (notesWith.get(word) ?? 0) + 1);
  }
  const isRare = (word: string): boolean => (notesWith.get(word) ?? 0) <= Math.max(fewNotes, noteCount * smallPart);
  const isShort = new Set(words.map(singularOf)).size <= shortPrompt;
  return matches
    .map(({ id, fields, score }) => {
      const weights = new Map<string, number>();
      for (const [form, found] of fields) {
        const word = singularOf(form);
        const weight = weightOf(word, found, isRare(word), isShort);
        weights.set(word, Math.max(weights.get(word) ?? 0, weight));
      }
      return { id, score, weight: [...weights.values()].reduce((sum, weight) => sum + weight, 0) };
    })
    .filter(({ weight }) => weight >= enough)
    .toSorted((a, b) => b.weight - a.weight || b.score - a.score)
    .map(({ id }) => id);
}

function weightOf(word: string, fields: readonly string[], isRare: boolean, isShort: boolean): number {
  if (fields.includes("key") || fields.includes("tags")) return isRare ? 1 : 0.5;
  if (!isRare) return 0.25;
  const isDistinctive = word.length >= distinctiveLength || /[\u0250-\uffff]/.test(word);
  return isShort && isDistinctive ? 1 : 0.5;
}

function singularOf(word: string): string {
  return /[a-z]{3,}s$/.test(word) && !word.endsWith("ss") ? word.slice(0, -1) : word;
}
