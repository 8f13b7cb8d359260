import { describe, expect, it } from "vitest";
import { describeFromDatabase } from "../../../src/orchestrator/routing/database.ts";
import {
  activeBytesOf,
  cardBandwidth,
  firstModels,
  ramBandwidth,
} from "../../../src/orchestrator/routing/first-models.ts";
import { codeAdvice, createSuggestions, suggestModels } from "../../../src/orchestrator/views/suggestions.ts";

type SuggestionMachine = Parameters<typeof suggestModels>[0];

const GB = 1e9;

function machine(availableGB: number, more: Partial<SuggestionMachine> = {}): SuggestionMachine {
  return { availableBytes: availableGB * GB, bufferBytes: 2 * 1024 ** 3, ramBytesPerSecond: 40 * GB, ...more };
}

const namesOf = (given: SuggestionMachine) => {
  const { name, alternatives } = suggestModels(given);
  return [name, ...alternatives.map((other) => `${other.kind} ${other.name}`)];
};

/** The suggestions of a daemon on such a machine. */
function suggestionsOn({ availableBytes, bufferBytes, ramBytesPerSecond, hasOllama }: SuggestionMachine) {
  const ollama = { library: {}, memoryDomain: "local", health: async () => ({ isReachable: true }) };
  return createSuggestions({
    inventory: { engines: hasOllama === true ? [ollama] : [], lastList: () => [] },
    probe: { sample: async () => ({ availableBytes, gpus: [] }) },
    memory: { availableBytes, bufferBytes },
    ramBandwidth: async () => ramBytesPerSecond,
  } as unknown as Parameters<typeof createSuggestions>[0]);
}

const quickest = "hf.co/LiquidAI/LFM2.5-350M-GGUF:Q8_0";
const small = "hf.co/LiquidAI/LFM2.5-1.2B-Instruct-GGUF:Q4_K_M";

describe("suggestModels", () => {
  it.each([
    [2.6, quickest],
    [4, small],
    [6, "qwen3:4b-instruct"],
    [12, "qwen3:4b-instruct"],
    [16, "hf.co/ggml-org/gpt-oss-20b-GGUF"],
    [32, "hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:Q4_K_M"],
  ])("%f GB available at 40 GB/s: %s", (available, name) => {
    expect(suggestModels(machine(available)).name).toBe(name);
  });

  it.each([
    [8, small],
    [12, small],
    [25, "qwen3:4b-instruct"],
    [60, "granite4.1:8b"],
  ])("10 GB available at %f GB/s: %s, the strongest that reaches 8 tokens/s", (speed, name) => {
    expect(suggestModels(machine(10, { ramBytesPerSecond: speed * GB })).name).toBe(name);
  });

  it("names the quickest and says so if none reaches 8 tokens/s", () => {
    const { name, reason, alternatives } = suggestModels(machine(10, { ramBytesPerSecond: GB }));
    expect([name, alternatives]).toEqual([quickest, []]);
    expect(reason).toBe(
      "379.0 MB download, needs 454.8 MB, 2.1 GB stay free (10.0 GB available), about 2.6 tokens/s, free for companies with less than $10 million revenue; no model that fits reaches 8 tokens/s on this machine",
    );
  });

  it("counts only the active parameters of a mixture of experts", () => {
    const { reason } = suggestModels(machine(16));
    expect(reason).toBe("12.1 GB download, needs 14.5 GB (16.0 GB available), about 19 tokens/s");
  });

  it("adds a model that is clearly quicker, and with Ollama one that reads images", () => {
    expect(namesOf(machine(10, { ramBytesPerSecond: 60 * GB }))).toEqual(["granite4.1:8b", "quick granite4.1:3b"]);
    expect(namesOf(machine(6.5, { hasOllama: true }))).toEqual(["qwen3.5:4b", `quick ${small}`]);
    // The best of them reads no images.
    expect(namesOf(machine(5, { hasOllama: true }))).toEqual([
      "qwen3:4b-instruct",
      `quick ${small}`,
      "vision qwen3.5:2b",
    ]);
  });

  it("suggests nothing that only Ollama runs where there is none", async () => {
    const embedded = new Set(firstModels.filter(({ runsEmbedded }) => runsEmbedded).map(({ name }) => name));
    for (let available = 1; available < 80; available += 1) {
      const { name, alternatives } = suggestModels(machine(available));
      for (const each of [name, ...alternatives.map((other) => other.name)]) expect(embedded).toContain(each);
    }
    expect(await suggestionsOn(machine(60)).vision()).toBeUndefined();
    expect(await suggestionsOn(machine(60, { hasOllama: true })).vision()).toMatchObject({ name: "qwen3.5:35b" });
  });

  it("uses the memory and the bandwidth of a card", () => {
    const cards = [{ name: "NVIDIA GeForce RTX 4090", totalBytes: 24 * GB, freeBytes: 23 * GB }];
    const { name, reason } = suggestModels(machine(10, { hasOllama: true, cards }));
    expect(name).toBe("gemma4:12b");
    expect(reason).toBe("7.6 GB download, needs 9.1 GB (23.0 GB free on NVIDIA GeForce RTX 4090), about 66 tokens/s");
  });

  it.each([16, 64])("%d GB available, and no speed measured in time: no large download", (available) => {
    const unmeasured = machine(available, { ramBytesPerSecond: undefined, hasOllama: true });
    expect(namesOf(unmeasured)).toEqual(["qwen3:4b-instruct", `quick ${small}`, "vision qwen3.5:2b"]);
  });

  it("states no speed where none is known", () => {
    const { name, reason } = suggestModels(machine(6, { ramBytesPerSecond: undefined }));
    expect([name, reason]).toEqual([
      "qwen3:4b-instruct",
      "2.5 GB download, needs 3.0 GB, 1.6 GB stay free (6.0 GB available)",
    ]);
  });

  it("states a licence that not every user may accept, and no other", () => {
    expect(suggestModels(machine(4)).reason).toContain("free for companies with less than $10 million revenue");
    expect(suggestModels(machine(12)).reason).not.toContain("free for");
  });

  it("names the smallest with the reason when nothing fits", () => {
    expect(suggestModels(machine(1))).toEqual({
      name: quickest,
      reason:
        "the smallest known (379.0 MB); it needs 454.8 MB, 2.1 GB stay free (memory.bufferBytes), and 1.0 GB are available",
      alternatives: [],
    });
  });
});

describe("codeAdvice", () => {
  type Known = Parameters<typeof codeAdvice>[0];

  /** A model as it is described: by the database, or as one that is in none. */
  function installed(name: string, billions = 3, more: Partial<Known["models"][number]> = {}): Known["models"][number] {
    const { entry, ...described } = describeFromDatabase(name);
    const isKnown = entry !== undefined;
    return { ...described, model: name, sizeBytes: billions * 0.6e9, parameterCount: billions * 1e9, isKnown, ...more };
  }

  const tasks = [
    { name: "code", history: [10, 20] },
    { name: "code_review", history: [6] },
    { name: "debugging", history: [12] },
    { name: "general", history: [70, 2] },
  ];
  const general = [installed("llama3.2:3b"), installed("gemma3:4b", 4)];
  const known: Known = { tasks, models: general, areAllKnown: true };
  const advised = (change: Partial<Known> = {}, on = machine(10)) => codeAdvice({ ...known, ...change }, on);

  it("names a model that fits, with the share of the requests, its size and its need", () => {
    expect(advised()).toEqual([
      {
        kind: "lacking",
        subject: "qwen2.5-coder:7b",
        text: "40 % of 120 requests of the last 30 days were about code, and no installed model was made for it; qwen2.5-coder:7b was, and fits: 4.7 GB download, needs 5.6 GB, 1.2 GB stay free (10.0 GB available), about 8.5 tokens/s",
        next: { step: "pullModel", model: "qwen2.5-coder:7b" },
      },
    ]);
    expect(advised({}, machine(32))[0]?.subject).toBe("qwen3-coder:30b");
    expect(advised({}, machine(10, { maxBytes: 2 * GB }))[0]?.subject).toBe("qwen2.5-coder:1.5b");
  });

  it("counts models that were made for other work, and none that write no text", () => {
    const others = [installed("nomic-embed-text", 0.1), installed("mistral:7b", 7)];
    expect(advised({ models: [...general, ...others] })).toHaveLength(1);
    expect(advised({ models: [] })).toHaveLength(1);
    const stated = installed("tinyfoo:1b", 1, { profiles: ["creative"], isKnown: true });
    expect(advised({ models: [...general, stated] })).toHaveLength(1);
  });

  it.each<readonly [string, Partial<Known>, number]>([
    ["19 requests say little", { tasks: [{ name: "code", history: [19] }] }, 10],
    ["few requests are about code", { tasks: [...tasks, { name: "creative", history: [121] }] }, 10],
    ["no request is recorded", { tasks: [] }, 10],
    ["a model for code is installed", { models: [...general, installed("qwen2.5-coder:1.5b", 1.5)] }, 10],
    ["a general model that is for code, too, is installed", { models: [...general, installed("llama3.1:8b", 8)] }, 10],
    [
      "the settings mean a model for code",
      { models: [installed("tiny", 1, { profiles: ["code"], isKnown: true })] },
      10,
    ],
    ["nothing is known of a model", { models: [...general, installed("tinyfoo:1b", 1)] }, 10],
    ["a general model is stronger at code than what fits", { models: [installed("gemma3:27b", 27)] }, 4],
    ["an engine is silent, whose models may be for code", { areAllKnown: false }, 10],
    ["no model for code fits", {}, 2],
  ])("says nothing where %s", (_case, change, gigabytes) => {
    expect(advised(change, machine(gigabytes))).toEqual([]);
  });
});

describe("the table of first models", () => {
  it.each(firstModels.map((model) => [model.name, model] as const))("%s is known, dated and sourced", (name, model) => {
    const { capabilities, entry } = describeFromDatabase(name);
    expect(entry).toBeDefined();
    expect(capabilities).toContain("completion");
    expect(capabilities.includes("vision")).toBe(model.hasVision);
    expect(model.source).toMatch(/; 202\d-\d\d-\d\d$/);
    expect(model.activeBytes).toBeLessThanOrEqual(model.sizeBytes);
    expect(model.activeParameters).toBeLessThanOrEqual(model.parameters);
  });

  it("describes a pull of its models, and of others whose size is given", async () => {
    const { download } = suggestionsOn(machine(10));
    const known = "2.5 GB download, needs 3.0 GB, 1.6 GB stay free (10.0 GB available), about 16 tokens/s";
    expect(await download("QWEN3:4b-instruct")).toBe(known);
    expect(await download("QWEN3:4b-instruct", { sizeBytes: 1, host: "hf.co" })).toBe(known);
    expect(await download("mistral:7b")).toBeUndefined();
    expect(await download("mistral:7b", { sizeBytes: 4.4 * GB, host: "hf.co" })).toBe(
      "4.4 GB download, needs 5.3 GB, 1.3 GB stay free (10.0 GB available), about 9.1 tokens/s; the size is from hf.co, the rest estimated from it",
    );
    expect(await download("llama3.3:70b", { sizeBytes: 42 * GB, host: "hf.co" })).toContain(", does not fit;");
  });

  it("installed models: what a token reads, of a mixture of experts those that it uses", () => {
    expect(activeBytesOf({ name: "smollm2:135m", sizeBytes: 98e6 })).toBe(98e6);
    expect(activeBytesOf({ name: "gemma4:26b", sizeBytes: 18e9 })).toBe(2.7e9);
    expect(activeBytesOf({ name: "mixtral:8x7b", sizeBytes: 26e9 })).toBeCloseTo((26e9 * 12.9) / 46.7, -3);
    expect(activeBytesOf({ name: "qwen3:30b-a3b", sizeBytes: 19e9 })).toBeCloseTo(1.9e9, -3);
  });
});

describe("expected speed", () => {
  it("main memory: limited by the bandwidth or by the cores", () => {
    expect(ramBandwidth(40 * GB, 1)).toBe(10 * GB);
    expect(ramBandwidth(40 * GB, 8)).toBe(34 * GB);
  });

  it.each([
    ["NVIDIA GeForce RTX 3090", 468],
    ["NVIDIA H100 PCIe", 1000],
    ["NVIDIA H100 80GB HBM3", 1675],
    ["AMD Radeon RX 7900 XTX", 400],
    ["a card of the future", 56],
  ])("%s: %f GB/s", (name, bandwidth) => {
    expect(cardBandwidth(name)).toBe(bandwidth * GB);
  });
});
