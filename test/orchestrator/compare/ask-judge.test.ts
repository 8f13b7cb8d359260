import { describe, expect, it } from "vitest";
import { GenerationFailed, InvalidRequest, UnknownModel } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { coder, compare, failureOf, large, small } from "./fixture.ts";

describe("a judge", () => {
  const verdict = (text: string) => Promise.resolve({ text });

  it("ranks anonymous answers in both orders, is not compared itself, and its opinion is labelled as one", async () => {
    const engine = createFakeEngine("ollama", [small, coder, large]);
    const read: string[] = [];
    engine.answer = ({ model, messages, sampling, format }) => {
      if (model !== large.name) return Promise.resolve({});
      expect(sampling.temperature).toBe(0);
      expect(format).toBeDefined();
      const prompt = messages.at(-1)?.content ?? "";
      read.push(prompt);
      const firstIsSmall = prompt.indexOf("llama") < prompt.indexOf("coder");
      return verdict(JSON.stringify({ A: firstIsSmall ? 2 : 1, B: firstIsSmall ? 1 : 2, reason: "More complete." }));
    };
    const { judgement, notes } = await compare(createTestOrchestrator([engine]), {
      models: [small.name, coder.name],
      judge: "auto",
    });
    expect(judgement).toMatchObject({
      judge: large.name,
      ranking: [[coder.name], [small.name]],
      reason: "More complete.",
    });
    expect(judgement?.note).toMatch(/^a model's opinion, not a measurement; .* ranked them the same both times$/);
    expect(read).toHaveLength(2);
    expect(notes).toBeUndefined();
  });

  it("that always prefers the first answer yields a tie", async () => {
    const engine = createFakeEngine("ollama", [small, coder, large]);
    engine.answer = ({ model }) =>
      model === large.name ? verdict('{"A":1,"B":2,"reason":"First."}') : Promise.resolve({});
    const { judgement } = await compare(createTestOrchestrator([engine]), {
      models: [small.name, coder.name],
      judge: large.name,
    });
    expect(judgement?.ranking).toEqual([[small.name, coder.name]]);
    expect(judgement?.note).toContain("differently");
  });

  it("that is compared itself gets a note about it", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.answer = ({ format }) =>
      format === undefined ? Promise.resolve({}) : verdict('{"A":1,"B":1,"reason":"Same."}');
    const { judgement } = await compare(createTestOrchestrator([engine]), {
      models: [small.name, coder.name],
      judge: "auto",
    });
    expect(judgement?.judge).toBe(coder.name);
    expect(judgement?.note).toContain("one of the answers is its own");
  });

  it.each([
    ["nonsense", "I prefer the second one.", "did not return a valid ranking"],
    ["an empty object", "{}", "did not return a valid ranking"],
    ["punctuation instead of a reason", '{"A":1,"B":2,"reason":" }, { "}', "did not return a valid ranking"],
    ["an error", new GenerationFailed("the engine process was killed"), "the engine process was killed"],
  ])("that answers %s yields a comparison without a judgement", async (_what, said, note) => {
    const engine = createFakeEngine("ollama", [small, coder, large]);
    engine.answer = ({ model }) => {
      if (model !== large.name) return Promise.resolve({});
      return typeof said === "string" ? verdict(said) : Promise.reject(said);
    };
    const { judgement, notes, results } = await compare(createTestOrchestrator([engine]), {
      models: [small.name, coder.name],
      judge: large.name,
    });
    expect(judgement).toBeUndefined();
    expect(notes?.join()).toContain(note);
    expect(results.map(({ error }) => error)).toEqual([undefined, undefined]);
  });

  it("that is unknown or remote is refused before the models are asked", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [small, coder, cloud]);
    const harness = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
    const missing = await failureOf(compare(harness, { models: [small.name, coder.name], judge: "lama3.2:3b" }));
    expect(missing).toBeInstanceOf(UnknownModel);
    expect(missing.next[0]).toEqual({ step: "didYouMean", names: [small.name] });
    const remote = await failureOf(compare(harness, { models: [small.name, coder.name], judge: cloud.name }));
    // Even though the user allows remote models.
    expect(remote).toBeInstanceOf(InvalidRequest);
    expect(remote.message).toBe("kimi-k2:cloud can't be the judge: every answer would be sent off this machine");
    expect(remote.next).toEqual([
      { step: "chooseModel", argument: "judge", that: "on this machine" },
      { step: "setArgument", argument: "judge", to: "auto" },
    ]);
    expect(engine.calls.filter((call) => call.startsWith("generate"))).toEqual([]);
  });

  it("with only one answer to judge adds a note instead of a judgement", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    const harness = createTestOrchestrator([engine]);
    const single = await compare(harness, { models: [small.name, "nothing:1b"], judge: coder.name });
    expect(single.notes).toEqual(["no judgement: fewer than two models answered"]);
  });
});
