import { describe, expect, it } from "vitest";
import { PrivacyLocked } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

/** A model as listed by the adapter for an Ollama on another machine. */
const distant = fakeModel("llama3.1:8b", 5 * gigabyte, { trust: "remote" });
const createDistant = () => createFakeEngine("ollama", [distant], { trust: "remote", memoryDomain: "box.lan:11434" });
const createEmbedded = () => createFakeEngine("llama-cpp", [], { kind: "llama-cpp" });

describe("under local_only, an Ollama on another machine", () => {
  const settings = { model: { default: distant.name, routing: { overrides: { code: distant.name } } } };

  it.each([
    { by: "name", request: { model: distant.name } },
    {
      by: "a request that asks for more than it may",
      request: { model: distant.name, privacy: "allow_remote" as const },
    },
    { by: "model.default", request: {} },
    { by: "an override", request: { task: "code" as const } },
  ])("gets no prompt, chosen by $by", async ({ request }) => {
    const engine = createDistant();
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], { settings });
    await expect(generate(request)).rejects.toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
    expect((await orchestrator.systemStatus(caller())).remoteRequests).toBe(0);
  });

  it("gets no prompt with routing switched off", async () => {
    const engine = createDistant();
    const off = { model: { default: distant.name, routing: { enabled: false } } };
    await expect(createTestOrchestrator([engine], { settings: off }).generate({})).rejects.toBeInstanceOf(
      PrivacyLocked,
    );
    expect(engine.calls).toEqual([]);
  });

  it("is not used for a pull, since its models could not be used", async () => {
    const [engine, embedded] = [createDistant(), createEmbedded()];
    const { orchestrator, caller } = createTestOrchestrator([engine, embedded]);
    const result = await (await orchestrator.pullModel(caller(), { model: "smollm2:135m" })).follow(caller().signal);
    expect(result.engine).toBe("llama-cpp");
  });

  it("gets no file, also when the pull names it as the engine", async () => {
    const engine = createDistant();
    const { orchestrator, caller } = createTestOrchestrator([engine, createEmbedded()]);
    const importing = orchestrator.pullModel(caller(), { model: "mine", from: "/tmp/mine.gguf", engine: "ollama" });
    await expect(importing).rejects.toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
  });
});

describe("under allow_remote, an Ollama on another machine", () => {
  const settings = { privacy: "allow_remote" };

  it("loads models, unlike a cloud", async () => {
    const engine = createDistant();
    const { orchestrator, caller } = createTestOrchestrator([engine], { settings });
    const result = await (await orchestrator.loadModel(caller(), { model: distant.name })).follow(caller().signal);
    expect(result.wasLoaded).toBe(false);
    expect(engine.calls).toEqual([`load ${distant.name} 4096`]);
  });

  it("answers, and the request is counted", async () => {
    const harness = createTestOrchestrator([createDistant()], { settings });
    expect((await harness.generate({})).engine).toBe("ollama");
    expect((await harness.orchestrator.systemStatus(harness.caller())).remoteRequests).toBe(1);
  });
});

it("a cloud model's dry run plans no memory here", async () => {
  const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
  const settings = { privacy: "allow_remote" };
  const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [cloud])], {
    settings,
    memoryBytes: gigabyte,
  });
  const { plan } = await orchestrator.planGeneration(caller(), { prompt: "hello" });
  expect(plan).toMatchObject({
    fits: true,
    neededBytes: 0,
    evict: [],
    steps: ["kimi-k2:cloud is a cloud model: it uses no memory on this machine"],
  });
});
