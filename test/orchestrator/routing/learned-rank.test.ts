import { describe, expect, it } from "vitest";
import type { Task } from "../../../src/orchestrator/api/types.ts";
import type { Candidate } from "../../../src/orchestrator/routing/candidate.ts";
import { chooseModel } from "../../../src/orchestrator/routing/choose.ts";
import {
  feedbackFor,
  forgotten,
  learnFeedback,
  learnOutcome,
  outcomeEvidence,
  pickEvidence,
  ratingEvidence,
} from "../../../src/orchestrator/routing/evidence.ts";
import { outcomeOf } from "../../../src/orchestrator/generation/tally.ts";
import {
  type QualityState,
  aged,
  learn,
  nothingLearned,
  unlearn,
} from "../../../src/orchestrator/routing/quality-state.ts";
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

function afterRatings(
  model: string,
  isGood: boolean,
  times: number,
  from: QualityState = nothingLearned,
): QualityState {
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
    expect(order(request({ learned: afterRatings("gone:1b", true, 9) }), unloaded)).toEqual(today);
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
    const learned = afterRatings(second, true, 20, afterRatings(first, true, 3));
    const choice = chooseModel(request({ learned }), [loaded(first), candidate(second), candidate(third)]);
    expect(choice.chain[0]?.candidate.model).toBe(first);
  });

  it.each([
    [5, first],
    [6, second],
  ])("after %i bad answers %s answers, although only the first is loaded", (times, expected) => {
    const choice = chooseModel(request({ learned: afterRatings(first, false, times) }), [
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
    const learned = afterRatings(first, false, 9);
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
    const learned = afterRatings(first, false, 20);
    const all = [loaded(second), candidate(first)];
    expect(order(request({ learned, model: first }), all)).toEqual([first]);
    expect(order(request({ learned, preferred: first }), all)[0]).toBe(first);
  });

  it("names a model in any spelling", () => {
    const learned = afterRatings("Registry.ollama.ai/library/LLAMA3.1:8B", false, 6);
    expect(order(request({ learned }), [loaded(first), candidate(second)])[0]).toBe(second);
  });
});

/** What people would find natural, in the words in which they would tell it. A is the stronger one. */
describe("a user finds", () => {
  const [a, b, c] = [first, second, third];
  type Rated = readonly [model: string, good: number, bad: number, task?: Task];

  function after(...all: readonly Rated[]): QualityState {
    let state = nothingLearned;
    for (const [model, good, bad, task = "general"] of all) {
      for (let at = 0; at < good + bad; at += 1) {
        state = learnFeedback(state, ratingEvidence(task, model, at < good));
      }
    }
    return state;
  }

  /** The model that answers next, where all are equally quick to load, or as given. */
  function next(learned: QualityState, candidates: readonly Candidate[] = [candidate(a), candidate(b)], more = {}) {
    return order(request({ learned, ...more }), candidates)[0];
  }

  it("that one bad rating changes nothing", () => {
    expect(next(after([a, 0, 1]))).toBe(a);
    expect(next(after([a, 0, 1]), [loaded(a), loaded(b)])).toBe(a);
  });

  it.each([
    ["neither is loaded", [candidate(a), candidate(b)]],
    ["both are", [loaded(a), loaded(b)]],
    ["only the first is", [loaded(a), candidate(b)]],
  ] as const)("that six bad ones and no good one do, where %s", (_where, candidates) => {
    expect(next(after([a, 0, 6]), candidates)).toBe(b);
  });

  it("that one task doesn't spoil another", () => {
    const learned = after([a, 0, 6, "translation"]);
    expect(next(learned, undefined, { task: "translation" })).toBe(b);
    expect(next(learned, undefined, { task: "code", profile: "code" })).toBe(
      next(nothingLearned, undefined, { task: "code", profile: "code" }),
    );
    expect(next(learned)).toBe(a);
  });

  it("that mostly good is good enough", () => {
    expect(next(after([a, 7, 4]))).toBe(a);
    // Languages aren't told apart: nine good English summaries and five bad German ones are fourteen summaries.
    expect(next(after([a, 9, 5]))).toBe(a);
  });

  it("that what works isn't changed for one of unknown value, and what is ready isn't kept waiting for it", () => {
    expect(next(after([b, 8, 0]))).toBe(b);
    expect(next(after([b, 8, 0]), [loaded(a), loaded(b)])).toBe(b);
    expect(next(after([b, 8, 0]), [loaded(a), candidate(b, { expectedLoadSeconds: 40 })])).toBe(a);
    expect(next(after([b, 15, 1]), [candidate(a), loaded(b)])).toBe(b);
  });

  it("that a ninth bad answer is worse than a load", () => {
    const candidates = [loaded(a), candidate(b, { expectedLoadSeconds: 15 })];
    expect(next(after([a, 0, 8], [b, 3, 0]), candidates)).toBe(b);
    expect(chooseModel(request({ learned: after([a, 0, 8], [b, 3, 0]) }), candidates).chain[0]?.reason).toContain(
      `${a} is loaded but answered general tasks badly`,
    );
  });

  it("that a third one is tried where two are bad, and else the better one, without going to and fro", () => {
    const both = after([a, 0, 6], [b, 0, 6]);
    expect(next(both, [candidate(a), candidate(b), candidate(c)])).toBe(c);
    expect(next(both)).toBe(a);
    let state = both;
    const answered: string[] = [];
    for (let count = 0; count < 20; count += 1) {
      const model = next(state) ?? "";
      answered.push(model);
      state = learnFeedback(state, ratingEvidence("general", model, false));
    }
    const changes = answered.filter((model, at) => at > 0 && model !== answered[at - 1]);
    expect(changes.length).toBeLessThanOrEqual(5);
  });

  it("that a comparison says more than single ratings, and an equal one nothing", () => {
    const picked = (winners: readonly string[]) =>
      winners.reduce(
        (state, winner) => learnFeedback(state, pickEvidence("general", winner, [winner === a ? b : a])),
        nothingLearned,
      );
    expect(next(picked([b, b, b]))).toBe(b);
    expect(next(picked([b, b, b, a]))).toBe(b);
    expect(next(picked([b, b, b, a, a, a]))).toBe(a);
  });

  it("that good ratings of easy requests don't speak for a hard one", () => {
    const [large, small] = ["qwen2.5:14b", "llama3.2:3b"];
    const candidates = [candidate(large, { sizeBytes: 9e9 }), candidate(small, { sizeBytes: 2e9 })];
    expect(next(after([small, 12, 0]), candidates)).toBe(small);
    expect(next(after([small, 12, 0]), candidates, { complexity: "high" })).toBe(large);
  });

  it("that the last ratings count more than the first ones", () => {
    // A run of five happens to a model of which 70 % are good in two of five months: it takes more.
    const bads = (count: number) => {
      let state = after([a, 10, 0]);
      for (let at = 0; at < count; at += 1) state = learnFeedback(state, ratingEvidence("general", a, false));
      return state;
    };
    expect(next(bads(5))).toBe(a);
    expect(next(bads(15))).toBe(a);
    expect(next(bads(16))).toBe(b);
    let again = bads(20);
    for (let at = 0; at < 10; at += 1) again = learnFeedback(again, ratingEvidence("general", a, true));
    expect(next(again)).toBe(a);
  });

  it("that a crash or a cut answer is no rating, and ratings of months ago are hardly one", () => {
    const crashes = (["failed", "length", "length"] as const).reduce(
      (state, outcome) => learnOutcome(state, outcomeEvidence("general", a, outcome)),
      nothingLearned,
    );
    expect(next(crashes)).toBe(a);
    expect(next(aged(after([a, 0, 6]), 300))).toBe(a);
  });

  it("that what was forgotten is as on the first day, whatever was rated for other tasks", () => {
    const learned = after([a, 0, 9], [a, 0, 9, "translation"]);
    expect(next(forgotten(learned, { task: "general" }))).toBe(a);
    expect(next(forgotten(learned, { task: "general" }), undefined, { task: "translation" })).toBe(b);
  });

  it("that what another client rates doesn't turn its own choice over at once", () => {
    const clients = [{ client: "night-batch", learned: after([a, 0, 30]) }];
    const feedback = after([a, 2, 0]);
    expect(next(feedbackFor("editor", { feedback, clients }))).toBe(a);
    expect(next(feedbackFor("night-batch", { feedback, clients }))).toBe(b);
  });

  it("that ratings never choose what doesn't fit, can't do it or isn't private, and the same gives the same", () => {
    const learned = after([a, 0, 9], [b, 9, 0]);
    expect(next(learned, [candidate(a), candidate(b, { fits: "no" })])).toBe(a);
    expect(next(learned, [candidate(a), candidate(b, { capabilities: ["embedding"] })])).toBe(a);
    expect(next(learned, [candidate(a), candidate(b, { trust: "remote" })])).toBe(a);
    expect(next(learned)).toBe(next(learned));
  });
});

describe("exploration", () => {
  const learned = afterRatings(first, true, 1);
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
    const stop = { finishReason: "stop" } as const;
    const length = { finishReason: "length" } as const;
    const repetition = { finishReason: "repetition" } as const;
    expect(outcomeOf(stop, {}, false)).toBeUndefined();
    expect(outcomeOf(stop, { format: "json" }, false)).toBe("valid");
    expect(outcomeOf(stop, {}, true)).toBe("checked");
    expect(outcomeOf(length, {}, false)).toBe("length");
    // Where the request says how long it may be, the cut is what was asked for.
    expect(outcomeOf(length, { maxTokens: 9 }, false)).toBeUndefined();
    expect(outcomeOf(length, { maxTokens: 9, format: "json" }, false)).toBeUndefined();
    expect(outcomeOf(repetition, { maxTokens: 9 }, false)).toBe("repetition");
    expect(outcomeOf(repetition, {}, false)).toBe("repetition");
    // A program's format is not checked here, its calls are.
    const chat = { messages: [], sampling: {} };
    expect(outcomeOf(stop, { chat, format: "json" }, false)).toBeUndefined();
    const toolCalls = [{ id: "call_1", name: "read", arguments: "{}" }];
    expect(outcomeOf({ ...stop, toolCalls }, { chat }, false)).toBe("valid");
    expect(new GenerationFailed("x").facts.evidence).toBe("failed");
    expect(new CheckFailed("x", { text: "" }).facts.evidence).toBe("invalid");
    for (const fault of [EngineUnreachable, QueueFull, BudgetExceeded, OutOfMemory]) {
      expect(fault.facts.evidence).toBeUndefined();
    }
  });
});
