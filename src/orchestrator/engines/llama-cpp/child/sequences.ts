/** State of one sequence when a prompt is assigned. */
export interface SequenceState {
  /** Length of the prefix that it shares with the prompt. */
  readonly commonTokens: number;
  /** Tokens in its cache. */
  readonly heldTokens: number;
  /** Larger is later; 0 if unused. */
  readonly lastUse: number;
}

/** Estimated probability that a conversation continues after another one has taken its sequence. */
const returnChance = 0.5;

/**
 * Returns the index of the sequence for a prompt: the one with the fewest tokens to evaluate, now (those of the prompt that
 * it lacks) and later (those that its own conversation loses, if it continues). So conversations that share only the first
 * words of the template don't discard each other's cache. Among equals, the least recently used.
 */
export function chooseSequence(states: readonly SequenceState[]): number {
  let [chosen, lowestCost, oldestUse] = [-1, Number.POSITIVE_INFINITY, 0];
  states.forEach(({ commonTokens, heldTokens, lastUse }, index) => {
    const cost = returnChance * (heldTokens - commonTokens) - commonTokens;
    if (cost > lowestCost || (cost === lowestCost && lastUse >= oldestUse)) return;
    [chosen, lowestCost, oldestUse] = [index, cost, lastUse];
  });
  return chosen;
}

/** How many evicted conversations are remembered, as tokens. */
const maxEvicted = 4;

/** Remembers overwritten conversations, to measure what one more sequence would have saved when they continue. */
export interface EvictedPrompts {
  /** `tokens`: the content of the sequence, of which the first `keptTokens` are kept. */
  note(tokens: readonly number[], keptTokens: number): void;
  /** Returns the tokens of `prompt` that were overwritten, beyond the `cachedTokens` that are in the cache. */
  missedTokens(prompt: readonly number[], cachedTokens: number): number;
}

export function createEvictedPrompts(): EvictedPrompts {
  let evicted: (readonly number[])[] = [];
  return {
    note(tokens, keptTokens) {
      if (tokens.length > keptTokens) evicted = [tokens, ...evicted].slice(0, maxEvicted);
    },
    missedTokens(prompt, cachedTokens) {
      const shared = evicted.map((tokens) => commonLength(tokens, prompt));
      const most = Math.max(0, ...shared);
      if (most <= cachedTokens) return 0;
      // It is in the cache again.
      evicted = evicted.filter((_, index) => shared[index] !== most);
      return most - cachedTokens;
    },
  };
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length += 1;
  return length;
}
