import { expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const prices = { inputPerMillion: 10, outputPerMillion: 10, currency: "USD", date: "2026-11-23" };

it("a model whose setting limits its answers is charged for that many tokens by the router, too", async () => {
  const engine = createFakeEngine("paid", [fakeModel("kimi-k2", gigabyte, { trust: "remote" })], {
    kind: "openai",
    trust: "remote",
    pricesOf: () => prices,
    // 4,096 tokens cost 0.04.
    monthlyBudget: 0.01,
  });
  const { generate } = createTestOrchestrator([engine], {
    settings: { privacy: "allow_remote", models: { "kimi*": { options: { maxTokens: 100 } } } },
    now: Date.now,
  });
  expect((await generate({ prompt: "hello" })).model).toBe("kimi-k2");
  expect((await generate({ prompt: "hello", model: "kimi-k2" })).model).toBe("kimi-k2");
});
