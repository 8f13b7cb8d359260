import type { NextStep } from "../api/next-step.ts";

/**
 * The known names most similar to `wanted`, best first, at most `limit`; for "did you mean". A name is similar if its edit
 * distance (insert, delete, replace, swap) is at most a third of the length, or if one name contains the other. A name
 * without a tag is also compared with what stands before the tag: `tinny` with `tiny:latest`.
 */
export function nearestNames(wanted: string, known: readonly string[], limit: number): readonly string[] {
  const target = wanted.toLowerCase();
  const distance = (name: string): number | undefined => {
    const whole = distanceOf(target, name);
    const tagAt = target.includes(":") ? -1 : name.lastIndexOf(":");
    const untagged = tagAt < 1 ? undefined : distanceOf(target, name.slice(0, tagAt));
    return untagged === undefined ? whole : Math.min(untagged, whole ?? untagged);
  };
  return known
    .map((name) => ({ name, distance: distance(name.toLowerCase()) }))
    .filter((entry) => entry.distance !== undefined)
    .toSorted((a, b) => (a.distance ?? 0) - (b.distance ?? 0) || (a.name < b.name ? -1 : 1))
    .slice(0, limit)
    .map((entry) => entry.name);
}

/** Longer names are compared by containment only, because the edit distance takes quadratic time. */
const maxComparedLength = 200;

function distanceOf(target: string, name: string): number | undefined {
  const shorter = target.length < name.length ? target : name;
  const isContained = shorter.length >= 3 && target.includes(name) !== name.includes(target);
  if (target.length > maxComparedLength || name.length > maxComparedLength)
    return isContained ? maxComparedLength : undefined;
  const edits = editDistance(target, name);
  const allowed = Math.max(1, Math.floor(Math.max(target.length, name.length) / 3));
  if (edits <= allowed) return edits;
  return isContained ? allowed + edits : undefined;
}

/** Optimal string alignment distance: insertions, deletions, replacements, and swaps of adjacent characters. */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_unused, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const cost = a[row - 1] === b[column - 1] ? 0 : 1;
      let best = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + cost,
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        best = Math.min(best, (beforePrevious[column - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** The step that names the known names most similar to `wanted`, at most `limit`; `otherwise` where none is similar. */
export function didYouMean(wanted: string, known: readonly string[], limit: number, ...otherwise: NextStep[]) {
  const names = nearestNames(wanted, known, limit);
  return names.length > 0 ? [{ step: "didYouMean", names } as const] : otherwise;
}

/** `did you mean code?` after `before`; `otherwise` where no name is similar. */
export function meantBy(written: string, names: readonly string[], otherwise = "", before = "; "): string {
  const [nearest] = nearestNames(written, names, 1);
  return nearest === undefined ? otherwise : `${before}did you mean ${nearest}?`;
}
