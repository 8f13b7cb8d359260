/**
 * Names that somebody who typed `name` may have meant, best first, for "did you mean". A name counts as near when one
 * contains the other (without the tag), or few edits lie between them (a third of the length at most).
 */
export function nearestNames(name: string, names: readonly string[], max = 3): readonly string[] {
  const wanted = normalize(name);
  if (wanted === "") return [];
  return [...new Set(names)]
    .map((candidate) => ({ candidate, cost: nameCost(wanted, normalize(candidate)) }))
    .filter(({ cost }) => cost !== undefined)
    .toSorted((a, b) => (a.cost ?? 0) - (b.cost ?? 0) || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, max)
    .map(({ candidate }) => candidate);
}

function normalize(name: string): string {
  return name.trim().toLowerCase().replace(/:latest$/, "");
}

/** Lower is nearer; `undefined` is not near at all. */
function nameCost(wanted: string, candidate: string): number | undefined {
  if (wanted === candidate) return 0;
  const [wantedBase, candidateBase] = [baseName(wanted), baseName(candidate)];
  const edits = Math.min(editDistance(wanted, candidate), editDistance(wantedBase, candidateBase) + 0.5);
  const longest = Math.max(wantedBase.length, candidateBase.length);
  if (edits <= Math.max(1, longest / 3)) return edits;
  const isContained = wantedBase.length >= 3 && candidate.includes(wantedBase);
  const isExtended = candidateBase.length >= 3 && wanted.includes(candidateBase);
  return isContained || isExtended ? longest + Math.abs(wantedBase.length - candidateBase.length) : undefined;
}

/** `org/model:tag` → `model`. */
function baseName(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1).replace(/:.*$/, "");
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (isSame ? 0 : 1));
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwap) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
