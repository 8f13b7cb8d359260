import { describe, expect, it } from "vitest";
import { InvalidConfig, UnknownModel } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const coder = fakeModel("qwen2.5-coder:7b", 5 * gigabyte);

function harness(model: object) {
  return createTestOrchestrator([createFakeEngine("ollama", [small, coder])], { settings: { model } });
}

describe("settings that name a model", () => {
  it("use model.default if routing is off, and require it", async () => {
    const answer = await harness({ default: coder.name, routing: { enabled: false } }).generate({ prompt: "a poem" });
    expect(answer).toMatchObject({ model: coder.name, reason: expect.stringMatching(/^model\.default, /) as string });
    const without = harness({ routing: { enabled: false } }).generate({});
    await expect(without).rejects.toBeInstanceOf(InvalidConfig);
    await expect(without).rejects.toMatchObject({
      next: [
        { step: "changeSetting", setting: "model.default" },
        { step: "chooseModel" },
        { step: "changeSetting", setting: "model.routing.enabled", to: "true" },
      ],
    });
  });

  it("fail for a missing model.default with routing off, and add a note with routing on", async () => {
    await expect(harness({ default: "gone:7b", routing: { enabled: false } }).generate({})).rejects.toBeInstanceOf(
      UnknownModel,
    );
    const answer = await harness({ default: "gone:7b" }).generate({});
    expect(answer.notes).toEqual(["model.default names gone:7b, which is not installed"]);
  });

  it("name a project's model as such, used or missing", async () => {
    const within = (defaultModel: string, isEnabled: boolean) => {
      const { generate, caller } = harness({});
      const { settings } = caller();
      const model = { default: defaultModel, routing: { ...settings.model.routing, enabled: isEnabled } };
      return generate({}, caller({ settings: { ...settings, model, isProjectModel: true } }));
    };
    expect((await within(coder.name, true)).reason).toMatch(/^the project's model, /);
    expect((await within(coder.name, false)).reason).toMatch(/^the project's model, /);
    expect((await within("gone:7b", true)).notes).toEqual(["the project names gone:7b, which is not installed"]);
  });

  it("fall back to model.default for an override that names a missing model, with a note", async () => {
    const settings = { default: small.name, routing: { overrides: { code: "gone:7b" } } };
    const answer = await harness(settings).generate({ task: "code" });
    expect(answer.model).toBe(small.name);
    expect(answer.notes).toEqual(["model.routing.overrides.code names gone:7b, which is not installed"]);
  });

  it("add no notes to a request that names a model", async () => {
    expect((await harness({ default: "gone:7b" }).generate({ model: small.name })).notes).toEqual([]);
  });
});

it("context_tokens beyond the window is lowered, with a note", async () => {
  const { generate } = harness({});
  const answer = await generate({ model: small.name, contextTokens: 100_000 });
  expect(answer.notes).toEqual(["context limited to 32768 tokens instead of 100000: the window of llama3.2:3b"]);
});

it("a context of models.<pattern> counts for whether a model fits, as for its load", async () => {
  const settings = { models: { "llama*": { contextTokens: 32_768 } } };
  const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small])], { settings });
  const plan = await orchestrator.planLoad(caller(), { model: small.name });
  const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
  expect(plan.contextTokens).toBe(32_768);
  expect(models[0]?.fit?.predictedBytes).toBe(plan.estimate.predictedBytes);
});

describe("models.<pattern> says what a model is", () => {
  const tiny = fakeModel("tinyfoo:1b", gigabyte);
  const plain = fakeModel("plainbar:1b", gigabyte);
  const stated = { family: "qwen", capabilities: ["completion", "tools"], profiles: ["code"] };

  it("in lists and descriptions, and after a change of the setting", async () => {
    const live = createHandSettings();
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [tiny, plain])], { live });
    const shown = async () => {
      const { models } = await orchestrator.listModels(caller(), { isVerbose: true, query: "tinyfoo" });
      const able = await orchestrator.listModels(caller(), { capability: "tools" });
      const { model, facts } = await orchestrator.describeModel(caller(), tiny.name);
      return {
        listed: models.map(({ family, capabilities, profiles }) => ({ family, capabilities, profiles })),
        able: able.models.map(({ name }) => name),
        described: [model.family, facts.capabilities],
      };
    };
    const before = {
      listed: [{ family: "unknown", capabilities: ["completion"], profiles: [] }],
      able: [],
      described: ["unknown", ["completion"]],
    };
    expect(await shown()).toEqual(before);
    live.change({ models: { "tinyfoo*": stated } });
    expect(await shown()).toEqual({
      listed: [stated],
      able: [tiny.name],
      described: ["qwen", ["completion", "tools"]],
    });
    live.change({});
    expect(await shown()).toEqual(before);
  });

  it("where its engine lists no more than names", async () => {
    const { capabilities: _list, contextTokens: _window, digest: _digest, ...bare } = tiny;
    const { orchestrator, caller, generate } = createTestOrchestrator([createFakeEngine("far", [bare])], {
      settings: { models: { "tinyfoo*": { capabilities: ["completion", "vision"] } } },
    });
    const { models } = await orchestrator.listModels(caller(), { capability: "vision" });
    expect(models.map(({ name }) => name)).toEqual([tiny.name]);
    expect((await generate({ prompt: "What is this?", images: ["aGk="] })).model).toBe(tiny.name);
  });

  it("so that a request that needs what it lacks is refused before it is sent", async () => {
    const engine = createFakeEngine("ollama", [
      fakeModel("tinyfoo:1b", gigabyte, { capabilities: ["completion", "vision"] }),
    ]);
    const settings = { models: { "tinyfoo*": { capabilities: ["completion"] } } };
    const { generate } = createTestOrchestrator([engine], { settings });
    await expect(generate({ model: tiny.name, prompt: "What is this?", images: ["aGk="] })).rejects.toThrow(
      "tinyfoo:1b lacks vision",
    );
    expect(engine.calls).toEqual([]);
  });

  it("so that requests of its profile choose it, others only where no other model can answer", async () => {
    const settings = { models: { "tinyfoo*": { profiles: ["code"] } } };
    const code = { prompt: "Write a function that sorts.", task: "code" } as const;
    const poem = { prompt: "Write a poem.", task: "creative" } as const;
    const both = createTestOrchestrator([createFakeEngine("ollama", [plain, tiny])], { settings });
    expect((await both.generate(code)).model).toBe(tiny.name);
    // It is in memory now.
    expect((await both.generate(poem)).model).toBe(plain.name);
    const alone = createTestOrchestrator([createFakeEngine("ollama", [tiny])], { settings });
    expect((await alone.generate(poem)).model).toBe(tiny.name);
  });
});
