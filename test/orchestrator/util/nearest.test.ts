import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nearestNames } from "../../../src/orchestrator/util/nearest.ts";

const models = ["llama3.1:8b", "qwen2.5-coder:7b", "smollm2:135m", "mistral:7b"];

describe("nearestNames", () => {
  it.each([
    { wanted: "smolm2:135m", nearest: ["smollm2:135m"] },
    { wanted: "llama3.1:b8", nearest: ["llama3.1:8b"] },
    { wanted: "smolm2", nearest: ["smollm2:135m"] },
    { wanted: "mistrall", nearest: ["mistral:7b"] },
    { wanted: "coder", nearest: ["qwen2.5-coder:7b"] },
    { wanted: "MISTRAL:7B", nearest: ["mistral:7b"] },
    { wanted: "zzzzzzzz", nearest: [] },
    { wanted: "", nearest: [] },
  ])("suggests $nearest for $wanted", ({ wanted, nearest }) => {
    expect(nearestNames(wanted, models, 1)).toEqual(nearest);
  });

  it("returns a known name as its own nearest name", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, selector: (s) => s.toLowerCase() }),
        (names) => {
          const [name] = names;
          expect(nearestNames(name ?? "", names, 1)).toEqual([name]);
        },
      ),
    );
  });

  it("takes no noticeable time for a name of a megabyte", () => {
    expect(nearestNames("x".repeat(1_000_000), models, 3)).toEqual([]);
  });
});
