import { describe, expect, it } from "vitest";
import { Cancelled, GenerationFailed, InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { clausesOf, passageOf, verdictOf } from "../../../src/orchestrator/checks/judged.ts";
import { problemOf } from "../../../src/orchestrator/checks/quotes.ts";
import type { Generation, GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const writer = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
const minicheck = fakeModel("bespoke-minicheck:7b", 5 * gigabyte, { parameterSize: "7B" });
const general = fakeModel("qwen3:14b", 9 * gigabyte, { parameterSize: "14B" });
const weak = fakeModel("qwen2.5-coder:1.5b", gigabyte, { parameterSize: "1.5B" });
const remote = fakeModel("gpt-oss:120b-cloud", 0, { trust: "remote" });

const file = { path: "app.ini", text: "[server]\nport = 8080\ncache = off\nname = Ariadne\n" };
const text = 'The server listens on port 8080. "port = 8080"\nThe cache is enabled. "cache = off"\nThe name is nice.';

/** Asks with the check: `writer` gives `text`, and the judge what `verdict` says of a prompt. */
function setUp(
  models: Parameters<typeof createFakeEngine>[1],
  verdict: (prompt: string, asked: number) => Generation["likelihoods"],
  settings: object = {},
) {
  const engine = createFakeEngine("ollama", models);
  const asked: GenerationRequest[] = [];
  engine.answer = (request) => {
    if (request.choices === undefined) return Promise.resolve({ text });
    asked.push(request);
    const likelihoods = verdict(request.messages.at(-1)?.content ?? "", asked.length);
    return Promise.resolve({ text: "yes", completionTokens: 1, ...(likelihoods && { likelihoods }) });
  };
  const created = createTestOrchestrator([engine], { settings: { model: { default: writer.name, ...settings } } });
  const ask = () => created.generate({ prompt: "What is set?", check: "judged", files: [file], model: writer.name });
  return { ...created, engine, asked, ask };
}

const sure = (word: string) => ({ yes: 0.02, no: 0.02, unclear: 0.01, [word]: 0.95 });

describe("the check judged", () => {
  it("asks a model that was made for it, in its own words, and says supported of what it is sure of", async () => {
    const { ask, asked } = setUp([writer, minicheck], (prompt) => sure(prompt.includes("8080.") ? "yes" : "no"));
    const { check, text: shown, notes, completionTokens, model } = await ask();
    expect(model).toBe(writer.name);
    expect(asked[0]).toMatchObject({ model: minicheck.name, choices: ["yes", "no"], maxTokens: 1 });
    expect(asked[0]?.messages).toEqual([
      { role: "user", content: `Document: ${file.text}\nClaim: The server listens on port 8080.` },
    ]);
    // Its "no" means no more than "not supported": what the search found stays.
    expect(check?.statements.map(({ status, where }) => [status, where])).toEqual([
      ["supported", "app.ini:2"],
      ["quoted", "app.ini:3"],
      ["not_judged", "app.ini:4"],
    ]);
    expect(check?.kind).toBe("judged");
    expect(shown).toContain("The server listens on port 8080. [supported, app.ini:2: port = 8080]");
    expect(completionTokens).toBe(3 + asked.length);
    expect(notes.join()).toContain("models answered 4 times for the check");
  });

  it("asks the larger local model that the user named, which may contradict; a note says that it was not measured", async () => {
    const { ask, asked } = setUp(
      [writer, general],
      (prompt) => sure(prompt.includes("enabled") ? "no" : prompt.includes("nice") ? "unclear" : "yes"),
      { judge: general.name },
    );
    const { check, notes } = await ask();
    expect(asked[0]).toMatchObject({ model: general.name, choices: ["yes", "no", "unclear"] });
    expect(check?.statements.map(({ status }) => status)).toEqual(["supported", "contradicted", "not_judged"]);
    expect(check?.problem).toContain("1 not judged, 1 supported, 1 contradicted: The cache is enabled.");
    expect(notes).toContain(`judged by ${general.name}, whose verdicts were not measured`);
  });

  it("gives no verdict by a model that was measured below the bar, and does not ask it", async () => {
    const { ask, asked } = setUp([writer, weak], () => sure("yes"), { judge: weak.name });
    const { check, notes } = await ask();
    expect(asked).toEqual([]);
    expect(check?.statements.map(({ status }) => status)).toEqual(["quoted", "quoted", "not_judged"]);
    expect(notes.join()).toContain(`${weak.name} gives no verdicts: general models of up to 2 B`);
  });

  it("without a judge is refused before a model is asked, with what to pull or set, and so is its plan", async () => {
    const { ask, orchestrator, caller, engine } = setUp([writer, remote], () => sure("yes"));
    const failure = await ask().catch((error: unknown) => error as InvalidRequest);
    expect(failure).toBeInstanceOf(InvalidRequest);
    expect((failure as InvalidRequest).next).toEqual([
      { step: "pullModel", model: "bespoke-minicheck" },
      { step: "askUserToSet", setting: "model.judge" },
      { step: "setArgument", argument: "check", to: "quotes" },
    ]);
    const plan = orchestrator.planGeneration(caller(), { prompt: "x", check: "judged", files: [file] });
    await expect(plan).rejects.toThrow("no model that judges statements is installed");
    expect(engine.calls).toEqual([]);
  });

  it("is never remote, whatever the settings allow", async () => {
    const { generate } = createTestOrchestrator([createFakeEngine("ollama", [writer, remote])], {
      settings: { privacy: "allow_remote", model: { judge: remote.name } },
    });
    const asked = generate({ prompt: "x", check: "judged", files: [file], privacy: "allow_remote" });
    await expect(asked).rejects.toThrow("is no model on this machine");
  });

  it("is not the model that answered", async () => {
    const { generate, asked } = setUp([writer, general], () => sure("yes"), { judge: general.name });
    const { check, notes } = await generate({ prompt: "x", check: "judged", files: [file], model: general.name });
    expect(asked).toEqual([]);
    expect(check?.statements.map(({ status }) => status)).toEqual(["quoted", "quoted", "not_judged"]);
    expect(notes).toContain(`${general.name} does not judge its own answer`);
  });

  it("keeps what the search found when the judge goes away in the middle, and says why", async () => {
    const { ask } = setUp([writer, minicheck], (_prompt, count) => {
      if (count > 1) throw new GenerationFailed("the judge is gone");
      return sure("yes");
    });
    const { check, notes } = await ask();
    expect(check?.statements.map(({ status }) => status)).toEqual(["supported", "quoted", "not_judged"]);
    expect(notes.join()).toMatch(/2 statements not judged: bespoke-minicheck:7b failed: .*the judge is gone/);
  });

  it("gives no verdict where the engine tells no probabilities", async () => {
    const { ask } = setUp([writer, minicheck], () => undefined);
    const { check, notes } = await ask();
    expect(check?.statements.map(({ status }) => status)).toEqual(["quoted", "quoted", "not_judged"]);
    expect(notes.join()).toContain(
      "3 statements not judged: the engine of bespoke-minicheck:7b gives no probabilities",
    );
  });

  it("ends when the request is cancelled", async () => {
    const { orchestrator, caller, engine } = setUp([writer, minicheck], () => sure("yes"));
    const gate = createGate();
    engine.answer = async (request, _sink, signal) => {
      if (request.choices !== undefined) await gate.pass(signal);
      return { text };
    };
    const abort = new AbortController();
    const operation = await orchestrator.generate(caller(), { prompt: "x", check: "judged", files: [file] });
    const answer = operation.follow(abort.signal);
    await gate.entered;
    abort.abort();
    await expect(answer).rejects.toBeInstanceOf(Cancelled);
  });
});

describe("a verdict", () => {
  it("needs nine tenths of the choices, and choices that are most of what could be said", () => {
    const three = ["yes", "no", "unclear"];
    expect(verdictOf({ yes: 0.6, no: 0.05, unclear: 0 }, three)).toBe("supported");
    expect(verdictOf({ yes: 0.8, no: 0.1, unclear: 0 }, three)).toBeUndefined();
    expect(verdictOf({ yes: 0.02, no: 0.9, unclear: 0 }, three)).toBe("contradicted");
    expect(verdictOf({ yes: 0.02, no: 0.9 }, ["yes", "no"])).toBeUndefined();
    expect(verdictOf({ yes: 0.4, no: 0, unclear: 0 }, three)).toBeUndefined();
    expect(verdictOf({}, three)).toBeUndefined();
  });

  it("is asked of each clause of some length", () => {
    expect(clausesOf("The cache is turned off, and the server listens on 8080.")).toEqual([
      "The cache is turned off",
      "the server listens on 8080.",
    ]);
    expect(clausesOf("Der Cache ist ausgeschaltet, und der Server hört auf 8080.")).toHaveLength(2);
    expect(clausesOf("It sells apples, pears, and plums.")).toEqual(["It sells apples, pears, and plums."]);
  });

  it("is given a short file whole, and of a long one the lines around what was found", () => {
    expect(passageOf([file], {})).toBe(file.text);
    const long = { path: "a, b.txt", text: Array.from({ length: 2_000 }, (_, at) => `line ${at + 1}`).join("\n") };
    expect(passageOf([long], { where: "a.txt:3" })).toBeUndefined();
    const named = { ...long, path: "log.txt" };
    const passage = passageOf([named], { where: "log.txt:100-101, log.txt:500" });
    expect(passage?.split("\n").slice(0, 2)).toEqual(["line 96", "line 97"]);
    expect(passage).toContain("line 105\n…\nline 496");
    expect(passageOf([named], {})).toBeUndefined();
  });
});

describe("a passage of a long file", () => {
  it("is not cut: what was found might be missing in it", () => {
    const long = { path: "a.json", text: `${"x".repeat(9_000)} port = 80` };
    expect(passageOf([long], { where: "a.json:1" })).toBeUndefined();
  });
});

it("an answer of which all is supported has no problem, also where no line was found", () => {
  expect(problemOf([{ text: "Yes, it is fine.", status: "supported" }])).toBeUndefined();
  expect(problemOf([{ text: "Yes, it is fine.", status: "not_judged" }])).toContain("nothing that could be looked for");
});
