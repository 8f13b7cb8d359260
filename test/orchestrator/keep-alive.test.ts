import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);

describe("the keep-alive", () => {
  it("0 loads, answers and unloads, in this order", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    expect((await generate({ keepAliveSeconds: 0 })).text).toBe("llama3.2:3b says hello");
    expect(engine.resident.size).toBe(0);
    await generate({});
    expect(engine.calls).toEqual([
      "load llama3.2:3b 4096",
      "generate llama3.2:3b",
      "load llama3.2:3b 4096",
      "generate llama3.2:3b",
    ]);
  });

  it("0 is rejected for a load", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    await expect(orchestrator.loadModel(caller(), { model: small.name, keepAliveSeconds: 0 })).rejects.toBeInstanceOf(
      InvalidRequest,
    );
    expect(engine.calls).toEqual([]);
  });

  it("of a load is kept by answers and loads without one", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    const load = async (request: object) =>
      (await orchestrator.loadModel(caller(), { model: small.name, ...request })).follow(caller().signal);
    await load({ keepAliveSeconds: -1 });
    await generate({});
    await load({});
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    await generate({ keepAliveSeconds: 60 });
    expect(engine.keepAlives.get(small.name)).toBe(60);
  });

  it("is the configured one if the request has none", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine], { settings: { model: { keepAlive: { timeout: 120 } } } });
    await generate({});
    expect(engine.keepAlives.get(small.name)).toEqual(expect.closeTo(120, -1));
  });

  it("longer than an engine can count never ends", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    for (const keepAliveSeconds of [1e300, 2 ** 53 + 2]) {
      await (await orchestrator.loadModel(caller(), { model: small.name, keepAliveSeconds })).follow(caller().signal);
      expect(engine.keepAlives.get(small.name)).toBe(-1);
      await generate({ keepAliveSeconds: 60 });
      await generate({ keepAliveSeconds });
      expect(engine.keepAlives.get(small.name)).toBe(-1);
    }
  });

  it("is sent with each answer, in case the engine has reloaded the model with its default", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine], { settings: { model: { keepAlive: { timeout: 120 } } } });
    await generate({});
    engine.keepAlives.set(small.name, 300);
    await generate({});
    expect(engine.keepAlives.get(small.name)).toEqual(expect.closeTo(120, -1));
    await generate({ keepAliveSeconds: 45 });
    engine.keepAlives.set(small.name, 300);
    await generate({});
    expect(engine.keepAlives.get(small.name)).toBe(45);
  });

  it("of a model that another program loaded is unchanged", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.resident.set(small.name, {
      name: small.name,
      sizeBytes: small.sizeBytes,
      vramBytes: 0,
      contextTokens: 4096,
    });
    const { generate } = createTestOrchestrator([engine]);
    await generate({});
    expect(engine.keepAlives.size).toBe(0);
  });

  it("that has ended makes cached loaded models stale", async () => {
    const engine = createFakeEngine("ollama", [small]);
    let nowMs = 1_000;
    const { generate } = createTestOrchestrator([engine], { now: () => nowMs });
    const expiring = { name: small.name, sizeBytes: small.sizeBytes, vramBytes: 0, contextTokens: 4096 };
    engine.resident.set(small.name, { ...expiring, expiresAt: new Date(3_000).toISOString() });
    await generate({});
    engine.resident.clear();
    nowMs = 4_000;
    await generate({});
    expect(engine.calls).toEqual(["generate llama3.2:3b", "load llama3.2:3b 4096", "generate llama3.2:3b"]);
  });
});
