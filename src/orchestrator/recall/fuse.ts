/** A rank counts `1 / (60 + rank)`. */
const k = 60;

/**
 * Reciprocal rank fusion of rankings, best first: an entry that ranks high in several of them wins, whatever their scores
 * mean. After Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
 * Methods" (SIGIR 2009), with its k of 60. Ties keep the order of the first ranking.
 */
export function fuseRankings(rankings: readonly (readonly string[])[]): readonly string[] {
  const scores = new Map<string, number>();
  for (const ranking of rankings) {
    ranking.forEach((id, index) => scores.set(id, (scores.get(id) ?? 0) + 1 / (k + index + 1)));
  }
  return [...scores].toSorted(([, a], [, b]) => b - a).map(([id]) => id);
}
