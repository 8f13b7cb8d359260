import { describe, expect, it } from "vitest";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import {
  learnFeedback,
  learnOutcome,
  outcomeEvidence,
  pickEvidence,
  ratingEvidence,
} from "../../../src/orchestrator/routing/evidence.ts";
import { outcomeOf } from "../../../src/orchestrator/generation/tally.ts";
import { type QualityState, learn, nothingLearned, unlearn } from "../../../src/orchestrator/routing/quality.ts";
import {
  BudgetExceeded,
  CheckFailed,
  EngineUnreachable,
  GenerationFailed,
  OutOfMemory,
  QueueFull,
} from "../../../src/orchestrator/api/errors.ts";
import { candidate, loaded, order, request } from "./candidates.ts";

const [first, second, third] = ["llama3.1:8b", "qwen2.5:7b", "mistral:7b"] as const;

function rated(model: string, isGood: boolean, times: number, from: QualityState = nothingLearned): QualityState {
  let state = from;
  for (let count = 0; count < times; count += 1) state = learnFeedback(state, ratingEvidence("general", model, isGood));
  return state;
}

describe("what was learned", () => {
  const unloaded = [first, second, third].map((model) => candidate(model));

  it("changes nothing where there is none, or only about models that are not there", () => {
    const today = order(request(), unloaded);
    expect(today).toEqual([first, second, third]);
    expect(order(request({ learned: nothingLearned }), unloaded)).toEqual(today);
    expect(order(request({ learned: rated("gone:1b", true, 9) }), unloaded)).toEqual(today);
  });

  it("overtakes what is expected without it, and takes its place back with it", () => {
    const comparison = pickEvidence("general", third, [first, second]);
    let learned = nothingLearned;
    for (let count = 0; count < 6; count += 1) learned = learn(learned, comparison);
    const choice = chooseModel(request({ learned }), unloaded);
    expect(choice.chain[0]?.candidate.model).toBe(third);
    expect(choice.chain[0]?.reason).toContain("answered general tasks best so far");
    expect(choice.considered[0]).toMatchObject({ model: third, terms: { quality: { answers: 6 } } });
    for (let count = 0; count < 6; count += 1) learned = unlearn(learned, comparison);
    expect(order(request({ learned }), unloaded)).toEqual([first, second, third]);
  });

  it("never loads a model because another one is a little better: loaded models stay first", () => {
    const learned = rated(second, true, 20, rated(first, true, 3));
    const choice = chooseModel(request({ learned }), [loaded(first), candidate(second), candidate(third)]);
    expect(choice.chain[0]?.candidate.model).toBe(first);
  });

  it.each([
    [5, first],
    [6, second],
  ])("after %i bad answers %s answers, although only the first is loaded", (times, expected) => {
    const choice = chooseModel(request({ learned: rated(first, false, times) }), [
      loaded(first),
      candidate(second),
      candidate(third),
    ]);
    expect(choice.chain[0]?.candidate.model).toBe(expected);
    const reason = expect(choice.chain[0]?.reason);
    if (times === 6) reason.toContain(`${first} is loaded but answered general tasks badly`);
    else reason.not.toContain("badly");
  });

  it("a bad model still answers where nothing else can, and other tasks don't suffer from it alone", () => {
    const learned = rated(first, false, 9);
    expect(order(request({ learned }), [loaded(first)])).toEqual([first]);
    const unfit = candidate(second, { fits: "no" });
    expect(order(request({ learned }), [loaded(first), unfit])).toEqual([first]);
    const inUse = candidate(second, { evictsInUse: true, fits: "after_eviction" });
    expect(order(request({ learned }), [loaded(first), inUse])[0]).toBe(first);
  });

  it("by outcomes alone causes no load, however many there are", () => {
    let learned = nothingLearned;
    for (let count = 0; count < 1_000; count += 1) {
      learned = learnOutcome(learned, outcomeEvidence("general", first, "repetition"));
    }
    expect(order(request({ learned }), [loaded(first), candidate(second)])[0]).toBe(first);
    // Among loaded ones they don't have to be overruled by anything.
    const cell = learned.tasks[0]?.models[0];
    expect(cell?.single.answers).toBeLessThanOrEqual(3);
  });

  it("never replaces a model that the request names or the user prefers", () => {
    const learned = rated(first, false, 20);
    const all = [loaded(second), candidate(first)];
    expect(order(request({ learned, model: first }), all)).toEqual([first]);
    expect(order(request({ learned, preferred: first }), all)[0]).toBe(first);
  });

  it("names a model in any spelling", () => {
    const learned = rated("Registry.ollama.ai/library/LLAMA3.1:8B", false, 6);
    expect(order(request({ learned }), [loaded(first), candidate(second)])[0]).toBe(second);
  });
});

describe("exploration", () => {
  const learned = rated(first, true, 1);
  const chance = { learned, random: 0 };

  it("tries a loaded model now and then, and says so", () => {
    const choice = chooseModel(request(chance), [loaded(first), loaded(second)]);
    expect(choice.chain[0]).toMatchObject({ candidate: { model: second }, because: "explored" });
    expect(choice.chain[0]?.reason).toContain("tried to learn how well it answers");
    expect(order(request({ learned, random: 0.99 }), [loaded(first), loaded(second)])[0]).toBe(first);
    expect(order(request({ learned }), [loaded(first), loaded(second)])[0]).toBe(first);
  });

  it("never loads a model, and never happens where a load is awaited", () => {
    expect(order(request(chance), [loaded(first), candidate(second)])[0]).toBe(first);
    expect(order(request(chance), [candidate(first), candidate(second)])[0]).toBe(first);
  });
});

describe("outcomes", () => {
  it("say something about the model's answer, or nothing", () => {
    const answer = { finishReason: "stop", hasFormat: false, isChecked: false, isLimited: false } as const;
    expect(outcomeOf(answer)).toBeUndefined();
    expect(outcomeOf({ ...answer, hasFormat: true })).toBe("valid");
    expect(outcomeOf({ ...answer, isChecked: true })).toBe("checked");
    expect(outcomeOf({ ...answer, finishReason: "length" })).toBe("length");
    // Where the request says how long it may be, the cut is what was asked for.
    expect(outcomeOf({ ...answer, finishReason: "length", isLimited: true })).toBeUndefined();
    expect(outcomeOf({ ...answer, finishReason: "length", isLimited: true, hasFormat: true })).toBeUndefined();
    expect(outcomeOf({ ...answer, finishReason: "repetition", isLimited: true })).toBe("repetition");
    expect(outcomeOf({ ...answer, finishReason: "repetition" })).toBe("repetition");
    expect(new GenerationFailed("x").facts.evidence).toBe("failed");
    expect(new CheckFailed("x", { text: "" }).facts.evidence).toBe("invalid");
    for (const fault of [EngineUnreachable, QueueFull, BudgetExceeded, OutOfMemory]) {
      expect(fault.facts.evidence).toBeUndefined();
    }
  });
});
