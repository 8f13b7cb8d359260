import { describe, expect, it } from "vitest";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import { isOtherQuantization } from "../../../src/orchestrator/routing/database.ts";
import { candidate, loaded, order, request } from "./candidates.ts";

const considered = (...[asked, candidates]: Parameters<typeof chooseModel>) =>
  chooseModel(asked, candidates).considered;

describe("expected seconds", () => {
  const asked = request({ promptTokens: 1000, answerTokens: 200 });

  it("follow from what was measured of the model: its load, its prompt, its answer", () => {
    const measured = { reloadSeconds: 4, promptTokensPerSecond: 500, tokensPerSecond: 20 };
    const parts = { promptSeconds: 2, answerSeconds: 10, isMeasured: true };
    expect(considered(asked, [candidate("mistral:7b", measured)])).toMatchObject([
      { expectedSeconds: 16, terms: { loadSeconds: 4, ...parts } },
    ]);
    expect(considered(asked, [loaded("mistral:7b", measured)])).toMatchObject([
      { expectedSeconds: 12, terms: { loadSeconds: 0, ...parts } },
    ]);
  });

  it("of a model that never answered follow from its size and the speed of another one of its engine", () => {
    const known = loaded("mistral:7b", { sizeBytes: 4e9, tokensPerSecond: 25, engine: "fast" });
    const half = candidate("qwen2.5:3b", { sizeBytes: 2e9, engine: "fast" });
    const alone = candidate("yi:6b", { sizeBytes: 2e9, engine: "other" });
    const seconds = new Map(
      considered(asked, [known, half, alone]).map(({ model, terms }) => [model, terms?.answerSeconds]),
    );
    expect(seconds.get("mistral:7b")).toBe(8);
    expect(seconds.get("qwen2.5:3b")).toBe(4);
    // 20 GB/s are assumed where nothing is known.
    expect(seconds.get("yi:6b")).toBe(20);
  });

  it("of a mixture of experts follow from the weights that one token reads", () => {
    const dense = candidate("qwen2.5:32b", { sizeBytes: 18e9 });
    const experts = candidate("qwen3:30b", { sizeBytes: 18e9, activeBytes: 2e9 });
    const [ofExperts, ofDense] = [experts, dense].map((each) => considered(asked, [each])[0]?.expectedSeconds ?? 0);
    expect(ofExperts).toBeLessThan((ofDense ?? 0) / 2);
  });

  it("of a cluster, whose sizes are unknown, have no load", () => {
    const served = loaded("qwen2.5:72b", {
      engine: "cluster",
      sizeBytes: 0,
      parameterCount: 72e9,
      expectedLoadSeconds: 0,
    });
    const [only] = considered(asked, [served]);
    expect(only).toMatchObject({
      expectedSeconds: 1 + 200 / 30,
      terms: { loadSeconds: 0, parameters: 72, isMeasured: false },
    });
  });

  it("decide between models that are equal in all other terms, loaded ones on other machines included", () => {
    const slow = loaded("qwen2.5:7b", { tokensPerSecond: 10, sizeBytes: 5e9 });
    const quick = loaded("qwen2.5:7b", { engine: "cluster", tokensPerSecond: 60, sizeBytes: 5e9 });
    expect(chooseModel(asked, [slow, quick]).chain[0]?.candidate.engine).toBe("cluster");
  });
});

describe("the terms of a score", () => {
  it("say what ranks a model", () => {
    const models = [
      loaded("llama3.1:8b", { parameterCount: 8e9 }),
      candidate("qwen2.5:7b", { fits: "after_eviction" }),
    ];
    expect(considered(request(), models)).toMatchObject([
      { model: "llama3.1:8b", terms: { step: "loaded", profile: "own", room: "loaded", parameters: 8 } },
      { model: "qwen2.5:7b", terms: { step: "own", profile: "own", room: "afterUnloading" } },
    ]);
    const remote = candidate("gpt-5", { trust: "remote", sizeBytes: 0 });
    expect(considered(request(), [remote])[0]).toMatchObject({ rejected: expect.any(String) as string });
    expect(considered(request(), [remote])[0]).not.toHaveProperty("score");
  });
});

describe("complexity", () => {
  it("low takes the fastest: what was measured wins over the size", () => {
    const small = candidate("qwen2.5:3b", { parameterCount: 3e9, sizeBytes: 2e9, tokensPerSecond: 5 });
    const experts = candidate("qwen3:30b-a3b", { parameterCount: 30e9, sizeBytes: 18e9, tokensPerSecond: 40 });
    const low = request({ complexity: "low" });
    expect(order(low, [small, experts])[0]).toBe("qwen3:30b-a3b");
    const untried = [small, experts].map(({ tokensPerSecond: _measured, ...each }) => each);
    expect(order(low, untried)[0]).toBe("qwen2.5:3b");
  });

  it("low: a loaded model yields to one that answers in half of its time, load included", () => {
    const large = loaded("llama3.3:70b", { parameterCount: 70e9, sizeBytes: 40e9, tokensPerSecond: 1 });
    const small = (seconds: number) =>
      candidate("llama3.2:3b", {
        parameterCount: 3e9,
        sizeBytes: 2e9,
        tokensPerSecond: 20,
        expectedLoadSeconds: seconds,
      });
    expect(order(request({ complexity: "low", maxSwitchSeconds: 0 }), [large, small(20)])[0]).toBe("llama3.2:3b");
    expect(order(request({ complexity: "low", maxSwitchSeconds: 0 }), [large, small(600)])[0]).toBe("llama3.3:70b");
    expect(order(request({ maxSwitchSeconds: 0 }), [large, small(20)])[0]).toBe("llama3.3:70b");
    const evicting = { ...small(20), evictsInUse: true };
    expect(order(request({ complexity: "low", maxSwitchSeconds: 0 }), [large, evicting])[0]).toBe("llama3.3:70b");
  });

  it("high: strength decides, and among models of the same strength the family", () => {
    const high = request({ complexity: "high" });
    const sizes = [
      candidate("qwen2.5:7b", { parameterCount: 7.6e9 }),
      candidate("llama3.1:8b", { parameterCount: 8e9 }),
      candidate("mistral:7b", { parameterCount: 7.2e9 }),
    ];
    expect(order(high, sizes)).toEqual(["llama3.1:8b", "qwen2.5:7b", "mistral:7b"]);
    const larger = [...sizes, candidate("qwen2.5:14b", { parameterCount: 14.8e9 })];
    expect(order(high, larger)[0]).toBe("llama3.1:8b");
    // Where memory is read as quickly as on a graphics card the larger one is no slower than people read.
    expect(
      order(
        high,
        larger.map((each) => ({ ...each, bytesPerSecond: 400e9 })),
      )[0],
    ).toBe("qwen2.5:14b");
  });
});

describe("another quantization of a model", () => {
  it.each([
    ["llama3:8b-instruct-q8_0", "llama3:8b-instruct-q4_K_M", true],
    ["llama3:8b-instruct-q8_0", "llama3:8b", true],
    ["llama3:8b-instruct-fp16", "hf.co/bartowski/Llama-3-8B-Instruct-GGUF:IQ3_XXS", true],
    ["gemma3:4b-it-qat", "gemma3:4b", true],
    ["llama3:8b-instruct-q8_0", "llama3:70b-instruct-q4_0", false],
    ["llama3:8b-instruct-q8_0", "llama3.1:8b-instruct-q4_0", false],
    ["llama3:8b-instruct-q8_0", "llama3:8b-text-q4_0", false],
    ["qwen2.5:7b", "qwen2.5-coder:7b", false],
    ["llama3:8b", "llama3:8b", false],
  ])("%s and %s: %s", (a, b, expected) => {
    expect(isOtherQuantization({ model: a }, { model: b })).toBe(expected);
    expect(isOtherQuantization({ model: b }, { model: a })).toBe(expected);
  });

  it("without a size in the name has the same number of parameters", () => {
    const preferred = { model: "llama3:8b-instruct-q8_0", parameterCount: 8.03e9 };
    expect(isOtherQuantization(preferred, { model: "llama3:latest", parameterCount: 8e9 })).toBe(true);
    expect(isOtherQuantization(preferred, { model: "llama3:latest", parameterCount: 70e9 })).toBe(false);
    expect(isOtherQuantization(preferred, { model: "llama3:latest" })).toBe(false);
  });
});
