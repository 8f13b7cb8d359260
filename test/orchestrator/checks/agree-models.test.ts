import { describe, expect, it } from "vitest";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const small = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
const large = fakeModel("llama3.1:8b", 5 * gigabyte, { parameterSize: "8B" });
const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });

/** Each model gives its answers in turn. */
function setUp(models: Parameters<typeof createFakeEngine>[1], answers: Readonly<Record<string, readonly string[]>>) {
  const engine = createFakeEngine("ollama", models);
  const requests: GenerationRequest[] = [];
  engine.answer = (request) => {
    const turn = requests.filter(({ model }) => model === request.model).length;
    requests.push(request);
    return Promise.resolve({ text: answers[request.model]?.[turn] ?? answers[request.model]?.[0] ?? "" });
  };
  return { engine, requests, ...createTestOrchestrator([engine]) };
}

describe("agree with another model", () => {
  const check = { agree: large.name };

  it("compares the values of both, and asks each once", async () => {
    const { generate, requests } = setUp([small, large], {
      [small.name]: ["12 km"],
      [large.name]: ["12km."],
    });
    const result = await generate({ check, model: small.name });
    expect(result).toMatchObject({ text: "12 km", model: small.name, check: { votes: { equal: 2, total: 2 } } });
    expect(result.check?.problem).toBeUndefined();
    expect(requests.map(({ model }) => model)).toEqual([small.name, large.name]);
    expect(requests[0]?.messages).toEqual(requests[1]?.messages);
    expect(result.notes).toEqual(["models answered 2 times for the check: the tokens are those of all"]);
  });

  it("says that they differ, and what the other says", async () => {
    const { generate } = setUp([small, large], { [small.name]: ["80"], [large.name]: ["8080"] });
    const { check: found, text } = await generate({ check, model: small.name });
    expect(text).toBe("80");
    expect(found?.problem).toContain(`${small.name} and ${large.name} answer differently`);
    expect(found?.votes).toMatchObject({ equal: 1, total: 2, others: [{ text: "8080", count: 1 }] });
  });

  it("takes part in the conversation, and remembers one answer", async () => {
    const { generate, requests } = setUp([small, large], {
      [small.name]: ["a", "b"],
      [large.name]: ["a", "b"],
    });
    const { continueId = "" } = await generate({ check, model: small.name, continueId: "new" });
    await generate({ check, model: small.name, continueId });
    const turns = requests.slice(2).map(({ messages }) => messages.filter(({ role }) => role === "assistant"));
    expect(turns.map((own) => own.map(({ content }) => content))).toEqual([["a"], ["a"]]);
  });

  it("is refused of a model with itself, and one that isn't there leaves the answer unchecked", async () => {
    const { generate } = setUp([small], { [small.name]: ["80"] });
    await expect(generate({ check: { agree: small.name }, model: small.name })).rejects.toThrow("compared with itself");
    const { check: found, text } = await generate({ check: { agree: "none:1b" }, model: small.name });
    expect(text).toBe("80");
    expect(found?.problem).toMatch(/^the answer was not compared with that of none:1b: /);
  });

  it("sends nothing to a remote model that the request does not allow", async () => {
    const { generate, engine } = setUp([small, cloud], { [small.name]: ["80"], [cloud.name]: ["80"] });
    const { check: found } = await generate({ check: { agree: cloud.name }, model: small.name });
    expect(found?.problem).toContain("was not compared");
    expect(engine.calls).not.toContain(`generate ${cloud.name}`);
  });
});
