import { describe, expect, it } from "vitest";
import { doesNotFit } from "../../../src/orchestrator/residency/room.ts";
import { UnknownModel } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { createEstimates } from "../../../src/orchestrator/residency/estimates.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import type { LoadPlan, MemoryEstimate } from "../../../src/orchestrator/api/facade-status.ts";
import type { InstalledModel } from "../../../src/orchestrator/api/types.ts";

const GB = 1e9;
const model = (name: string, sizeBytes: number): InstalledModel => ({ name, sizeBytes, trust: "local" });

function refusal(
  method: MemoryEstimate["method"],
  models: Record<string, { sizeBytes: number }>,
  atMost?: LoadPlan["atMost"],
  smallerTokens?: number,
) {
  const plan: LoadPlan = {
    model: "big:1b",
    engine: "ollama",
    contextTokens: 4096,
    isLoaded: false,
    fits: false,
    estimate: { method, predictedBytes: 99 * GB, margin: 0, processBytes: 0 },
    neededBytes: 99 * GB,
    freeBytes: 8 * GB,
    ...(atMost === undefined ? {} : { atMost }),
    evict: [],
    steps: [],
  };
  const settings = settingsSchema.parse({ models });
  const lists = [{ models: [model("big:1b", GB), model("fat:3b", 3 * GB), model("small:1b", GB)] }];
  const inventory = {
    engines: [],
    facts: () => Promise.reject(new UnknownModel("not asked")),
    knownFacts: () => undefined,
    lastResident: () => [],
  };
  const { quick } = createEstimates({ settings: () => settings, inventory, now: () => 0 });
  return doesNotFit(plan, lists, settings.memory.bufferBytes, [], quick, smallerTokens);
}

const stepsOf = (...given: Parameters<typeof refusal>) => refusal(...given).next;
const useFat = { step: "useModel", model: "fat:3b", because: "3.0 GB, fits" };
const useSmall = { step: "useModel", model: "small:1b", because: "1.0 GB, fits" };
const raiseLimit = { step: "raiseSetting", setting: "memory.maxBytes" };

describe("the error of a model that does not fit", () => {
  it("offers the largest other model that fits", () => {
    expect(stepsOf("simulated", {})).toEqual([useFat]);
  });

  it("offers first the context with which the model fits", () => {
    expect(stepsOf("simulated", {}, undefined, 2048)).toEqual([
      { step: "lowerArgument", argument: "context", to: 2048 },
      useFat,
    ]);
  });

  it("uses configured sizes and never offers the model itself", () => {
    const models = { "big*": { sizeBytes: 99 * GB }, "fat*": { sizeBytes: 7 * GB } };
    const correctSize = advice("correct the sizeBytes configured for the model");
    expect(stepsOf("configured", models)).toEqual([correctSize, useSmall]);
    expect(stepsOf("configured", { "{fat,small}*": { sizeBytes: 7 * GB } })).toEqual([
      correctSize,
      advice("free memory"),
      { step: "pullModelThat", that: expect.stringMatching(/^below \d/) as string },
    ]);
  });

  it("counts the memory of idle models as free: they are unloaded before a load is refused", () => {
    const refused = refusal("simulated", {}, { freeBytes: 20 * GB, limit: "memory" });
    expect(refused.message).toContain("8.0 GB are free, 20.0 GB with all idle models unloaded");
    expect(stepsOf("simulated", {}, { freeBytes: 4.5 * GB, limit: "memory" })).toEqual([useSmall]);
  });

  it("offers to raise memory.maxBytes where that is the limit: freeing memory would not help", () => {
    const refused = refusal("simulated", {}, { freeBytes: 3.7 * GB, limit: "memory.maxBytes" });
    expect(refused.message).toBe(
      "big:1b needs 99.0 GB at 4096 tokens of context; memory.maxBytes leaves at most 3.7 GB",
    );
    expect(refused.next).toEqual([raiseLimit, useFat]);
    expect(stepsOf("size_rule", {}, { freeBytes: 0.6 * GB, limit: "memory.maxBytes" })).toEqual([
      raiseLimit,
      { step: "pullModelThat", that: "below 500.0 MB" },
    ]);
  });
});
