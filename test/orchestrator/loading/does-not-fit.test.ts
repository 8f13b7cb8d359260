import { describe, expect, it } from "vitest";
import { doesNotFit } from "../../../src/orchestrator/loading/does-not-fit.ts";
import { UnknownModel } from "../../../src/orchestrator/errors.ts";
import { createEstimates } from "../../../src/orchestrator/estimates/estimates.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import type { InstalledModel, LoadPlan, MemoryEstimate } from "../../../src/orchestrator/types.ts";

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
    facts: () => Promise.reject(new UnknownModel("nobody is asked")),
    knownFacts: () => undefined,
    lastResident: () => [],
  };
  const { quick } = createEstimates({ settings: () => settings, inventory, now: () => 0 });
  return doesNotFit(plan, lists, settings.memory.bufferBytes, [], quick, smallerTokens);
}

const hintOf = (...given: Parameters<typeof refusal>) => refusal(...given).hint;

describe("the hint of a model that does not fit", () => {
  it("names the largest other one that does", () => {
    expect(hintOf("simulated", {})).toBe("use fat:3b (3.0 GB), which fits");
  });

  it("begins with the context that does fit, where one does", () => {
    expect(hintOf("simulated", {}, undefined, 2048)).toBe(
      "lower context_tokens to 2048, or use fat:3b (3.0 GB), which fits",
    );
  });

  it("goes by the sizes that are configured, and never names the model itself", () => {
    const models = { "big*": { sizeBytes: 99 * GB }, "fat*": { sizeBytes: 7 * GB } };
    expect(hintOf("configured", models)).toBe(
      "correct its sizeBytes in the settings, or use small:1b (1.0 GB), which fits",
    );
    expect(hintOf("configured", { "{fat,small}*": { sizeBytes: 7 * GB } })).toContain("free memory, or pull_model");
  });

  it("counts what idle models give back, which is unloaded before anything is refused", () => {
    const refused = refusal("simulated", {}, { freeBytes: 20 * GB, limit: "memory" });
    expect(refused.message).toContain("8.0 GB are free, 20.0 GB with everything idle unloaded");
    const tight = hintOf("simulated", {}, { freeBytes: 4.5 * GB, limit: "memory" });
    expect(tight).toBe("use small:1b (1.0 GB), which fits");
  });

  it("is to raise memory.maxBytes where that is the limit: no memory that is freed would help", () => {
    const refused = refusal("simulated", {}, { freeBytes: 3.7 * GB, limit: "memory.maxBytes" });
    expect(refused.message).toBe(
      "big:1b needs 99.0 GB at 4096 tokens of context; memory.maxBytes leaves at most 3.7 GB",
    );
    expect(refused.hint).toBe("raise memory.maxBytes, or use fat:3b (3.0 GB), which fits");
    expect(hintOf("size_rule", {}, { freeBytes: 0.6 * GB, limit: "memory.maxBytes" })).toBe(
      "raise memory.maxBytes, or pull_model a model below 500.0 MB",
    );
  });
});
