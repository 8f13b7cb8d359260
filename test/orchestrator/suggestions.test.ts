import { describe, expect, it } from "vitest";
import { EngineUnreachable, UnknownModel, UnsupportedCapability } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const quick = "hf.co/LiquidAI/LFM2.5-1.2B-Instruct-GGUF:Q4_K_M";

const embedded = (models: Parameters<typeof createFakeEngine>[1]) =>
  createFakeEngine("llama-cpp", models, { kind: "llama-cpp" });

describe("suggestions", () => {
  it("state the speed that the measured bandwidth gives", async () => {
    const { orchestrator, caller } = createTestOrchestrator([embedded([])], {
      memoryBytes: 16 * gigabyte,
      ramBandwidth: () => Promise.resolve(25e9),
    });
    expect((await orchestrator.listModels(caller(), {})).suggestion).toEqual({
      name: "hf.co/ggml-org/gpt-oss-20b-GGUF",
      reason: expect.stringMatching(/^12\.1 GB download, needs .* available\), about 12 tokens\/s$/) as string,
      alternatives: [expect.objectContaining({ kind: "quick", name: quick })],
    });
  });

  it.each([
    ["nothing fits", { memoryBytes: gigabyte / 4 }, "it needs"],
    ["nothing is quick enough", { memoryBytes: 16 * gigabyte, ramBandwidth: () => Promise.resolve(1e9) }, "reaches 8"],
  ])("are the same in the list and in the error about a request: %s", async (_case, machine, words) => {
    const { orchestrator, caller, generate } = createTestOrchestrator([embedded([])], machine);
    const { suggestion } = await orchestrator.listModels(caller(), {});
    expect(suggestion?.reason).toContain(words);
    await expect(generate({ prompt: "hello" })).rejects.toMatchObject({
      next: [{ step: "pullModel", model: suggestion?.name, because: suggestion?.reason }],
    });
  });

  it("state no speed if the bandwidth can't be measured", async () => {
    const { orchestrator, caller } = createTestOrchestrator([embedded([])], {
      memoryBytes: 8 * gigabyte,
      ramBandwidth: () => Promise.resolve(undefined),
    });
    const { suggestion } = await orchestrator.listModels(caller(), {});
    expect(suggestion?.reason).not.toContain("tokens/s");
  });

  it.each([
    ["use the speed that an installed model reached, for the pull of another one", gigabyte, true],
    ["keep to the measurement when only a tiny model has answered", 0.1 * gigabyte, false],
  ])("%s", async (_rule, sizeBytes, isUsed) => {
    const engine = embedded([fakeModel("mine:1b", sizeBytes)]);
    // 100 tokens in 2 s: 50 GB/s if a token reads a gigabyte, more than was measured.
    engine.answer = (_request, sink) => {
      sink.text("Done.");
      return Promise.resolve({ text: "Done.", completionTokens: 100, timings: { decodeMs: 2_000 } });
    };
    const { orchestrator, caller, generate } = createTestOrchestrator([engine], {
      ramBandwidth: () => Promise.resolve(5e9),
    });
    const download = async () => {
      const error: unknown = await orchestrator
        .planLoad(caller(), { model: "qwen3:4b-instruct" })
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(UnknownModel);
      return JSON.stringify((error as UnknownModel).next);
    };
    expect(await download()).toContain("about 2 tokens/s");
    await generate({ prompt: "hello" });
    const speed = Number(/about (\d+) tokens/.exec(await download())?.[1]);
    expect(speed > 10).toBe(isUsed);
  });

  it("a verbose list has the measured speed of a model, and the expected speed of one that has not answered", async () => {
    const speedsOf = async (engine: ReturnType<typeof createFakeEngine>, isAnswered: boolean) => {
      engine.answer = (_request, sink) => {
        sink.text("Done.");
        return Promise.resolve({ text: "Done.", completionTokens: 100, timings: { decodeMs: 2_000 } });
      };
      const { orchestrator, caller, generate } = createTestOrchestrator([engine], {
        ramBandwidth: () => Promise.resolve(10 * gigabyte),
      });
      if (isAnswered) await generate({ model: "a:1b", prompt: "hello" });
      const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
      return models.map(({ tokensPerSecond, expectedTokensPerSecond }) => [tokensPerSecond, expectedTokensPerSecond]);
    };
    const models = [fakeModel("a:1b", gigabyte), fakeModel("b:2b", 2 * gigabyte), fakeModel("mix:30b-a3b", gigabyte)];
    expect(await speedsOf(embedded(models), false)).toEqual([
      [undefined, 10],
      [undefined, 5],
      // Of its 30 billion parameters a token uses three.
      [undefined, 100],
    ]);
    const [measured, expected] = await speedsOf(embedded(models), true);
    expect(measured).toEqual([expect.any(Number), undefined]);
    // What a model reached counts for more than what was measured.
    expect(expected?.[0]).toBeUndefined();
    expect(expected?.[1]).toBeCloseTo((measured?.[0] ?? 0) / 2);
  });

  it("a verbose list looks at the machine once, however many models it has", async () => {
    const measured = { times: 0 };
    const many = Array.from({ length: 40 }, (_unused, index) => fakeModel(`m${index}:1b`, gigabyte));
    const { orchestrator, caller } = createTestOrchestrator([embedded(many)], {
      ramBandwidth: () => {
        measured.times += 1;
        return Promise.resolve(10 * gigabyte);
      },
    });
    const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
    expect(new Set(models.map(({ expectedTokensPerSecond }) => expectedTokensPerSecond))).toEqual(new Set([10]));
    expect(measured.times).toBe(1);
  });

  it("an error about a model without a row only says how to pull it", async () => {
    const { orchestrator, caller } = createTestOrchestrator([embedded([])]);
    await expect(orchestrator.planLoad(caller(), { model: "mistral:7b" })).rejects.toMatchObject({
      next: [{ step: "pullModel", model: "mistral:7b" }, { step: "listModels" }],
    });
  });

  it("a request with an image: a model that reads images, only where Ollama responds", async () => {
    const text = fakeModel("llama3.2:3b", 2 * gigabyte);
    const ollama = createFakeEngine("ollama", []);
    const { generate } = createTestOrchestrator([ollama, embedded([text])], {
      memoryBytes: 8 * gigabyte,
    });
    const request = { prompt: "What is this?", images: ["aGk="] };
    await expect(generate(request)).rejects.toMatchObject({
      next: [{ step: "pullModelThat", that: "that has vision", example: "qwen3.5:2b" }],
    });
    ollama.down = new EngineUnreachable("Ollama does not answer");
    const error: unknown = await generate(request).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnsupportedCapability);
    expect((error as UnsupportedCapability).next).toEqual([
      { step: "advice", text: "describe the image in words: the engine of this machine reads text only" },
    ]);
  });

  it("a request with an image and no model at all: the same", async () => {
    const request = { prompt: "What is this?", images: ["aGk="] };
    const named = async (engine: ReturnType<typeof createFakeEngine>) => {
      const { generate } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
      const error: unknown = await generate(request).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(UnknownModel);
      return (error as UnknownModel).next;
    };
    expect(await named(createFakeEngine("ollama", []))).toEqual([
      { step: "pullModel", model: "qwen3.5:2b", because: expect.stringMatching(/^2\.7 GB download/) as string },
    ]);
    expect(await named(embedded([]))).toMatchObject([{ model: "qwen3:4b-instruct" }]);
  });

  it("from use: a model for code where many recorded requests are about it, unless one may be there", async () => {
    const engine = embedded([fakeModel("llama3.2:3b", 2 * gigabyte)]);
    const far = createFakeEngine("far", [fakeModel("gemma3:4b", gigabyte)]);
    let nowMs = Date.UTC(2026, 10, 25, 9);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine, far], {
      memoryBytes: 16 * gigabyte,
      ramBandwidth: () => Promise.resolve(40e9),
      now: () => nowMs,
    });
    const lacking = async () => {
      // The lists are as old as that at most.
      nowMs += 61_000;
      const { found } = await orchestrator.metrics.advice(caller());
      return found.filter(({ kind }) => kind === "lacking").map(({ subject }) => subject);
    };
    for (let count = 0; count < 19; count += 1) await generate({ prompt: "Sort a list.", task: "code" });
    expect(await lacking()).toEqual([]);
    await generate({ prompt: "Sort a list.", task: "code" });
    expect(await lacking()).toEqual(["qwen2.5-coder:7b"]);
    far.down = new EngineUnreachable("no answer");
    expect(await lacking()).toEqual([]);
    far.down = undefined;
    engine.models.push(fakeModel("starcoder2:3b", gigabyte));
    expect(await lacking()).toEqual([]);
  });

  it("Ollama on another machine runs nothing here", async () => {
    const far = Object.assign(createFakeEngine("ollama", []), { memoryDomain: "far" });
    const { orchestrator, caller } = createTestOrchestrator([far, embedded([])], {
      memoryBytes: 6 * gigabyte,
    });
    const { suggestion } = await orchestrator.listModels(caller(), {});
    expect([suggestion?.name, suggestion?.alternatives.map(({ name }) => name)]).toEqual([
      "qwen3:4b-instruct",
      [quick],
    ]);
  });
});
