import { expect, it } from "vitest";
import type { ModelFacts } from "../../../../src/orchestrator/api/types.ts";
import { ollamaLoadRules } from "../../../../src/orchestrator/engines/ollama/index.ts";

const large: ModelFacts = {
  name: "large",
  sizeBytes: 0,
  architecture: "llama",
  layerCount: 62,
  embeddingLength: 8_192,
  capabilities: ["completion"],
  trust: "local",
  metadata: { "llama.attention.head_count": 64, "llama.attention.head_count_kv": 8 },
};
const chat: ModelFacts = { ...large, contextTokens: 131_072, metadata: {} };
const usual = ollamaLoadRules();
const server = { parallel: 4, cacheType: "q8_0", hasFlashAttention: true } as const;
const configured = ollamaLoadRules(server);

function scheduled(facts: ModelFacts, contextTokens: number, parallel = 1): number | undefined {
  return usual.schedulerBytes?.(facts, { ...usual.loadShape(facts, contextTokens), contextTokens, parallel });
}

it.each([
  [4_096, 512],
  [4_097, 1_024],
  [32_768, 1_024],
  [32_769, 2_048],
])("a total context of %d tokens has a batch of %d", (total, batch) => {
  expect(usual.loadShape(chat, total).batchTokens).toBe(batch);
});

it("the batch follows from the context of all sequences together", () => {
  expect(configured.loadShape(chat, 16_384)).toEqual({ ...server, contextTokens: 16_384, batchTokens: 2_048 });
});

it.each([
  ["an embedding model", { ...chat, capabilities: ["embedding"] as const }],
  ["an architecture that Ollama loads with one sequence", { ...chat, architecture: "qwen3next" }],
])("%s has one sequence regardless of the server's options", (_, facts) => {
  expect(configured.loadShape(facts, 2_048)).toMatchObject({ parallel: 1, cacheType: "q8_0" });
});

it("a context beyond the model's own is limited to it", () => {
  expect(usual.loadShape({ ...chat, contextTokens: 2_048 }, 8_192)).toMatchObject({
    contextTokens: 2_048,
    batchTokens: 512,
  });
});

it("the model's own num_batch takes precedence", () => {
  expect(usual.loadShape({ ...chat, parameters: { num_batch: 64 } }, 8_192).batchTokens).toBe(64);
});

it("embeddings are computed in one batch of up to 2,048 tokens", () => {
  expect(usual.loadShape({ ...chat, contextTokens: 512, capabilities: ["embedding"] }, 512).batchTokens).toBe(512);
  expect(usual.loadShape({ ...chat, contextTokens: 8_192, capabilities: ["embedding"] }, 8_192).batchTokens).toBe(
    2_048,
  );
});

/** Compared with the log of Ollama 0.33 on an H100: 29.4 GiB and 17.2 GiB at 4,096 tokens. */
it.each([
  ["62 layers in Q4_0", 30_500_586_112, 62, 31_540_773_504],
  ["19 layers in Q8_0", 18_131_888_160, 19, 18_450_655_264],
])("Ollama's prediction for %s is the file and a full cache in F16", (_, sizeBytes, layerCount, expected) => {
  const facts = { ...large, sizeBytes, layerCount };
  expect(scheduled(facts, 4_096)).toBe(expected);
  expect((scheduled(facts, 4_096, 2) ?? 0) - expected).toBe(expected - sizeBytes);
});

it("Ollama's prediction counts the smallest number of key heads, and one where none is stated", () => {
  const facts = { ...large, sizeBytes: 0, layerCount: 1 };
  const metadata = { "llama.attention.head_count": [32, 64], "llama.attention.head_count_kv": [8, 4] };
  expect(scheduled({ ...facts, metadata }, 1)).toBe(4 * 4 * 128);
  expect(scheduled({ ...facts, metadata: { "llama.attention.head_count": 64 } }, 1)).toBe(4 * 128);
  expect(scheduled({ ...facts, metadata: {} }, 1)).toBe(0);
});

it("Ollama's prediction adds memory for a large batch that the model states", () => {
  const size = (num_batch?: number) => scheduled({ ...large, parameters: { num_batch } }, 1) ?? 0;
  expect(size(512) - size()).toBe(0);
  expect(size(1_024) - size()).toBe(768 * 1024 ** 2);
  expect(size(2_048) - size()).toBe(2 * 1024 ** 3);
});
