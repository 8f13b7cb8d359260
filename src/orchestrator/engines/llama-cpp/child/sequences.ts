/** What is known of one sequence when a prompt looks for its place. */
export interface SequenceState {
  /** Tokens it shares with the prompt, from the first on. */
  readonly commonTokens: number;
  /** Tokens it holds. */
  readonly heldTokens: number;
  /** Larger is later; 0 when it was never used. */
  readonly lastUse: number;
}

/** How likely a conversation is to go on when another one wants its place: a guess. */
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
