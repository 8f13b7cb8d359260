import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Contestant, planOrder } from "../../../src/orchestrator/compare/ask-model.ts";
import { gigabyte } from "../../support/fake-engine.ts";

function contestant(model: string, more: Partial<Contestant> = {}): Contestant {
  return {
    model,
    engine: "ollama",
    domain: "local",
    isLoaded: false,
    fits: true,
    evicts: [],
    bytes: gigabyte,
    ...more,
  };
}

const names = (contestants: readonly Contestant[]) =>
  planOrder(contestants).lanes.map((lane) => lane.map(({ model }) => model));

describe("the order with the fewest loads", () => {
  it("begins with loaded models, before anything can unload them", () => {
    const large = contestant("large", { evicts: ["loaded"], bytes: 9 * gigabyte });
    const loaded = contestant("loaded", { isLoaded: true, bytes: 5 * gigabyte });
    expect(names([large, contestant("small"), loaded])).toEqual([["loaded", "small", "large"]]);
  });

  it("goes from small to large, with models that don't fit at the end", () => {
    const order = names([
      contestant("huge", { fits: false, bytes: 99 * gigabyte }),
      contestant("c", { evicts: ["x"], bytes: 3 * gigabyte }),
      contestant("b", { bytes: 2 * gigabyte }),
      contestant("a"),
    ]);
    expect(order).toEqual([["a", "b", "c", "huge"]]);
  });

  it("runs models that share no cores in parallel", () => {
    const order = names([
      contestant("here"),
      contestant("there", { engine: "gpu", domain: "gpu:11434" }),
      contestant("also here", { engine: "llama-cpp" }),
    ]);
    expect(order).toEqual([["here", "also here"], ["there"]]);
  });

  it("is described with its reasons", () => {
    const order = planOrder([
      contestant("large", { evicts: ["loaded"], bytes: 9 * gigabyte }),
      contestant("loaded", { isLoaded: true }),
      contestant("huge", { fits: false, bytes: 99 * gigabyte }),
      contestant("cloud", { domain: "cloud", bytes: 0 }),
    ]);
    expect(order.sentence).toBe(
      "one after another, with the fewest loads: loaded (already loaded), then large (unloads loaded, 9.0 GB), " +
        "then huge (does not seem to fit, 99.0 GB); at the same time cloud on ollama (uses no memory here)",
    );
  });

  it("contains every model exactly once, loaded ones before all others", () => {
    const any = fc.record({
      domain: fc.constantFrom("local", "gpu"),
      isLoaded: fc.boolean(),
      fits: fc.boolean(),
      bytes: fc.nat(1e10),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 5 }), (all) => {
        const given = all.map((more, index) => contestant(`m${index}`, more));
        const { lanes } = planOrder(given);
        expect(lanes.flat().toSorted((a, b) => a.model.localeCompare(b.model))).toEqual(given);
        for (const lane of lanes) {
          expect(new Set(lane.map(({ domain }) => domain)).size).toBe(1);
          const firstLoad = lane.findIndex(({ isLoaded }) => !isLoaded);
          expect(firstLoad < 0 ? [] : lane.slice(firstLoad).filter(({ isLoaded }) => isLoaded)).toEqual([]);
        }
      }),
    );
  });
});
