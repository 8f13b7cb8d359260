import { describe, expect, it } from "vitest";
import { problemOf, runningAnswers } from "../../src/ui/compare-form.ts";

describe("the form of a comparison", () => {
  it.each([
    ["", [], "", /Write what/],
    [" \n", ["a", "b"], "", /Write what/],
    ["Why?", ["a"], "", /at least two/],
    ["Why?", ["a", "b", "c", "d", "e", "f"], "", /at most 5/],
    ["Why?", ["a", "b"], "0", /whole number/],
    ["Why?", ["a", "b"], "1.5", /whole number/],
  ])("refuses %j of %j with %j tokens", (prompt, models, tokens, message) => {
    expect(problemOf(prompt, models, tokens)).toMatch(message);
  });

  it.each([
    ["Why?", [], ""],
    ["Why?", ["a", "b"], " 100 "],
  ])("takes %j of %j with %j tokens", (prompt, models, tokens) => {
    expect(problemOf(prompt, models, tokens)).toBeUndefined();
  });
});

describe("the columns of a running comparison", () => {
  it("are there before anything is known of them", () => {
    expect(runningAnswers(["a:1b", "b:2b"], "planning the comparison")).toEqual([
      { model: "a:1b", text: "", state: "waits" },
      { model: "b:2b", text: "", state: "waits" },
    ]);
    expect(runningAnswers([], "planning the comparison")).toEqual([]);
  });

  it("have the state and the text of each model, in the order of the message", () => {
    const message = "a:1b: done, 12.5 tokens/s | b:2b: 40 tokens | nope: failed";
    const texts = [
      { model: "b:2b", text: "It is" },
      { model: "a:1b", text: "Because." },
    ];
    expect(runningAnswers(["a:1b", "b:2b", "nope"], message, texts)).toEqual([
      { model: "a:1b", text: "Because.", state: "done, 12.5 tokens/s" },
      { model: "b:2b", text: "It is", state: "40 tokens" },
      { model: "nope", text: "", state: "failed" },
    ]);
  });

  it("have the names that the daemon chose, or spells otherwise, each once", () => {
    const message = "a:latest: 3 tokens | b:2b: waits";
    const texts = [{ model: "a:latest", text: "x" }];
    expect(runningAnswers([], message, texts).map(({ model }) => model)).toEqual(["a:latest", "b:2b"]);
    expect(runningAnswers(["a", "b:2b"], message, texts).map(({ model }) => model)).toEqual(["a:latest", "b:2b"]);
  });
});
