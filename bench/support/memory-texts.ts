/** Texts like those that are remembered, the same at every run: some 12 words each, frequent ones more often (Zipf's law). */
export interface MemoryTexts {
  key(index: number): string;
  value(): string;
  /** Two words of a value, one with a typo. */
  query(): string;
}

const vocabularySize = 8_000;
const wordsPerValue = 12;

export function createMemoryTexts(seed: number): MemoryTexts {
  const random = randomFrom(seed);
  const vocabulary = Array.from({ length: vocabularySize }, () => inventWord(random));
  // Harmonic weights: the inverse of their sum's logarithm.
  const word = (): string => vocabulary[Math.floor(vocabularySize ** random()) - 1] ?? "the";
  /** Not one of the most frequent words: queries rarely contain those. */
  const distinctiveWord = (): string => vocabulary[100 + Math.floor(random() * (vocabularySize - 100))] ?? "the";
  return {
    key: (index) => `${distinctiveWord()} ${distinctiveWord()} ${index}`,
    value: () => Array.from({ length: wordsPerValue }, word).join(" "),
    query: () => `${misspell(distinctiveWord())} ${distinctiveWord()}`,
  };
}

function inventWord(random: () => number): string {
  const pick = (letters: string): string => letters[Math.floor(random() * letters.length)] ?? "a";
  const syllables = 2 + Math.floor(random() * 3);
  return Array.from({ length: syllables }, () => pick("bcdfghjklmnprstvwz") + pick("aeiou")).join("");
}

function misspell(word: string): string {
  return `${word.slice(0, 1)}${word.charAt(2)}${word.charAt(1)}${word.slice(3)}`;
}

/** Mulberry32: 32 bits of state are plenty for texts. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
