import { describe, expect, it } from "vitest";
import type { EngineEmbedding } from "../../../src/orchestrator/engines/engine.ts";
import { instructed } from "../../../src/orchestrator/generation/embedder.ts";
import { type FakeEngine, createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const embeds = { capabilities: ["embedding"] as const };

/** An engine that can embed, and records the inputs. */
function embeddingEngine(
  models: Parameters<typeof createFakeEngine>[1],
  more: Parameters<typeof createFakeEngine>[2] = {},
) {
  const used: string[] = [];
  const texts: string[] = [];
  const embedding: EngineEmbedding = {
    embed: async (model, inputs) => {
      used.push(model);
      texts.push(...inputs);
      return {
        vectors: inputs.map((text) => [/dog|animal/i.test(text) ? 1 : 0, 1, text.length / 100]),
        promptTokens: 1,
      };
    },
  };
  return { engine: createFakeEngine("ollama", models, { embedding, ...more }), used, texts };
}

async function recall(engines: readonly FakeEngine[], memoryBytes = 32 * gigabyte) {
  const harness = createTestOrchestrator(engines, { memoryBytes });
  const caller = harness.caller();
  await harness.orchestrator.memories.remember(caller, { key: "dog", value: "Rex" });
  const { method } = await harness.orchestrator.memories.recall(caller, { query: "animal" });
  await harness.orchestrator.close();
  return method;
}

describe("the embedding model for memories", () => {
  it("is asked nothing for a plan", async () => {
    const { engine, texts } = embeddingEngine([
      fakeModel("small:1b", gigabyte),
      fakeModel("e:1b", gigabyte / 10, embeds),
    ]);
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    await orchestrator.memories.remember(caller(), { key: "dog", value: "Rex" });
    await orchestrator.memories.recall(caller(), { query: "animal" });
    await generate({ prompt: "my animal", model: "small:1b" });
    expect(texts).not.toEqual([]);
    texts.length = 0;
    await orchestrator.planGeneration(caller(), { prompt: "another animal", model: "small:1b" });
    expect(texts).toEqual([]);
    await orchestrator.close();
  });

  it("is the smallest one, loaded like any other model", async () => {
    const { engine, used } = embeddingEngine([
      fakeModel("chat", gigabyte),
      fakeModel("large-embed", 2 * gigabyte, embeds),
      fakeModel("small-embed", gigabyte / 10, embeds),
    ]);
    expect(await recall([engine])).toBe("hybrid");
    expect(new Set(used)).toEqual(new Set(["small-embed"]));
    expect(engine.calls).toContain("load small-embed 512");
  });

  it("is a loaded one, however large", async () => {
    const { engine, used } = embeddingEngine([
      fakeModel("large-embed", 2 * gigabyte, embeds),
      fakeModel("small-embed", gigabyte / 10, embeds),
    ]);
    const resident = { name: "large-embed", sizeBytes: 2 * gigabyte, vramBytes: 0, mappedBytes: 0, contextTokens: 512 };
    engine.resident.set("large-embed", resident);
    expect(await recall([engine])).toBe("hybrid");
    expect(new Set(used)).toEqual(new Set(["large-embed"]));
    expect(engine.calls.filter((call) => call.startsWith("load"))).toEqual([]);
  });

  it("unloads no other model: if it does not fit, the search is by text", async () => {
    const { engine, used } = embeddingEngine([
      fakeModel("chat", 4 * gigabyte),
      fakeModel("embed", 3 * gigabyte, embeds),
    ]);
    const resident = { name: "chat", sizeBytes: 4 * gigabyte, vramBytes: 0, mappedBytes: 0, contextTokens: 4096 };
    engine.resident.set("chat", resident);
    expect(await recall([engine], 8 * gigabyte)).toBe("text");
    expect(used).toEqual([]);
    expect([...engine.resident.keys()]).toEqual(["chat"]);
  });

  it.each([
    ["a remote model", {}, { trust: "remote" as const }],
    ["a model of a remote engine", { trust: "remote" as const }, {}],
  ])("is never %s", async (_what, engineMore, modelMore) => {
    const { engine, used } = embeddingEngine([fakeModel("embed", gigabyte, { ...embeds, ...modelMore })], engineMore);
    expect(await recall([engine])).toBe("text");
    expect(used).toEqual([]);
  });

  it("is loaded by a search, not for adding memories to a prompt", async () => {
    const { engine, used } = embeddingEngine([fakeModel("chat", gigabyte), fakeModel("embed", gigabyte / 10, embeds)]);
    const harness = createTestOrchestrator([engine]);
    await harness.orchestrator.memories.remember(harness.caller(), { key: "dog", value: "Rex" });
    await harness.generate({ prompt: "What is my dog called?", model: "chat" });
    expect(used).toEqual([]);
    expect(engine.calls.filter((call) => call.startsWith("load"))).toEqual([expect.stringContaining("load chat")]);
    await harness.orchestrator.memories.recall(harness.caller(), { query: "animal" });
    expect(new Set(used)).toEqual(new Set(["embed"]));
    await harness.orchestrator.close();
  });

  it("gets queries and documents with different prefixes", async () => {
    const { engine, texts } = embeddingEngine([fakeModel("nomic-embed-text", gigabyte, embeds)]);
    expect(await recall([engine])).toBe("hybrid");
    expect(texts).toContain("search_query: animal");
    expect(texts).toContain("search_document: dog: Rex");
  });

  it("may be missing, as may the engine", async () => {
    const { engine } = embeddingEngine([fakeModel("chat", gigabyte)]);
    expect(await recall([engine])).toBe("text");
    expect(await recall([])).toBe("text");
    engine.down = new Error("down");
    expect(await recall([engine])).toBe("text");
  });
});

describe("embedded text", () => {
  it("has a query or document prefix for models that distinguish them", () => {
    expect(instructed("nomic-embed-text:latest", "a", "query")).toBe("search_query: a");
    expect(instructed("nomic-embed-text", "a", "document")).toBe("search_document: a");
    expect(instructed("intfloat/e5-small", "a", "document")).toBe("passage: a");
    expect(instructed("mxbai-embed-large", "a", "document")).toBe("a");
    expect(instructed("all-minilm:l6", "a", "query")).toBe("a");
  });
});
