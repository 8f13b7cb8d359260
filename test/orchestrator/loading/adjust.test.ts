import { describe, expect, it } from "vitest";
import { doesNotFit } from "../../../src/orchestrator/loading/adjust.ts";
import { UnknownModel } from "../../../src/orchestrator/errors.ts";
import { createEstimates } from "../../../src/orchestrator/loading/estimates.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import type { InstalledModel, LoadPlan, MemoryEstimate } from "../../../src/orchestrator/types.ts";

const GB = 1e9;
const model = (name: string, sizeBytes: number): InstalledModel => ({ name, sizeBytes, trust: "local" });

function refusal(method: MemoryEstimate["method"], models: Record<string, { sizeBytes: number }>) {
  const plan: LoadPlan = {
    model: "big:1b",
    engine: "ollama",
    contextTokens: 4096,
    isLoaded: false,
    fits: false,
    estimate: { method, predictedBytes: 99 * GB, margin: 0, processBytes: 0 },
    neededBytes: 99 * GB,
    freeBytes: 8 * GB,
    evict: [],
    steps: [],
  };
  const settings = settingsSchema.parse({ models });
  const lists = [{ models: [model("big:1b", GB), model("fat:3b", 3 * GB), model("small:1b", GB)] }];
  const inventory = {
    engines: [],
    facts: () => Promise.reject(new UnknownModel("nobody is asked")),
    knownFacts: () => undefined,
    lastResident: () => [],
  };
  const { quick } = createEstimates({ settings: () => settings, inventory, now: () => 0 });
  return doesNotFit(plan, lists, settings.memory.bufferBytes, [], quick).hint;
}

describe("the hint of a model that does not fit", () => {
  it("names the largest other one that does", () => {
    expect(refusal("simulated", {})).toBe("lower context_tokens, or use fat:3b (3.0 GB), which fits");
  });

  it("goes by the sizes that are configured, and never names the model itself", () => {
    const models = { "big*": { sizeBytes: 99 * GB }, "fat*": { sizeBytes: 7 * GB } };
    expect(refusal("configured", models)).toBe(
      "correct its sizeBytes in the settings, or use small:1b (1.0 GB), which fits",
    );
    expect(refusal("configured", { "{fat,small}*": { sizeBytes: 7 * GB } })).toContain("free memory, or pull_model");
  });
});
