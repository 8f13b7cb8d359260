import type { SlotView } from "./state.ts";

/** A resident model that may be unloaded: idle and not pinned. */
export interface EvictionCandidate extends Pick<
  SlotView,
  "reloadSeconds" | "sizeBytes" | "lastUsedMs" | "isForeign" | "isAwaited"
> {
  readonly key: string;
  /** Bytes that unloading it frees. */
  readonly releasedBytes: number;
}

/** Losses within the same step of 10 % count as equal: measured load times vary by more. */
const lossStep = Math.log(1.1);

/** Bounds the search, which is exponential: some milliseconds. It ends earlier with the dozen models that a machine holds. */
const mostSteps = 10_000;

interface Item {
  readonly candidate: EvictionCandidate;
  /** Milliseconds, or bytes if no time is known; integers, so that sums don't depend on the order. */
  readonly loss: number;
}

/** The cost of a set, compared field by field. Adding a model to the set never lowers a field. */
interface Cost {
  readonly foreign: number;
  readonly awaited: number;
  readonly loss: number;
  readonly small: number;
}

/**
 * The cheapest set of models whose unloading frees `bytesToFree`, least recently used first; undefined if all
 * candidates together don't suffice, empty if nothing has to be freed.
 *
 * Sets are compared by (1) the number of foreign models, (2) the number of awaited ones, (3) the sum of expected reload
 * seconds in steps of 10 %, (4) the number of small models, (5) that sum itself, (6) recency: the set whose most
 * recently used member was used longest ago, then its second, ... No proper subset of the result suffices: a superset
 * is never cheaper by any of these, and loses by (6).
 *
 * Small ones are below `smallModelBytes` (`memory.smallModelBytes`). Unknown seconds are derived from the size at the speed of the measured models; if none is measured, bytes are the
 * loss. The search begins with the models that are cheapest per byte. It is exact unless it reaches `mostSteps`, which
 * takes more than a dozen candidates; then the best set so far counts.
 */
export function chooseEviction({
  bytesToFree,
  candidates,
  smallModelBytes,
}: {
  readonly bytesToFree: number;
  readonly candidates: readonly EvictionCandidate[];
  readonly smallModelBytes: number;
}): readonly string[] | undefined {
  if (bytesToFree <= 0) return [];
  const useful = candidates.filter((candidate) => candidate.releasedBytes > 0);
  if (releasedBy(useful) < bytesToFree) return undefined;

  const items = byPrice(withLosses(useful), smallModelBytes);
  const chosen = withoutSuperfluous(cheapestSet(items, bytesToFree, smallModelBytes), bytesToFree);
  return chosen.toSorted(byAge).map((candidate) => candidate.key);
}

function releasedBy(candidates: readonly EvictionCandidate[]): number {
  let sum = 0;
  for (const { releasedBytes } of candidates) sum += releasedBytes;
  return sum;
}

/** Reload seconds if known or derived, else bytes; see `chooseEviction`. */
function withLosses(candidates: readonly EvictionCandidate[]): readonly Item[] {
  let measuredBytes = 0;
  let measuredSeconds = 0;
  for (const { reloadSeconds, sizeBytes } of candidates) {
    if (reloadSeconds === undefined) continue;
    measuredBytes += sizeBytes;
    measuredSeconds += reloadSeconds;
  }
  const secondsPerByte = measuredSeconds > 0 && measuredBytes > 0 ? measuredSeconds / measuredBytes : undefined;
  return candidates.map((candidate) => {
    const seconds =
      candidate.reloadSeconds ?? (secondsPerByte === undefined ? undefined : candidate.sizeBytes * secondsPerByte);
    const loss = seconds === undefined ? candidate.sizeBytes : Math.round(seconds * 1000);
    return { candidate, loss: Math.max(0, loss) };
  });
}

/** Foreign models last, awaited ones before them, then by loss per released byte; equal ones adjacent, oldest first. */
function byPrice(items: readonly Item[], smallModelBytes: number): readonly Item[] {
  const price = ({ candidate, loss }: Item) => loss / candidate.releasedBytes;
  return items.toSorted(
    (a, b) =>
      Number(a.candidate.isForeign) - Number(b.candidate.isForeign) ||
      Number(a.candidate.isAwaited ?? 0) - Number(b.candidate.isAwaited ?? 0) ||
      price(a) - price(b) ||
      a.candidate.releasedBytes - b.candidate.releasedBytes ||
      smallOf(a.candidate, smallModelBytes) - smallOf(b.candidate, smallModelBytes) ||
      byAge(a.candidate, b.candidate),
  );
}

function smallOf(candidate: EvictionCandidate, smallModelBytes: number): number {
  return Number(candidate.sizeBytes < smallModelBytes);
}

function byAge(a: EvictionCandidate, b: EvictionCandidate): number {
  return a.lastUsedMs - b.lastUsedMs || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/** Depth-first search, pruned if the rest can't suffice or the cost exceeds the best so far. Never empty. */
function cheapestSet(items: readonly Item[], bytesToFree: number, smallModelBytes: number) {
  const remainingBytes: number[] = [0];
  for (const { candidate } of items.toReversed())
    remainingBytes.unshift((remainingBytes[0] ?? 0) + candidate.releasedBytes);

  let best: { readonly cost: Cost; readonly set: readonly EvictionCandidate[] } | undefined;
  let steps = 0;
  const taken: EvictionCandidate[] = [];
  const visit = (index: number, missingBytes: number, cost: Cost): void => {
    if ((steps += 1) > mostSteps && best !== undefined) return;
    const comparison = best === undefined ? -1 : compareCosts(cost, best.cost);
    if (comparison > 0) return;
    if (missingBytes <= 0) {
      if (best === undefined || comparison < 0 || isOlderSet(taken, best.set)) best = { cost, set: [...taken] };
      return;
    }
    const item = items[index];
    if (item === undefined || (remainingBytes[index] ?? 0) < missingBytes) return;
    const { candidate, loss } = item;
    taken.push(candidate);
    visit(index + 1, missingBytes - candidate.releasedBytes, {
      foreign: cost.foreign + Number(candidate.isForeign),
      awaited: cost.awaited + Number(candidate.isAwaited ?? 0),
      loss: cost.loss + loss,
      small: cost.small + smallOf(candidate, smallModelBytes),
    });
    taken.pop();
    visit(index + 1, missingBytes, cost);
  };
  visit(0, bytesToFree, { foreign: 0, awaited: 0, loss: 0, small: 0 });
  return best?.set ?? [];
}

function compareCosts(a: Cost, b: Cost): number {
  return (
    a.foreign - b.foreign ||
    a.awaited - b.awaited ||
    stepOf(a.loss) - stepOf(b.loss) ||
    a.small - b.small ||
    a.loss - b.loss
  );
}

/** Monotonic in the loss. */
function stepOf(loss: number): number {
  return Math.floor(Math.log(1 + loss) / lossStep);
}

/** Compares the most recently used members, then the next ones; a set that runs out of members wins. */
function isOlderSet(a: readonly EvictionCandidate[], b: readonly EvictionCandidate[]): boolean {
  const left = a.toSorted((x, y) => byAge(y, x));
  const right = b.toSorted((x, y) => byAge(y, x));
  for (const [index, candidate] of left.entries()) {
    const other = right[index];
    if (other === undefined) return false;
    const difference = byAge(candidate, other);
    if (difference !== 0) return difference < 0;
  }
  return left.length < right.length;
}

/** Most expensive first: the last models taken may have made earlier, smaller ones superfluous. */
function withoutSuperfluous(set: readonly EvictionCandidate[], bytesToFree: number): readonly EvictionCandidate[] {
  return set.toReversed().reduce((kept, candidate) => {
    const without = kept.filter((other) => other !== candidate);
    return releasedBy(without) >= bytesToFree ? without : kept;
  }, set);
}
