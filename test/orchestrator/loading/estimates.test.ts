import { beforeEach, describe, expect, it } from "vitest";
import type { Settings } from "../../../src/orchestrator/config/schema.ts";
import { Cancelled, EngineUnreachable } from "../../../src/orchestrator/errors.ts";
import { createEstimates, type Estimates } from "../../../src/orchestrator/loading/estimates.ts";
import type { EngineKind, MemoryEstimate, ModelFacts, ResidentModel } from "../../../src/orchestrator/types.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";
import { fittedShapes } from "../../support/model-shapes.ts";
import { metadataOf } from "../../support/shape-gguf.ts";

const never = new AbortController().signal;
const sizeBytes = 98_362_432;
const model = fakeModel("smollm2:135m", sizeBytes);
const simulation: MemoryEstimate = { method: "simulated", predictedBytes: 222, margin: 0.05, processBytes: 0 };

const shape = fittedShapes.find(({ name }) => name === "SmolLM2 135M");
const described: ModelFacts = {
  name: model.name,
  sizeBytes,
  digest: model.name,
  weightsBytes: 96_576_768,
  vocabularySize: 49_152,
  contextTokens: 8_192,
  capabilities: ["completion"],
  trust: "local",
  metadata: Object.fromEntries(shape === undefined ? [] : metadataOf(shape).map(([key, , value]) => [key, value])),
};

let facts: () => ModelFacts;
let known: ModelFacts | undefined;
let resident: ResidentModel[];
let models: Record<string, { sizeBytes: number }>;
let nowMs: number;
let estimates: Estimates;

beforeEach(() => {
  facts = () => described;
  known = undefined;
  resident = [];
  models = {};
  nowMs = 0;
  estimates = createEstimates({
    settings: () => ({ models, memory: { bufferBytes: 2e9 } }) as unknown as Settings,
    inventory: {
      facts: async () => facts(),
      knownFacts: () => known,
      lastResident: () => resident,
    },
    now: () => nowMs,
  });
});

function place(kind: EngineKind, estimate?: MemoryEstimate, version = "0.33") {
  const engine = {
    ...createFakeEngine(kind, [model]),
    kind,
    health: async () => ({ isReachable: true, version, latencyMs: 1 }),
    ...(estimate === undefined ? {} : { estimation: { estimate: async () => estimate } }),
  };
  return { engine, model };
}

const loaded = (contextTokens: number, bytes: number): ResidentModel => ({
  name: model.name,
  digest: model.name,
  sizeBytes: bytes,
  vramBytes: 0,
  contextTokens,
});

describe("what answers", () => {
  it("is the setting before everything", async () => {
    models = { "smollm2*": { sizeBytes: 111 } };
    resident = [loaded(4_096, 333)];
    const estimate = await estimates.of(place("ollama", simulation), 4_096, never);
    expect(estimate).toMatchObject({ method: "configured", predictedBytes: 111 });
  });

  it("is the size that Ollama last reported of this load, before any prediction", async () => {
    const ollama = place("ollama", simulation);
    resident = [loaded(4_096, 210_690_374)];
    expect(await estimates.of(ollama, 4_096, never)).toMatchObject({
      method: "learned",
      predictedBytes: 210_690_374,
    });
    resident = [];
    expect((await estimates.of(ollama, 4_096, never)).method).toBe("learned");
    expect((await estimates.of(ollama, 2_048, never)).method).toBe("simulated");
  });

  it("is the engine's own allocator before the formula", async () => {
    expect(await estimates.of(place("llama-cpp", simulation), 4_096, never)).toEqual(simulation);
  });

  it("is the formula where nothing can be simulated, with its parts", async () => {
    const estimate = await estimates.of(place("ollama"), 4_096, never);
    expect(estimate).toMatchObject({
      method: "computed",
      parts: { weightsBytes: 96_576_768, cacheBytes: 90 * 1024 ** 2 },
    });
  });

  it("is the size rule without metadata, without an answer, and where nobody knows how an engine loads", async () => {
    const { metadata: _, ...bare } = described;
    facts = () => bare;
    expect((await estimates.of(place("ollama"), 4_096, never)).method).toBe("size_rule");
    facts = () => {
      throw new EngineUnreachable("down", { hint: "start it" });
    };
    expect((await estimates.of(place("ollama"), 4_096, never)).method).toBe("size_rule");
    facts = () => described;
    expect((await estimates.of(place("openai"), 4_096, never)).method).toBe("size_rule");
  });

  it("is no guess when the question was taken back", async () => {
    facts = () => {
      throw new Cancelled("cancelled");
    };
    await expect(estimates.of(place("ollama"), 4_096, never)).rejects.toThrow(Cancelled);
  });
});

describe("learning", () => {
  it("one reported size corrects the prediction of other contexts on that host", async () => {
    const ollama = place("ollama");
    const before = await estimates.of(ollama, 2_048, never);
    resident = [loaded(4_096, 210_690_374)];
    const after = await estimates.of(ollama, 2_048, never);
    // What the server itself said of 2,048 tokens.
    expect(before.predictedBytes / 161_407_302).toBeGreaterThan(1.4);
    expect(Math.abs(after.predictedBytes / 161_407_302 - 1)).toBeLessThan(0.001);
    expect(after.margin).toBeLessThan(before.margin);
  });

  it("nothing is carried over to another host, nor to another version", async () => {
    const ollama = place("ollama");
    resident = [loaded(4_096, 210_690_374)];
    await estimates.of(ollama, 4_096, never);
    resident = [];
    expect((await estimates.of(place("ollama"), 4_096, never)).method).toBe("computed");
    const renewed = { ...ollama.engine, health: async () => ({ isReachable: true, version: "0.34", latencyMs: 1 }) };
    Object.assign(ollama.engine, { health: renewed.health });
    nowMs = 60_001;
    expect((await estimates.of(ollama, 4_096, never)).method).toBe("computed");
  });
});
