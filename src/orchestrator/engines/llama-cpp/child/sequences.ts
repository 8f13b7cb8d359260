/** What is known of one sequence when a prompt looks for its place. */
export interface SequenceState {
  /** Tokens it shares with the prompt, from the first on. */
  readonly commonTokens: number;
  /** Larger is later; 0 when it was never used. */
  readonly lastUse: number;
}

/** Evaluating so few tokens again costs less than losing another conversation's cache. */
const slackTokens = 64;

/**
 * Index of the sequence a prompt should be evaluated in: the one with the longest common prefix; among those within
 * 64 tokens of it the least recently used, because conversations that share only the template's first words must not
 * throw each other's cache away.
 */
export function chooseSequence(states: readonly SequenceState[]): number {
  const longest = Math.max(...states.map((state) => state.commonTokens));
  let chosen = -1;
  states.forEach((state, index) => {
    if (state.commonTokens < longest - slackTokens) return;
    if (chosen < 0 || state.lastUse < (states[chosen]?.lastUse ?? 0)) chosen = index;
  });
  return chosen;
}
