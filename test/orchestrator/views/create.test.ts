import { describe, expect, it } from "vitest";
import { InvalidRequest, PrivacyLocked } from "../../../src/orchestrator/api/errors.ts";
import type { CreateModelRequest } from "../../../src/orchestrator/api/facade-status.ts";
import type { Engine, EngineCreation, ModelRecipe } from "../../../src/orchestrator/engines/engine.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const base = fakeModel("smollm2:135m", gigabyte);

function maker(id: string, more: Partial<Engine> = {}, creation: Partial<EngineCreation> = {}) {
  const engine = createFakeEngine(id, [base], more);
  const recipes: ModelRecipe[] = [];
  const { library } = engine;
  if (library === undefined) throw new Error("the fake has no library");
  const create: EngineCreation["create"] = (recipe) => {
    recipes.push(recipe);
    if (!engine.models.some(({ name }) => name === recipe.name)) engine.models.push({ ...base, name: recipe.name });
    return Promise.resolve({ name: recipe.name, sizeBytes: gigabyte, wasAlreadyPresent: false });
  };
  return { recipes, engine: Object.assign(engine, { library: { ...library, creation: { create, ...creation } } }) };
}

function setUp(...makers: readonly ReturnType<typeof maker>[]) {
  const harness = createTestOrchestrator(makers.map(({ engine }) => engine));
  const create = (request: Partial<CreateModelRequest> = {}, more = {}) =>
    harness.orchestrator.createModel(
      harness.caller(more),
      { name: "poet", base: "smollm2:135m", ...request },
      () => undefined,
    );
  return { ...harness, create };
}

describe("a model that is created from another", () => {
  it("is created in the engine of its base, under a complete name, and listed at once", async () => {
    const ollama = maker("ollama");
    const { create, orchestrator, caller } = setUp(ollama);
    await orchestrator.listModels(caller(), {});
    const made = await create({ system: "You rhyme.", parameters: { temperature: "1.2" }, adapter: "/lora.gguf" });
    expect(made).toEqual({ name: "poet:latest", engine: "ollama", sizeBytes: gigabyte });
    expect(ollama.recipes).toEqual([
      {
        name: "poet:latest",
        base: "smollm2:135m",
        system: "You rhyme.",
        parameters: { temperature: 1.2 },
        adapterFile: "/lora.gguf",
      },
    ]);
    const { models } = await orchestrator.listModels(caller(), {});
    expect(models.map(({ name }) => name)).toContain("poet:latest");
  });

  it.each(["", "a/b/c/d/e", "../x", "con", "poet:x:y", "gpt-oss:120b-cloud"])(
    "can't be called %j, and nothing is asked of an engine",
    async (name) => {
      const ollama = maker("ollama");
      await expect(setUp(ollama).create({ name })).rejects.toBeInstanceOf(InvalidRequest);
      expect(ollama.recipes).toEqual([]);
    },
  );

  it("replaces another only on request; the name's case and default tag make no difference", async () => {
    const ollama = maker("ollama");
    const { create } = setUp(ollama);
    await create();
    await expect(create({ name: "Poet:latest" })).rejects.toThrow("ollama already has a model poet:latest");
    await expect(create({ name: "smollm2:135m" })).rejects.toBeInstanceOf(InvalidRequest);
    expect(ollama.recipes).toHaveLength(1);
    await create({ mayReplace: true });
    expect(ollama.recipes).toHaveLength(2);
  });

  it("is created once if two requests use the same name", async () => {
    const ollama = maker("ollama");
    const { create } = setUp(ollama);
    const made = await Promise.allSettled([create({ system: "one" }), create({ name: "POET:latest", system: "two" })]);
    expect(made.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(ollama.recipes.map(({ system }) => system)).toEqual(["one"]);
    await create({ name: "other", system: "two" });
  });

  it("unloads the model that it replaces, which would otherwise answer unchanged", async () => {
    const ollama = maker("ollama");
    const { create, generate } = setUp(ollama);
    await create();
    await generate({ model: "poet" });
    await new Promise((resolve) => setImmediate(resolve));
    await create({ mayReplace: true, system: "You don't rhyme." });
    expect([...ollama.engine.resident.keys()]).toEqual([]);
  });

  it("refuses parameters that its engine doesn't support, before anything is done", async () => {
    const embedded = maker("llama-cpp", { kind: "llama-cpp" }, { parameterNames: ["temperature"] });
    await expect(setUp(embedded).create({ parameters: { temprature: 1 } })).rejects.toMatchObject({
      next: [{ step: "didYouMean", names: ["temperature"] }],
    });
    expect(embedded.recipes).toEqual([]);
  });

  it("takes a template only where its engine runs one", async () => {
    const template = "{{ .Prompt }}";
    const embedded = maker("llama-cpp", { kind: "llama-cpp" });
    await expect(setUp(embedded).create({ template })).rejects.toThrow("formats prompts by the template in the GGUF");
    expect(embedded.recipes).toEqual([]);
    const ollama = maker("ollama", {}, { hasTemplates: true });
    await setUp(ollama).create({ template });
    expect(ollama.recipes).toMatchObject([{ template }]);
  });

  it("is not sent to another machine under local_only, even if its base is there", async () => {
    const remote = maker("ollama", { trust: "remote", memoryDomain: "box" });
    const { create, caller } = setUp(remote);
    await expect(create()).rejects.toBeInstanceOf(PrivacyLocked);
    const { settings } = caller();
    await create({}, { settings: { ...settings, privacy: "allow_remote" } });
    expect(remote.recipes).toHaveLength(1);
  });
});
