import { describe, expect, it } from "vitest";
import { LoadFailed, UnknownModel } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

function setup() {
  const model = fakeModel("llama3.2:3b", 2 * gigabyte);
  const [first, second] = [createFakeEngine("ollama", [model]), createFakeEngine("llama-cpp", [model])];
  const { orchestrator, caller } = createTestOrchestrator([first, second]);
  const load = async () => {
    const asking = caller();
    const operation = await orchestrator.loadModel(asking, { model: model.name });
    return operation.follow(asking.signal);
  };
  return { first, second, load };
}

describe("the load of a model that two engines list", () => {
  it("is tried at the second engine if the first reports it as unknown", async () => {
    const { first, second, load } = setup();
    first.beforeLoad = () => Promise.reject(new UnknownModel("Ollama has no model llama3.2:3b"));
    expect(await load()).toMatchObject({ engine: "llama-cpp", wasLoaded: false });
    expect([...second.resident.keys()]).toEqual(["llama3.2:3b"]);
  });

  it("fails with the first error if both report it as unknown", async () => {
    const { first, second, load } = setup();
    first.beforeLoad = () => Promise.reject(new UnknownModel("Ollama has no model llama3.2:3b"));
    second.beforeLoad = () => Promise.reject(new UnknownModel("gone here, too"));
    await expect(load()).rejects.toThrow("Ollama has no model llama3.2:3b");
  });

  it("fails if the first engine can't load it, without trying the second", async () => {
    const { first, second, load } = setup();
    first.beforeLoad = () => Promise.reject(new LoadFailed("the file is damaged"));
    await expect(load()).rejects.toThrow("the file is damaged");
    expect(second.calls).toEqual([]);
  });
});
