import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseEviction, type EvictionCandidate } from "../../../src/orchestrator/memory/eviction.ts";

type EvictionInput = Parameters<typeof chooseEviction>[0];

const GB = 1e9;

function candidate(key: string, sizeGb: number, more: Partial<EvictionCandidate> = {}): EvictionCandidate {
  return { key, releasedBytes: sizeGb * GB, sizeBytes: sizeGb * GB, lastUsedMs: 0, isForeign: false, ...more };
}

function choose(bytesToFree: number, candidates: readonly EvictionCandidate[], smallModelBytes = 5 * GB) {
  return chooseEviction({ bytesToFree, candidates, smallModelBytes });
}

describe("chooseEviction", () => {
  it("evicts nothing if nothing has to be freed", () => {
    expect(choose(0, [candidate("a", 4)])).toEqual([]);
    expect(choose(-5 * GB, [candidate("a", 4)])).toEqual([]);
  });

  it("is undefined if all candidates together don't suffice", () => {
    expect(choose(9 * GB, [candidate("a", 4), candidate("b", 4)])).toBeUndefined();
    expect(choose(1, [])).toBeUndefined();
  });

  it("takes one sufficient model instead of two larger together", () => {
    expect(choose(6 * GB, [candidate("a", 4), candidate("b", 4), candidate("c", 7)])).toEqual(["c"]);
  });

  it("takes two cheap models instead of one that is expensive to reload", () => {
    const candidates = [
      candidate("dear", 8, { reloadSeconds: 60 }),
      candidate("b", 4, { reloadSeconds: 5, lastUsedMs: 2 }),
      candidate("a", 4, { reloadSeconds: 5, lastUsedMs: 1 }),
    ];
    expect(choose(8 * GB, candidates)).toEqual(["a", "b"]);
  });

  it("evicts no foreign models while own ones suffice, however expensive", () => {
    const foreign = candidate("foreign", 8, { reloadSeconds: 1, isForeign: true });
    const own = candidate("own", 8, { reloadSeconds: 500 });
    expect(choose(8 * GB, [foreign, own])).toEqual(["own"]);
    expect(choose(9 * GB, [foreign, own])).toEqual(["foreign", "own"]);
  });

  it("evicts no awaited models while others suffice, and takes them before foreign ones", () => {
    const awaited = candidate("awaited", 8, { reloadSeconds: 1, isAwaited: true });
    const dear = candidate("dear", 8, { reloadSeconds: 500 });
    const foreign = candidate("foreign", 8, { reloadSeconds: 1, isForeign: true });
    expect(choose(8 * GB, [awaited, dear, foreign])).toEqual(["dear"]);
    expect(choose(9 * GB, [awaited, dear, foreign])).toEqual(["awaited", "dear"]);
  });

  it("keeps small models among sets with similar losses", () => {
    const small = candidate("small", 4, { reloadSeconds: 10, lastUsedMs: 1 });
    const large = candidate("large", 6, { reloadSeconds: 10.2, lastUsedMs: 2 });
    expect(choose(4 * GB, [small, large])).toEqual(["large"]);
    expect(choose(4 * GB, [small, large], 0)).toEqual(["small"]);
    expect(choose(4 * GB, [small, { ...large, reloadSeconds: 14 }])).toEqual(["small"]);
  });

  it("keeps small models among sets of equal loss", () => {
    const small = candidate("small", 4, { reloadSeconds: 10, lastUsedMs: 1 });
    const large = candidate("large", 6, { reloadSeconds: 10, lastUsedMs: 2 });
    expect(choose(4 * GB, [small, large])).toEqual(["large"]);
  });

  it("does not keep a small model that is cheaper to reload", () => {
    const small = candidate("small", 4, { reloadSeconds: 2 });
    const large = candidate("large", 6, { reloadSeconds: 10 });
    expect(choose(4 * GB, [small, large])).toEqual(["small"]);
  });

  it("takes the least recently used of equal models", () => {
    const candidates = [
      candidate("newest", 6, { lastUsedMs: 30 }),
      candidate("oldest", 6, { lastUsedMs: 10 }),
      candidate("middle", 6, { lastUsedMs: 20 }),
    ];
    expect(choose(5 * GB, candidates)).toEqual(["oldest"]);
    expect(choose(12 * GB, candidates)).toEqual(["oldest", "middle"]);
  });

  it("derives unknown reload times from the measured speed", () => {
    const candidates = [
      candidate("measured", 10, { reloadSeconds: 10 }),
      candidate("unknown and larger", 12),
      candidate("unknown and smaller", 9),
    ];
    expect(choose(9 * GB, candidates)).toEqual(["unknown and smaller"]);
    expect(choose(10 * GB, candidates)).toEqual(["measured"]);
  });

  it("takes the smallest loss in bytes if no reload was measured", () => {
    expect(choose(4 * GB, [candidate("a", 20), candidate("b", 5), candidate("c", 10)])).toEqual(["b"]);
  });

  it("never takes a model that would free nothing", () => {
    const empty = candidate("on the graphics card", 0, { reloadSeconds: 0 });
    expect(choose(4 * GB, [empty, candidate("b", 5)])).toEqual(["b"]);
  });

  it("takes the oldest of many equal models without trying every combination", () => {
    const equal = Array.from({ length: 40 }, (_, index) => candidate(`model ${index}`, 4, { lastUsedMs: 40 - index }));
    const started = performance.now();
    expect(choose(80 * GB, equal)).toEqual(
      equal
        .slice(20)
        .toReversed()
        .map(({ key }) => key),
    );
    // All combinations would take hours.
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it("handles a hundred candidates in bounded time", () => {
    const many = Array.from({ length: 100 }, (_, index) =>
      candidate(`model ${index}`, 1 + (index % 7), { reloadSeconds: 1 + ((index * 37) % 23), lastUsedMs: index }),
    );
    const chosen = choose(50 * GB, many) ?? [];
    const released = (keys: readonly string[]) =>
      many.filter(({ key }) => keys.includes(key)).reduce((sum, { releasedBytes }) => sum + releasedBytes, 0);
    expect(released(chosen)).toBeGreaterThanOrEqual(50 * GB);
    expect(chosen.every((key) => released(chosen.filter((other) => other !== key)) < 50 * GB)).toBe(true);
    expect(choose(released(many.map(({ key }) => key)), many)).toHaveLength(100);
  });
});

const arbitraryCandidates = (maxLength: number) =>
  fc
    .array(
      fc.record({
        releasedBytes: fc.integer({ min: 0, max: 12 }),
        sizeBytes: fc.integer({ min: 0, max: 12 }),
        reloadSeconds: fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined }),
        lastUsedMs: fc.integer({ min: 0, max: 4 }),
        isForeign: fc.boolean(),
        isAwaited: fc.boolean(),
      }),
      { maxLength },
    )
    .map((records) =>
      records.map(({ reloadSeconds, ...rest }, index): EvictionCandidate => ({
        key: `m${index}`,
        ...rest,
        ...(reloadSeconds === undefined ? {} : { reloadSeconds }),
      })),
    );

function subsets(candidates: readonly EvictionCandidate[]): readonly (readonly EvictionCandidate[])[] {
  return Array.from({ length: 2 ** candidates.length }, (_, bits) =>
    candidates.filter((_unused, index) => bits & (1 << index)),
  );
}

function releasedBy(set: readonly EvictionCandidate[]): number {
  return set.reduce((sum, { releasedBytes }) => sum + releasedBytes, 0);
}

/** The cost as documented: foreign, awaited, steps of seconds (or bytes), small, seconds. */
function costOf(set: readonly EvictionCandidate[], input: EvictionInput): readonly number[] {
  const useful = input.candidates.filter(({ releasedBytes }) => releasedBytes > 0);
  const measured = useful.filter(({ reloadSeconds }) => reloadSeconds !== undefined);
  const seconds = measured.reduce((sum, { reloadSeconds = 0 }) => sum + reloadSeconds, 0);
  const bytes = measured.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const rate = seconds > 0 && bytes > 0 ? seconds / bytes : undefined;
  const loss = set.reduce((sum, { reloadSeconds, sizeBytes }) => {
    const known = reloadSeconds ?? (rate === undefined ? undefined : sizeBytes * rate);
    return sum + (known === undefined ? sizeBytes : Math.round(known * 1000));
  }, 0);
  return [
    set.filter(({ isForeign }) => isForeign).length,
    set.filter(({ isAwaited }) => isAwaited).length,
    Math.floor(Math.log(1 + loss) / Math.log(1.1)),
    set.filter(({ sizeBytes }) => sizeBytes < input.smallModelBytes).length,
    loss,
  ];
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at >= 0 && (a[at] ?? 0) < (b[at] ?? 0);
}

const arbitraryInput = (maxLength: number): fc.Arbitrary<EvictionInput> =>
  fc.record({
    bytesToFree: fc.integer({ min: -2, max: 40 }),
    candidates: arbitraryCandidates(maxLength),
    smallModelBytes: fc.integer({ min: 0, max: 12 }),
  });

describe("chooseEviction, for all inputs", () => {
  it("is undefined exactly when freeing that much is impossible", () => {
    fc.assert(
      fc.property(arbitraryInput(30), (input) => {
        expect(chooseEviction(input) === undefined).toBe(releasedBy(input.candidates) < input.bytesToFree);
      }),
    );
  });

  it("frees enough, and no proper subset would", () => {
    fc.assert(
      fc.property(arbitraryInput(30), (input) => {
        const keys = chooseEviction(input);
        if (keys === undefined) return;
        const set = input.candidates.filter(({ key }) => keys.includes(key));
        expect(set).toHaveLength(keys.length);
        expect(releasedBy(set)).toBeGreaterThanOrEqual(input.bytesToFree);
        for (const { key } of set) {
          expect(releasedBy(set.filter((other) => other.key !== key))).toBeLessThan(input.bytesToFree);
        }
      }),
    );
  });

  it("is as cheap as the cheapest of all subsets", () => {
    fc.assert(
      fc.property(arbitraryInput(8), (input) => {
        const keys = chooseEviction(input);
        if (keys === undefined) return;
        const cost = costOf(
          input.candidates.filter(({ key }) => keys.includes(key)),
          input,
        );
        const cheaper = subsets(input.candidates).find(
          (set) => releasedBy(set) >= input.bytesToFree && isLess(costOf(set, input), cost),
        );
        expect(cheaper).toBeUndefined();
      }),
    );
  });

  it("is the least recently used of all sets of equal cost", () => {
    const ages = (set: readonly EvictionCandidate[]) =>
      set.map(({ lastUsedMs }) => lastUsedMs).toSorted((a, b) => b - a);
    fc.assert(
      fc.property(arbitraryInput(7), (input) => {
        const keys = chooseEviction(input);
        if (keys === undefined || keys.length === 0) return;
        const chosen = input.candidates.filter(({ key }) => keys.includes(key));
        const older = subsets(input.candidates.filter(({ releasedBytes }) => releasedBytes > 0)).find(
          (set) =>
            releasedBy(set) >= input.bytesToFree &&
            costOf(set, input).every((value, index) => value === costOf(chosen, input)[index]) &&
            isLess(ages(set), ages(chosen)),
        );
        expect(older).toBeUndefined();
      }),
    );
  });

  it("does not depend on the order of the candidates", () => {
    fc.assert(
      fc.property(arbitraryInput(10), (input) => {
        const reversed = { ...input, candidates: input.candidates.toReversed() };
        expect(chooseEviction(reversed)).toEqual(chooseEviction(input));
      }),
    );
  });
});
