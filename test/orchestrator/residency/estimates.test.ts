import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Settings } from "../../../src/orchestrator/config/schema.ts";
import { createDocumentFiles, type DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import type { Engine, SimulatedLoad, ResidentModel } from "../../../src/orchestrator/engines/engine.ts";
import { Cancelled, EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { createEstimates, type Estimates } from "../../../src/orchestrator/residency/estimates.ts";
import { createKeptLearning } from "../../../src/orchestrator/residency/kept-learning.ts";
import type { MemoryEstimate } from "../../../src/orchestrator/api/facade-status.ts";
import type { ModelFacts, OllamaServerOptions } from "../../../src/orchestrator/api/types.ts";
import { ollamaLoadRules } from "../../../src/orchestrator/engines/ollama/index.ts";
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
let engines: Engine[];
let estimates: Estimates;

beforeEach(() => {
  facts = () => described;
  known = undefined;
  resident = [];
  models = {};
  nowMs = 0;
  engines = [];
  estimates = createEstimates({
    settings: () => ({ models, memory: { bufferBytes: 2e9 } }) as unknown as Settings,
    inventory: {
      get engines() {
        return engines;
      },
      facts: async () => facts(),
      knownFacts: () => known,
      lastResident: () => resident,
    },
    now: () => nowMs,
  });
});

const silentLog = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const folders: string[] = [];

function createFolder(): DocumentFiles {
  const folder = mkdtempSync(path.join(tmpdir(), "ollm-learned-"));
  folders.push(folder);
  return createDocumentFiles(folder);
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function setup(kind: Engine["kind"], estimate?: MemoryEstimate, version = "0.33") {
  const engine = {
    ...createFakeEngine(kind, [model], { kind }),
    health: async () => ({ isReachable: true, version }),
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

describe("the estimate", () => {
  it("is the configured size first", async () => {
    models = { "smollm2*": { sizeBytes: 111 } };
    resident = [loaded(4_096, 333)];
    const estimate = await estimates.of(setup("ollama", simulation), 4_096, never);
    expect(estimate).toMatchObject({ method: "configured", predictedBytes: 111 });
  });

  it("is the size that Ollama last reported for this load, before any prediction", async () => {
    const ollama = setup("ollama", simulation);
    resident = [loaded(4_096, 210_690_374)];
    expect(await estimates.of(ollama, 4_096, never)).toMatchObject({
      method: "learned",
      predictedBytes: 210_690_374,
    });
    resident = [];
    expect((await estimates.of(ollama, 4_096, never)).method).toBe("learned");
    expect((await estimates.of(ollama, 2_048, never)).method).toBe("simulated");
  });

  it("is the engine's own allocator before the formula, also of an engine that replaces another one", async () => {
    for (const each of [simulation, { ...simulation, predictedBytes: 333 }])
      expect(await estimates.of(setup("llama-cpp", each), 4_096, never)).toEqual(each);
  });

  it("is the formula if nothing can be simulated, with its parts", async () => {
    const estimate = await estimates.of(setup("ollama"), 4_096, never);
    expect(estimate).toMatchObject({
      method: "computed",
      parts: { weightsBytes: 96_576_768, cacheBytes: 90 * 1024 ** 2 },
    });
  });

  it("is a simulation by the embedded engine for weights of Ollama that it can read, with Ollama's load parameters", async () => {
    const asked: (SimulatedLoad & { readonly weightsDigest: string })[] = [];
    const [weightsBytes, cacheBytes, computeBytes] = [96_576_768, 90 * 1024 ** 2, 100_000_000];
    const embedded = {
      ...createFakeEngine("llama-cpp", []),
      estimation: {
        estimate: async () => undefined,
        simulate: async (weightsDigest: string, load: SimulatedLoad) => {
          asked.push({ weightsDigest, ...load });
          return weightsDigest === "a".repeat(64) ? { weightsBytes, cacheBytes, computeBytes } : undefined;
        },
      },
    };
    engines = [embedded];
    const ollama = setup("ollama");
    facts = () => ({ ...described, weightsDigest: "a".repeat(64), parameters: { num_batch: 256 } });
    const estimate = await estimates.of(ollama, 4_096, never);
    expect(estimate).toMatchObject({
      method: "simulated",
      predictedBytes: weightsBytes + cacheBytes + computeBytes,
      parts: { weightsBytes, cacheBytes, computeBytes },
    });
    expect(await estimates.of(ollama, 4_096, never)).toEqual(estimate);
    known = facts();
    expect(estimates.quick(model, { engine: ollama.engine, contextTokens: 4_096 })).toEqual(estimate);
    expect(asked).toEqual([
      {
        weightsDigest: "a".repeat(64),
        contextTokens: 4_096,
        parallel: 1,
        batchTokens: 256,
        cacheType: "f16",
        hasFlashAttention: true,
        isEmbedding: false,
      },
    ]);
  });

  it("is the formula for weights that the embedded engine can't read", async () => {
    const simulate = async () => undefined;
    engines = [{ ...createFakeEngine("llama-cpp", []), estimation: { estimate: simulate, simulate } }];
    facts = () => ({ ...described, weightsDigest: "b".repeat(64) });
    expect((await estimates.of(setup("ollama"), 4_096, never)).method).toBe("computed");
    facts = () => described;
    expect((await estimates.of(setup("ollama"), 4_096, never)).method).toBe("computed");
  });

  it("is the size rule without metadata, without a response, or with unknown load parameters", async () => {
    const { metadata: _, ...bare } = described;
    facts = () => bare;
    expect((await estimates.of(setup("ollama"), 4_096, never)).method).toBe("size_rule");
    facts = () => {
      throw new EngineUnreachable("down");
    };
    expect((await estimates.of(setup("ollama"), 4_096, never)).method).toBe("size_rule");
    facts = () => described;
    expect((await estimates.of(setup("openai"), 4_096, never)).method).toBe("size_rule");
  });

  it("rejects with `Cancelled` if it was cancelled", async () => {
    facts = () => {
      throw new Cancelled("cancelled");
    };
    await expect(estimates.of(setup("ollama"), 4_096, never)).rejects.toThrow(Cancelled);
  });
});

describe("learning", () => {
  it("one reported size corrects predictions of other contexts on that host", async () => {
    const ollama = setup("ollama");
    const before = await estimates.of(ollama, 2_048, never);
    resident = [loaded(4_096, 210_690_374)];
    const after = await estimates.of(ollama, 2_048, never);
    // As reported by the server for 2,048 tokens.
    expect(before.predictedBytes / 161_407_302).toBeGreaterThan(1.4);
    expect(Math.abs(after.predictedBytes / 161_407_302 - 1)).toBeLessThan(0.001);
    expect(after.margin).toBeLessThan(before.margin);
  });

  it("doesn't apply to another host or another version", async () => {
    const ollama = setup("ollama");
    resident = [loaded(4_096, 210_690_374)];
    await estimates.of(ollama, 4_096, never);
    resident = [];
    expect((await estimates.of(setup("ollama"), 4_096, never)).method).toBe("computed");
    const renewed = { ...ollama.engine, health: async () => ({ isReachable: true, version: "0.34" }) };
    Object.assign(ollama.engine, { health: renewed.health });
    nowMs = 60_001;
    expect((await estimates.of(ollama, 4_096, never)).method).toBe("computed");
  });
});

describe("the quick estimate", () => {
  const at = (kind: Engine["kind"]) => ({ engine: setup(kind).engine, contextTokens: 4_096 });

  it("is the size rule while nothing is known", () => {
    expect(estimates.quick(model, at("ollama")).method).toBe("size_rule");
    expect(estimates.quick(model).method).toBe("size_rule");
  });

  it("is the formula if the model's facts are cached", () => {
    facts = () => {
      throw new EngineUnreachable("not asked");
    };
    known = described;
    expect(estimates.quick(model, at("ollama"))).toMatchObject({
      method: "computed",
      parts: { weightsBytes: 96_576_768, cacheBytes: 90 * 1024 ** 2 },
    });
    models = { "smollm2*": { sizeBytes: 111 } };
    expect(estimates.quick(model, at("ollama")).method).toBe("configured");
  });

  it("uses earlier simulations and reported sizes", async () => {
    known = described;
    const embedded = setup("llama-cpp", simulation);
    await estimates.of(embedded, 4_096, never);
    expect(estimates.quick(model, { engine: embedded.engine, contextTokens: 4_096 })).toEqual(simulation);
    const ollama = setup("ollama");
    resident = [loaded(4_096, 210_690_374)];
    await estimates.of(ollama, 4_096, never);
    expect(estimates.quick(model, { engine: ollama.engine, contextTokens: 4_096 })).toMatchObject({
      method: "learned",
      predictedBytes: 210_690_374,
    });
  });
});

describe("graphics cards", () => {
  it("are planned with the share that Ollama placed on them before", async () => {
    const ollama = setup("ollama");
    resident = [{ ...loaded(4_096, 200_000_000), vramBytes: 50_000_000 }];
    expect(await estimates.of(ollama, 4_096, never)).toMatchObject({ method: "learned", vramShare: 0.25 });
    // Unknown for another context, since the server has cards.
    expect(await estimates.of(ollama, 2_048, never)).not.toHaveProperty("vramShare");
  });

  it("are not used by a server whose models were always in RAM", async () => {
    const ollama = setup("ollama");
    resident = [loaded(4_096, 210_690_374)];
    expect(await estimates.of(ollama, 2_048, never)).toMatchObject({ method: "computed", vramShare: 0 });
  });
});

describe("the configured options of an Ollama server", () => {
  const usual = { parallel: 1, cacheType: "f16", hasFlashAttention: true } as const;
  const set = (options: Partial<OllamaServerOptions>) => {
    const { engine } = setup("ollama");
    const residency = engine.residency && { ...engine.residency, ...ollamaLoadRules({ ...usual, ...options }) };
    return { engine: { ...engine, address: "http://127.0.0.1:1", ...(residency && { residency }) }, model };
  };
  const partsOf = async (options: Partial<OllamaServerOptions>) =>
    (await estimates.of(set(options), 8_192, never)).parts ?? { cacheBytes: 0, computeBytes: 0 };

  it("determine the cache and the compute buffer: q8_0 takes 17/32, four sequences four times as much", async () => {
    const { cacheBytes, computeBytes } = await partsOf({});
    expect((await partsOf({ cacheType: "q8_0" })).cacheBytes).toBe((cacheBytes * 17) / 32);
    expect((await partsOf({ parallel: 4 })).cacheBytes).toBe(4 * cacheBytes);
    expect((await partsOf({ hasFlashAttention: false })).computeBytes).toBeGreaterThan(computeBytes);
  });

  it("predict the sizes of a server with two sequences and q8_0 once it has reported one", async () => {
    const server = set({ parallel: 2, cacheType: "q8_0" });
    resident = [loaded(2_048, 162_225_190)];
    for (const [contextTokens, bytes] of [
      [4_096, 231_630_436],
      [8_192, 340_294_367],
    ] as const) {
      const { method, predictedBytes, margin } = await estimates.of(server, contextTokens, never);
      expect(method).toBe("computed");
      expect(Math.abs(bytes - predictedBytes)).toBeLessThanOrEqual(margin * predictedBytes);
    }
  });

  it("are part of the key of learned sizes: sizes with other options don't apply", async () => {
    const server = set({ cacheType: "q8_0" });
    const { predictedBytes, parts } = await estimates.of(server, 4_096, never);
    resident = [loaded(4_096, 210_690_374)];
    expect((await estimates.of(set({}), 4_096, never)).method).toBe("learned");
    resident = [];
    const other = await estimates.of(server, 4_096, never);
    expect(other).toMatchObject({ method: "computed", predictedBytes, parts });
    expect(await estimates.of(set({}), 4_096, never)).toMatchObject({ method: "learned", predictedBytes: 210_690_374 });
  });

  it("are passed to the simulation by the embedded engine", async () => {
    const asked: SimulatedLoad[] = [];
    const simulate = async (_digest: string, load: SimulatedLoad) => {
      asked.push(load);
      return { weightsBytes: 96_576_768, cacheBytes: 1e8, computeBytes: 1e8 };
    };
    engines = [{ ...createFakeEngine("llama-cpp", []), estimation: { estimate: async () => undefined, simulate } }];
    facts = () => ({ ...described, weightsDigest: "a".repeat(64) });
    await estimates.of(set({}), 4_096, never);
    await estimates.of(set({ parallel: 2, cacheType: "q4_0", hasFlashAttention: false }), 4_096, never);
    expect(asked).toMatchObject([usual, { parallel: 2, cacheType: "q4_0", hasFlashAttention: false }]);
  });
});

describe("after a restart", () => {
  const version = "0.33";
  const engineAt = (address: string) => ({ ...setup("ollama", undefined, version).engine, address });

  /** Another process with the same files. */
  function started(files: DocumentFiles) {
    const kept = createKeptLearning({ files, log: silentLog });
    const made = createEstimates({
      settings: () => ({ models, memory: { bufferBytes: 2e9 } }) as unknown as Settings,
      inventory: { engines: [], facts: async () => facts(), knownFacts: () => known, lastResident: () => resident },
      kept,
      now: () => nowMs,
    });
    return { kept, of: made.of };
  }

  it("the first estimate equals the last one before it, for the same load and for others on that host", async () => {
    const files = createFolder();
    const before = started(files);
    resident = [loaded(4_096, 210_690_374)];
    const engine = engineAt("http://127.0.0.1:11434");
    const learned = await before.of({ engine, model }, 4_096, never);
    const calibrated = await before.of({ engine, model }, 2_048, never);
    await before.kept.close();

    resident = [];
    const after = started(files);
    const again = engineAt("http://127.0.0.1:11434");
    expect(await after.of({ engine: again, model }, 4_096, never)).toEqual(learned);
    expect(await after.of({ engine: again, model }, 2_048, never)).toEqual(calibrated);
    await after.kept.close();
  });

  it("a calibration by one model applies to another model that was never loaded", async () => {
    const files = createFolder();
    const before = started(files);
    resident = [loaded(4_096, 210_690_374)];
    await before.of({ engine: engineAt("a"), model }, 4_096, never);
    await before.kept.close();

    resident = [];
    const other = fakeModel("other:135m", sizeBytes);
    facts = () => ({ ...described, name: other.name, digest: other.name });
    const { of, kept } = started(files);
    const taught = await of({ engine: engineAt("a"), model: other }, 2_048, never);
    expect(Math.abs(taught.predictedBytes / 161_407_302 - 1)).toBeLessThan(0.001);
    const untaught = await of({ engine: engineAt("b"), model: other }, 2_048, never);
    expect(untaught.margin).toBeGreaterThan(taught.margin);
    await kept.close();
  });

  it("nothing applies to another address", async () => {
    const files = createFolder();
    const before = started(files);
    resident = [loaded(4_096, 210_690_374)];
    await before.of({ engine: engineAt("a"), model }, 4_096, never);
    await before.kept.close();
    resident = [];
    const { of, kept } = started(files);
    expect((await of({ engine: engineAt("b"), model }, 4_096, never)).method).toBe("computed");
    await kept.close();
  });

  it("an unreadable file loses only what was learned", async () => {
    const files = { ...createFolder(), read: () => Promise.reject(new Error("no disk")) };
    const { of, kept } = started(files);
    resident = [loaded(4_096, 210_690_374)];
    expect((await of({ engine: engineAt("a"), model }, 4_096, never)).method).toBe("learned");
    await kept.close();
  });
});
