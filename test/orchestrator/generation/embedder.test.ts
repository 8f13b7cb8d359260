import { describe, expect, it } from "vitest";
import {
  PrivacyLocked,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
} from "../../../src/orchestrator/api/errors.ts";
import { createEvents } from "../../../src/orchestrator/api/events.ts";
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

describe("texts of programs", () => {
  const chat = fakeModel("chat", gigabyte);
  const small = fakeModel("small-embed", gigabyte / 10, embeds);
  const other = fakeModel("other-embed", gigabyte, embeds);

  it("are embedded by the model that is named, as they are, and counted", async () => {
    const { engine, texts, used } = embeddingEngine([chat, fakeModel("nomic-embed-text", gigabyte, embeds), small]);
    const events = createEvents({ warn: () => undefined });
    const ended: unknown[] = [];
    events.on(["request ended"], (event) => ended.push(event));
    const { orchestrator, caller } = createTestOrchestrator([engine], { events });
    const result = await orchestrator.embed(caller(), { model: "nomic-embed-text", texts: ["my animal", "a house"] });
    expect(result).toMatchObject({ model: "nomic-embed-text", engine: "ollama", promptTokens: 1 });
    expect(result.vectors).toEqual([
      [1, 1, 0.09],
      [0, 1, 0.07],
    ]);
    expect(texts).toEqual(["my animal", "a house"]);
    expect(used).toEqual(["nomic-embed-text"]);
    events.flush();
    expect(ended).toMatchObject([
      { task: "embedding", client: "test", attempts: [{ model: "nomic-embed-text", promptTokens: 1 }] },
    ]);
    await orchestrator.close();
  });

  it("unload an idle model to make room, and wait for one that answers", async () => {
    const { engine } = embeddingEngine([fakeModel("chat", 4 * gigabyte), fakeModel("embed", 3 * gigabyte, embeds)]);
    const { orchestrator, generate, caller } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
    await generate({ model: "chat" });
    await orchestrator.embed(caller(), { model: "embed", texts: ["a"] });
    expect(engine.calls).toEqual(expect.arrayContaining(["unload chat", "load embed 2048"]));
    await orchestrator.close();
  });

  it("go to an installed model that embeds if none is named", async () => {
    const { engine } = embeddingEngine([chat, other]);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    expect((await orchestrator.embed(caller(), { texts: ["a"] })).model).toBe("other-embed");
    await orchestrator.close();
  });

  it("are refused by a chat model with the names of those that embed, and by an unknown one with near names", async () => {
    const { engine } = embeddingEngine([chat, small, other]);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const refused = await orchestrator
      .embed(caller(), { model: "chat", texts: ["a"] })
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UnsupportedCapability);
    expect(JSON.stringify((refused as UnsupportedCapability).next)).toMatch(/-embed/);
    const unknown = await orchestrator
      .embed(caller(), { model: "smal-embed", texts: ["a"] })
      .catch((error: unknown) => error);
    expect(unknown).toBeInstanceOf(UnknownModel);
    expect((unknown as UnknownModel).next[0]).toMatchObject({ step: "didYouMean", names: ["small-embed"] });
    await orchestrator.close();
  });

  it("at a paid engine are a request with what they cost", async () => {
    const prices = { inputPerMillion: 1_000, outputPerMillion: 0, currency: "USD", date: "2026-11-01" };
    const { engine } = embeddingEngine([other], { pricesOf: () => prices });
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    await orchestrator.embed(caller(), { model: "other-embed", texts: ["a"] });
    const { rows } = await orchestrator.metrics.requests(caller(), { limit: 1 });
    expect(rows[0]).toMatchObject({
      task: "embedding",
      via: "door",
      reason: expect.stringContaining("requested") as string,
    });
    expect(rows[0]?.cost).toEqual([{ amount: 0.001, currency: "USD" }]);
    await orchestrator.close();
  });

  it("stay here under local_only", async () => {
    const { engine, used } = embeddingEngine([other], { trust: "remote" });
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    await expect(orchestrator.embed(caller(), { model: "other-embed", texts: ["a"] })).rejects.toThrow(PrivacyLocked);
    expect(used).toEqual([]);
    await orchestrator.close();
  });

  it("are not cut: a text that its engine counts as longer is asked again with more context, or refused", async () => {
    const contexts: (number | undefined)[] = [];
    const embedding: EngineEmbedding = {
      embed: async (_model, _inputs, _signal, loadedTokens = 0) => {
        contexts.push(loadedTokens);
        if (loadedTokens < 5_000)
          throw new PromptTooLong("too long", { promptTokens: 5_000, contextTokens: loadedTokens });
        return { vectors: [[1]], promptTokens: 5_000 };
      },
    };
    const narrow = fakeModel("narrow", gigabyte, { ...embeds, contextTokens: 4_096 });
    const { orchestrator, caller } = createTestOrchestrator([
      createFakeEngine("ollama", [other, narrow], { embedding }),
    ]);
    const texts = ["x ".repeat(3_000)];
    expect((await orchestrator.embed(caller(), { model: "other-embed", texts })).promptTokens).toBe(5_000);
    expect(contexts).toEqual([4_096, 8_192]);
    await expect(orchestrator.embed(caller(), { model: "narrow", texts })).rejects.toThrow(PromptTooLong);
    await orchestrator.close();
  });
});
