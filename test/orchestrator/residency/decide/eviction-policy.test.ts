import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  initialPolicy,
  policyAfter,
  policyWithout,
  expectedLossSeconds,
} from "../../../../src/orchestrator/residency/decide/eviction-policy.ts";

type PolicyState = typeof initialPolicy;

const GB = 1e9;
const capacityBytes = 20 * GB;

interface Model {
  readonly sizeBytes: number;
  readonly loadSeconds?: number;
}

const models: Readonly<Record<string, Model>> = {
  small: { sizeBytes: 2 * GB, loadSeconds: 3 },
  middle: { sizeBytes: 8 * GB, loadSeconds: 9 },
  large: { sizeBytes: 15 * GB, loadSeconds: 16 },
  other: { sizeBytes: 8 * GB, loadSeconds: 9 },
};

function after(uses: readonly string[], from: PolicyState = initialPolicy, known = models): PolicyState {
  return uses.reduce(
    (state, key) => policyAfter(state, { key, capacityBytes, ...(known[key] ?? { sizeBytes: GB }) }),
    from,
  );
}

const loss = (state: PolicyState, key: string) => expectedLossSeconds(state, key) ?? Number.NaN;
const repeat = (uses: readonly string[], times: number) => Array.from({ length: times }, () => uses).flat();
const held = (state: PolicyState, name: string) => [
  ...(state.shadowCaches.find((cache) => cache.name === name)?.resident.keys() ?? []),
];

describe("expected loss", () => {
  it("is undefined for a model that was never used", () => {
    expect(expectedLossSeconds(after(["small"]), "large")).toBeUndefined();
  });

  it("grows with the rate of use for models with equal load times", () => {
    const state = after([...repeat(["middle", "small"], 20), "other", "small"]);
    expect(loss(state, "middle")).toBeGreaterThan(loss(state, "other"));
  });

  it("grows with the load time for models that are used equally", () => {
    const state = after(repeat(["middle", "small"], 20));
    expect(loss(state, "middle")).toBeGreaterThan(loss(state, "small"));
  });

  it("is greater for models that the leading shadow cache holds than for evicted ones, at similar load times", () => {
    const state = after(repeat(["middle", "other", "small"], 5), after(repeat(["large", "small"], 3)));
    expect(held(state, state.leader)).not.toContain("large");
    expect(loss(state, "middle")).toBeGreaterThan(loss(state, "large"));
  });

  it("derives an unknown load time from the size, at the speed of the measured models", () => {
    const known = { ...models, unmeasured: { sizeBytes: 8 * GB } };
    const state = after(["middle", "unmeasured"], initialPolicy, known);
    expect(state.models.get("unmeasured")?.loadSeconds).toBeCloseTo(9);
    expect(after(["unmeasured"], initialPolicy, known).models.get("unmeasured")?.loadSeconds).toBeCloseTo(8);
  });

  it("uses a load time as soon as it is measured", () => {
    const first = policyAfter(initialPolicy, { key: "a", sizeBytes: GB, capacityBytes });
    const second = policyAfter(first, { key: "a", sizeBytes: GB, loadSeconds: 42, capacityBytes });
    expect(second.models.get("a")?.loadSeconds).toBe(42);
  });
});

describe("the policy", () => {
  it("does not change when a model is used many times in a row", () => {
    const once = after(["small", "middle", "large"]);
    const often = after(repeat(["large"], 50), once);
    expect(often).toEqual(once);
  });

  it("follows recency when the working set changes", () => {
    // 60 uses of a set that fills the memory, then of another one: rates and frequencies still favour the first.
    const sets = { ...models, a: { sizeBytes: 10 * GB, loadSeconds: 11 }, b: { sizeBytes: 9 * GB, loadSeconds: 10 } };
    const before = after(repeat(["middle", "other", "small"], 20), initialPolicy, sets);
    const state = after(repeat(["a", "b"], 20), before, sets);
    expect(state.leader).toBe("recency");
    expect(loss(state, "a")).toBeGreaterThan(loss(state, "middle"));
    expect(loss(state, "b")).toBeGreaterThan(loss(state, "other"));
  });

  it("changes the leader only if another shadow cache is clearly cheaper", () => {
    const cost = (state: PolicyState, name: string) =>
      state.shadowCaches.find((cache) => cache.name === name)?.costSeconds ?? 0;
    const sets = { ...models, a: { sizeBytes: 10 * GB, loadSeconds: 11 }, b: { sizeBytes: 9 * GB, loadSeconds: 10 } };
    const uses = [
      ...repeat(["middle", "other", "small"], 20),
      ...repeat(["a", "b"], 20),
      ...repeat(["large", "b"], 20),
    ];
    let [state, changes] = [initialPolicy, 0];
    for (const key of uses) {
      const next = after([key], state, sets);
      if (next.leader !== state.leader) {
        changes += 1;
        expect(cost(next, next.leader)).toBeLessThan(0.95 * cost(next, state.leader));
      }
      state = next;
    }
    expect(changes).toBeGreaterThan(0);
  });

  it("forgets a model completely, even if it is the next to be used", () => {
    const state = policyWithout(after(["small", "middle", "large"]), "large");
    expect(expectedLossSeconds(state, "large")).toBeUndefined();
    expect(state.shadowCaches.some(({ resident }) => resident.has("large"))).toBe(false);
    expect(held(after(["large"], state), "recency")).toContain("large");
  });

  it("stays bounded for any number of names", () => {
    let state = initialPolicy;
    for (let index = 0; index < 3_000; index += 1) {
      state = policyAfter(state, { key: `model ${index}`, sizeBytes: 5 * GB, loadSeconds: 5, capacityBytes });
    }
    expect(state.models.size).toBeLessThan(1_500);
  });
});

describe("for all uses", () => {
  const arbitraryUses = fc.array(
    fc.record({
      key: fc.constantFrom("a", "b", "c", "d", "e", "f"),
      sizeBytes: fc.integer({ min: 0, max: 12 }),
      loadSeconds: fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined }),
      capacityBytes: fc.integer({ min: 1, max: 20 }),
    }),
    { minLength: 1, maxLength: 60 },
  );
  const states = (uses: readonly Parameters<typeof policyAfter>[1][]) => {
    let state = initialPolicy;
    return uses.map((use) => (state = policyAfter(state, use)));
  };
  const asUses = arbitraryUses.map((uses) =>
    uses.map(({ loadSeconds, ...use }) => ({ ...use, ...(loadSeconds === undefined ? {} : { loadSeconds }) })),
  );

  it("every shadow cache holds the last used model, and others only as far as they fit", () => {
    fc.assert(
      fc.property(asUses, (uses) => {
        for (const [index, state] of states(uses).entries()) {
          const { key, capacityBytes: capacity } = uses[index] ?? { key: "", capacityBytes: 0 };
          const isNews = index === 0 || uses[index - 1]?.key !== key;
          for (const { resident } of state.shadowCaches) {
            expect(resident.has(key)).toBe(true);
            const bytes = [...resident.keys()].reduce((sum, name) => sum + (state.models.get(name)?.sizeBytes ?? 0), 0);
            if (isNews && resident.size > 1) expect(bytes).toBeLessThanOrEqual(Math.max(capacity, bytesOf(state, key)));
          }
        }
      }),
    );
  });

  it("losses and costs are finite, not negative, and rates sum to 1 at most", () => {
    fc.assert(
      fc.property(asUses, (uses) => {
        const state = states(uses).at(-1) ?? initialPolicy;
        for (const key of state.models.keys()) {
          expect(loss(state, key)).toBeGreaterThanOrEqual(0);
          expect(Number.isFinite(loss(state, key))).toBe(true);
        }
        for (const { costSeconds } of state.shadowCaches) expect(Number.isFinite(costSeconds)).toBe(true);
        const rates = [...state.models.values()].reduce((sum, { rate }) => sum + rate, 0);
        expect(rates).toBeLessThanOrEqual(1 + 1e-9);
      }),
    );
  });
});

function bytesOf(state: PolicyState, key: string): number {
  return state.models.get(key)?.sizeBytes ?? 0;
}
