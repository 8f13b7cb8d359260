import { expect, it } from "vitest";
import { automaticBatch, ollamaLoad } from "../../../src/orchestrator/memory/ollama-load.ts";

const chat = { contextTokens: 131_072, capabilities: ["completion"] } as const;

it.each([
  [4_096, 512],
  [4_097, 1_024],
  [32_768, 1_024],
  [32_769, 2_048],
])("a total context of %d tokens has a batch of %d", (total, batch) => {
  expect(automaticBatch(total, false)).toBe(batch);
});

it("the batch follows from the context of all sequences together", () => {
  const server = { parallel: 4, cacheType: "q8_0", hasFlashAttention: true } as const;
  expect(ollamaLoad(chat, 16_384, server)).toEqual({ ...server, contextTokens: 16_384, batchTokens: 2_048 });
});

it.each([
  ["an embedding model", { ...chat, capabilities: ["embedding"] as const }],
  ["an architecture that Ollama loads with one sequence", { ...chat, architecture: "qwen3next" }],
])("%s has one sequence regardless of the server's options", (_, facts) => {
  const server = { parallel: 4, cacheType: "q8_0", hasFlashAttention: true } as const;
  expect(ollamaLoad(facts, 2_048, server)).toMatchObject({ parallel: 1, cacheType: "q8_0" });
});

it("a context beyond the model's own is limited to it", () => {
  expect(ollamaLoad({ ...chat, contextTokens: 2_048 }, 8_192)).toMatchObject({
    contextTokens: 2_048,
    batchTokens: 512,
  });
});

it("the model's own num_batch takes precedence", () => {
  expect(ollamaLoad({ ...chat, parameters: { num_batch: 64 } }, 8_192).batchTokens).toBe(64);
});

it("embeddings are computed in one batch of up to 2,048 tokens", () => {
  expect(ollamaLoad({ contextTokens: 512, capabilities: ["embedding"] }, 512).batchTokens).toBe(512);
  expect(ollamaLoad({ contextTokens: 8_192, capabilities: ["embedding"] }, 8_192).batchTokens).toBe(2_048);
});
