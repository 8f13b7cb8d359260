import { describe, expect, it } from "vitest";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import type { MemoryEstimate } from "../../../src/orchestrator/api/facade-status.ts";
import { smallerContext } from "../../../src/orchestrator/residency/room.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

/** The result if contexts up to `most` tokens fit, and the contexts that were checked. */
async function offered(contextTokens: number, most: number, method: MemoryEstimate["method"] = "computed") {
  const asked: number[] = [];
  const tokens = await smallerContext({ contextTokens, estimate: { method } }, (size) => {
    asked.push(size);
    return Promise.resolve(size <= most);
  });
  return { tokens, asked };
}

describe("a smaller context", () => {
  it("is the largest power of two below the refused one that fits", async () => {
    expect((await offered(32_768, 9_000)).tokens).toBe(8192);
    expect((await offered(32_768, 99_000)).tokens).toBe(16_384);
    expect((await offered(40_960, 99_000)).tokens).toBe(32_768);
  });

  it("is undefined if the smallest one doesn't fit, without further checks", async () => {
    expect(await offered(32_768, 0)).toEqual({ tokens: undefined, asked: [1024] });
  });

  it.each(["size_rule", "configured"] as const)("is undefined if the estimate is by %s", async (method) => {
    expect(await offered(32_768, 99_000, method)).toEqual({ tokens: undefined, asked: [] });
  });

  it("is undefined below the smallest one", async () => {
    expect(await offered(1024, 99_000)).toEqual({ tokens: undefined, asked: [] });
  });
});

describe("the error of a load that does not fit", () => {
  /** A gigabyte of weights, and one more for each 1024 tokens. */
  const perContext = async (_model: string, { contextTokens }: { readonly contextTokens: number }) => ({
    method: "simulated" as const,
    predictedBytes: gigabyte + (contextTokens / 1024) * gigabyte,
    margin: 0,
    processBytes: 0,
  });
  const refusal = async (memoryBytes: number) => {
    const engine = createFakeEngine("ollama", [fakeModel("wide:1b", gigabyte)], {
      estimation: { estimate: perContext },
    });
    const { orchestrator, caller } = createTestOrchestrator([engine], { memoryBytes });
    const asking = caller();
    const operation = await orchestrator.loadModel(asking, { model: "wide:1b", contextTokens: 16_384 });
    return operation.follow(asking.signal).catch((error: unknown) => error);
  };

  it("offers the context with which it fits", async () => {
    expect(await refusal(8 * gigabyte)).toMatchObject({
      next: [
        { step: "lowerArgument", argument: "context", to: 4096 },
        advice("free memory"),
        { step: "pullModelThat", that: "below 6.0 GB" },
      ],
    });
  });

  it("offers no smaller context where none fits", async () => {
    expect(await refusal(3 * gigabyte)).toMatchObject({
      next: [advice("free memory"), { step: "pullModelThat", that: "below 1.0 GB" }],
    });
  });
});
