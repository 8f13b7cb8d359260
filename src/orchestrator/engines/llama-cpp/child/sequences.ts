/** What is known of one sequence when a prompt is assigned to one. */
export interface SequenceState {
  /** Tokens it shares with the prompt, from the first on. */
  readonly commonTokens: number;
  /** Tokens it holds. */
  readonly heldTokens: number;
  /** Larger is later; 0 when it was never used. */
  readonly lastUse: number;
}

/** How likely a conversation is to go on when another one wants its sequence: a guess. */
const returnChance = 0.5;

/**
 * Index of the sequence a prompt should be evaluated in: where the least is evaluated, now (what it doesn't share with
 * the prompt) or later (what its own conversation loses, if that goes on). So conversations that share only the
 * template's first words don't throw each other's cache away. Between equals, the least recently used.
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

/** Conversations that were evicted from the cache and are remembered as text: four of them take next to nothing. */
const maxEvicted = 4;

/** What another conversation overwrote, so that a return shows what one more sequence would have saved. */
export interface EvictedPrompts {
  /** `tokens`: all that the sequence held; the first `keptTokens` stay. */
  note(tokens: readonly number[], keptTokens: number): void;
  /** Tokens that `prompt` would have found in the cache, beyond the `cachedTokens` that it finds. */
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
      // It is back.
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
