import { describe, expect, it } from "vitest";
import { EngineUnreachable, LoadFailed } from "../../../src/orchestrator/api/errors.ts";
import type { Engine } from "../../../src/orchestrator/engines/engine.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { settle } from "../../support/slow-time.ts";

const model = fakeModel("llama3.2:3b", 2 * gigabyte);

/** Two engines, the first on this machine; answers wait until the gate is opened. */
function setUp(
  second: Partial<Engine> = {},
  held = [model],
  settings: object = {},
  { answersAtOnce }: Partial<Pick<Engine, "answersAtOnce">> = {},
) {
  const first = createFakeEngine("ollama", [model], { ...(answersAtOnce !== undefined && { answersAtOnce }) });
  const other = createFakeEngine("ollama-2", held, { memoryDomain: "box:11434", ...second });
  const gate = createGate();
  for (const engine of [first, other]) {
    engine.answer = async () => {
      await gate.pass();
      return {};
    };
  }
  const harness = createTestOrchestrator([first, other], { memoryBytes: 32 * gigabyte, settings });
  const answers = (engine: typeof first) => engine.calls.filter((call) => call.startsWith("generate")).length;
  return { ...harness, first, other, gate, answers };
}

describe("a model on two engines", () => {
  it("is served by the first while no request waits, and loaded nowhere else", async () => {
    const { generate, first, other, gate } = setUp();
    gate.open();
    for (let turn = 0; turn < 3; turn += 1) await generate({});
    expect(first.calls.filter((call) => call.startsWith("generate"))).toHaveLength(3);
    expect(other.calls).toEqual([]);
  });

  it("is loaded on the second when many requests wait, and both serve", async () => {
    const { generate, first, other, gate, answers } = setUp();
    const all = Array.from({ length: 16 }, () => generate({}));
    await settle();
    expect(other.calls).toContain("load llama3.2:3b 4096");
    gate.open();
    await Promise.all(all);
    expect([answers(first), answers(other)]).toEqual([8, 8]);
  });

  it("is shared before a queue builds up where each server computes one answer at a time", async () => {
    const { generate, first, other, gate, answers } = setUp(
      { answersAtOnce: () => 1 },
      [model],
      {},
      { answersAtOnce: () => 1 },
    );
    const all = Array.from({ length: 6 }, () => generate({}));
    await settle();
    gate.open();
    await Promise.all(all);
    expect([answers(first), answers(other)]).toEqual([3, 3]);
  });

  it("is spread according to models.<pattern>.maxParallel", async () => {
    const { generate, first, other, gate, answers } = setUp({}, [model], { models: { "llama*": { maxParallel: 16 } } });
    const all = Array.from({ length: 16 }, () => generate({}));
    await settle();
    expect(other.calls).toEqual([]);
    gate.open();
    await Promise.all(all);
    expect([answers(first), answers(other)]).toEqual([16, 0]);
  });

  it("has a keep-alive of a minute on the second, and the usual one on the first", async () => {
    const { generate, first, other, gate } = setUp();
    const all = Array.from({ length: 16 }, () => generate({}));
    await settle();
    gate.open();
    await Promise.all(all);
    expect([first.keepAlives.get(model.name), other.keepAlives.get(model.name)]).toEqual([expect.closeTo(900, -2), 60]);
    other.resident.clear();
    other.calls.length = 0;
    await generate({});
    expect(other.calls).toEqual([]);
  });

  it("is planned on the engine that would answer, and a plan counts for neither", async () => {
    const { generate, orchestrator, caller, first, other, gate, answers } = setUp();
    for (const { resident } of [first, other])
      resident.set(model.name, { name: model.name, sizeBytes: 1, vramBytes: 0, contextTokens: 4096 });
    const before = generate({});
    await settle();
    const planned = async () => (await orchestrator.planGeneration(caller(), { prompt: "a poem" })).engine;
    expect([await planned(), await planned()]).toEqual(["ollama-2", "ollama-2"]);
    const after = generate({});
    await settle();
    gate.open();
    await Promise.all([before, after]);
    expect([answers(first), answers(other)]).toEqual([1, 1]);
  });

  it("that another client loaded on the second is used there with its keep-alive unchanged", async () => {
    const { generate, first, other, gate, answers } = setUp();
    for (const { resident } of [first, other])
      resident.set(model.name, { name: model.name, sizeBytes: 1, vramBytes: 0, contextTokens: 4096 });
    const all = Array.from({ length: 6 }, () => generate({}));
    await settle();
    gate.open();
    await Promise.all(all);
    expect(answers(other)).toBe(3);
    expect(other.keepAlives.get(model.name)).toBeUndefined();
  });

  it("keeps a longer keep-alive that a request set on its copy", async () => {
    const { generate, other, gate } = setUp();
    gate.open();
    const many = (request: object) => Promise.all(Array.from({ length: 16 }, () => generate(request)));
    await many({});
    await many({ keepAliveSeconds: 3_600 });
    expect(other.keepAlives.get(model.name)).toBe(3_600);
    await many({});
    expect(other.keepAlives.get(model.name)).toBe(3_600);
  });

  it.each([
    ["shares the memory of the first", { memoryDomain: "local" }, [model]],
    ["is not on this machine, under local_only", { trust: "remote" as const }, [model]],
    ["has other weights under that name", {}, [{ ...model, digest: "other" }]],
  ])("is not loaded on a second engine that %s", async (_, second, held) => {
    const { generate, first, other, gate, answers } = setUp(second, held);
    const all = Array.from({ length: 16 }, () => generate({}));
    await settle();
    gate.open();
    await Promise.all(all);
    expect([answers(first), other.calls]).toEqual([16, []]);
  });

  it.each([
    ["can't load it", new LoadFailed("the file is damaged")],
    ["is down", new EngineUnreachable("box:11434 does not answer")],
  ])("is served by the first when the second %s", async (_, failure) => {
    const { generate, first, other, gate, answers } = setUp();
    other.beforeLoad = () => Promise.reject(failure);
    const all = Array.from({ length: 16 }, () => generate({}));
    await settle();
    gate.open();
    const engines = (await Promise.all(all)).map(({ engine }) => engine);
    expect([engines.every((id) => id === "ollama"), answers(first), answers(other)]).toEqual([true, 16, 0]);
  });
});
