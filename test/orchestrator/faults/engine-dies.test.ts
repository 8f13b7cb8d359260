import { describe, expect, it } from "vitest";
import { EngineUnreachable, LoadFailed } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const model = fakeModel("llama3.2:3b", 3 * gigabyte);
const gone = new EngineUnreachable("Ollama at 127.0.0.1:11434 cut the connection while loading llama3.2:3b");

describe("an engine that crashes during a load", () => {
  it("leaves no reserved memory and no model in state loading, and is in the decisions", async () => {
    const engine = createFakeEngine("ollama", [model]);
    engine.beforeLoad = () => Promise.reject(gone);
    const { orchestrator, caller } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
    const load = await orchestrator.loadModel(caller(), { model: model.name });
    await expect(load.follow(caller().signal)).rejects.toBe(gone);
    expect((await orchestrator.listModels(caller(), {})).models[0]?.status).toBe("installed");
    expect((await orchestrator.planLoad(caller(), { model: model.name })).freeBytes).toBe(8 * gigabyte);
    expect(orchestrator.decisions(caller())[0]).toMatchObject({ kind: "fail", steps: [gone.message] });
  });

  it("is tried again by the next request", async () => {
    const engine = createFakeEngine("ollama", [model]);
    let deaths = 1;
    engine.beforeLoad = () => (deaths-- > 0 ? Promise.reject(gone) : Promise.resolve());
    const { generate } = createTestOrchestrator([engine]);
    await expect(generate({})).rejects.toThrow("cut the connection");
    expect((await generate({})).text).toBe("llama3.2:3b says hello");
  });

  it("is replaced by another engine that holds the model, and the answer names the failed one", async () => {
    const dying = createFakeEngine("ollama", [model]);
    dying.beforeLoad = () => {
      dying.down = gone;
      return Promise.reject(gone);
    };
    const other = createFakeEngine("llama-cpp", [model], { kind: "llama-cpp" });
    const { generate } = createTestOrchestrator([dying, other]);
    const answer = await generate({});
    expect(answer.engine).toBe("llama-cpp");
    expect(answer.route.attempts.map(({ engine, outcome }) => [engine, outcome])).toEqual([
      ["ollama", gone.message],
      ["llama-cpp", "answered"],
    ]);
  });

  it("fails all requests that wait for the same load, with the reason", async () => {
    const engine = createFakeEngine("ollama", [model]);
    engine.beforeLoad = () => Promise.reject(new LoadFailed("the engine process ended (SIGSEGV)"));
    const { generate } = createTestOrchestrator([engine]);
    const results = await Promise.allSettled([generate({}), generate({}), generate({})]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  });
});
