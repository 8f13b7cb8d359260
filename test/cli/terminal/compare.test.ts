import { describe, expect, it } from "vitest";
import { promptAndModels } from "../../../src/cli/commands/compare.ts";

describe("promptAndModels", () => {
  it.each([
    [["Explain recursion", "a:1b", "b:2b"], "Explain recursion", ["a:1b", "b:2b"]],
    [["Why?", "a:1b"], "Why?", ["a:1b"]],
    [["Why?"], "Why?", []],
    [["Explain recursion"], "Explain recursion", []],
    [["a:1b", "b:2b", "Name a colour."], "Name a colour.", ["a:1b", "b:2b"]],
    [["two words", "a:1b", "three more words"], "two words", ["a:1b", "three more words"]],
  ])("%j asks %j of %j", ([first = "", ...others], prompt, models) => {
    expect(promptAndModels(first, others)).toEqual({ prompt, models });
  });
});
