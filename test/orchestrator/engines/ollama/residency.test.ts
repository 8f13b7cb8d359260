import { describe, expect, it } from "vitest";
import { LoadFailed, OrchestratorError, UnsupportedCapability } from "../../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../../src/orchestrator/api/next-step.ts";
import type { EngineResidency } from "../../../../src/orchestrator/engines/engine.ts";
import { createOllamaEngine } from "../../../../src/orchestrator/engines/ollama/index.ts";
import { startFakeOllama, vendorErrors, type FakeOllamaOptions } from "../../../support/fake-ollama.ts";
import { chatRequest, createRecorder, never, rejection, startPair } from "./fixture.ts";

async function startResidency(options: FakeOllamaOptions = {}, unloadMs = 10_000) {
  const pair = await startPair(options, { unloadMs });
  return { ...pair, residency: pair.engine.residency as EngineResidency };
}

describe("loading into Ollama", () => {
  it("a generation with the same context does not reload the model", async () => {
    const { fake, engine, residency } = await startResidency();
    const resident = await residency.load(
      "smollm2:135m",
      { contextTokens: 2_048, keepAliveSeconds: -1 },
      () => {},
      never,
    );
    expect(resident).toMatchObject({
      name: "smollm2:135m",
      sizeBytes: 160_222_411,
      vramBytes: 0,
      contextTokens: 2_048,
    });
    expect(resident.loadMs).toBeGreaterThanOrEqual(0);
    await engine.generate(chatRequest(), createRecorder(), never);
    expect(fake.loads).toEqual([{ name: "smollm2:135m", contextTokens: 2_048 }]);
  });

  it("a second load refreshes the keep-alive and reports no load time", async () => {
    const { fake, residency } = await startResidency();
    await residency.load("smollm2:135m", { contextTokens: 2_048, keepAliveSeconds: 60 }, () => {}, never);
    const again = await residency.load(
      "smollm2:135m",
      { contextTokens: 2_048, keepAliveSeconds: 600 },
      () => {},
      never,
    );
    expect(again).not.toHaveProperty("loadMs");
    expect(fake.loads).toHaveLength(1);
    expect([...fake.residents.values()][0]?.keepAliveSeconds).toBe(600);
  });

  it("an embedding-only model is loaded by an embedding without inputs", async () => {
    const { fake, residency } = await startResidency({
      models: [{ name: "all-minilm:latest", capabilities: ["embedding"] }],
    });
    const resident = await residency.load("all-minilm", { contextTokens: 512 }, () => {}, never);
    expect(resident).toMatchObject({ name: "all-minilm", contextTokens: 512 });
    expect(fake.requests.find(({ path }) => path === "/api/embed")?.body["input"]).toEqual([]);
  });

  it("finds the instance that is loaded under another name of the same weights", async () => {
    const weights = "b".repeat(64);
    const { residency } = await startResidency({
      models: [
        { name: "base:1b", weights },
        { name: "derived:1b", weights, system: "You are a pirate." },
      ],
    });
    await residency.load("base:1b", { contextTokens: 1_024 }, () => {}, never);
    const derived = await residency.load("derived:1b", { contextTokens: 1_024 }, () => {}, never);
    expect(derived).toMatchObject({ name: "derived:1b", contextTokens: 1_024 });
    expect(derived).not.toHaveProperty("loadMs");
  });

  it("a model that was unloaded again after its load throws LoadFailed", async () => {
    const { residency } = await startResidency();
    const error = await rejection(
      residency.load("smollm2:135m", { contextTokens: 512, keepAliveSeconds: 1e-9 }, () => {}, never),
    );
    expect(error).toBeInstanceOf(LoadFailed);
    expect(error.message).toContain("unloaded it again");
  });

  it("out of memory throws LoadFailed", async () => {
    const { residency } = await startResidency({ models: [{ name: "huge:70b", loadError: vendorErrors.terminated }] });
    expect(await rejection(residency.load("huge:70b", { contextTokens: 512 }, () => {}, never))).toBeInstanceOf(
      LoadFailed,
    );
  });

  it("a cloud model is not loaded, and nothing is sent to Ollama's cloud", async () => {
    const { fake, residency } = await startResidency();
    expect(await rejection(residency.load("kimi-k2:cloud", { contextTokens: 512 }, () => {}, never))).toBeInstanceOf(
      UnsupportedCapability,
    );
    expect(fake.requests).toEqual([]);
  });
});

describe("unloading from Ollama", () => {
  it("waits until the memory is free, which is after the reply", async () => {
    const { fake, residency } = await startResidency({ unloadDelayMs: 300 });
    await residency.load("smollm2:135m", { contextTokens: 512 }, () => {}, never);
    await residency.unload("smollm2:135m", never);
    expect(fake.residents.size).toBe(0);
  });

  it("fails after its timeout when the model stays loaded", async () => {
    const { residency } = await startResidency({ unloadDelayMs: 60_000 }, 400);
    await residency.load("smollm2:135m", { contextTokens: 512 }, () => {}, never);
    const error = await rejection(residency.unload("smollm2:135m", never));
    expect(error).toBeInstanceOf(OrchestratorError);
    expect(error.message).toContain("still in memory 0.4 s");
  });

  it("sends no unload for a model that /api/ps doesn't list", async () => {
    const { fake, residency } = await startResidency();
    await residency.unload("smollm2:135m", never);
    expect(fake.requests.map(({ path }) => path)).toEqual(["/api/ps"]);
  });

  it("logs that a model deleted while loaded is unloaded when its keep-alive ends", async () => {
    const fake = await startFakeOllama();
    const warnings: string[] = [];
    const log = { debug() {}, info() {}, warn: (message: string) => warnings.push(message) };
    const engine = createOllamaEngine({
      host: fake.url,
      now: () => performance.now(),
      log,
      timeouts: { unloadMs: 100 },
    });
    try {
      await engine.residency?.load("smollm2:135m", { contextTokens: 512 }, () => {}, never);
      fake.models.clear();
      const error = await rejection(engine.residency?.unload("smollm2:135m", never) ?? Promise.resolve());
      expect(error.message).toContain("still in memory");
      expect(error).toMatchObject({ next: [advice("wait until its keep-alive ends, or restart Ollama")] });
      expect(warnings).toEqual([expect.stringContaining("unloaded when its keep-alive ends")]);
    } finally {
      await engine.close();
      await fake.close();
    }
  });
});
