import { describe, expect, it } from "vitest";
import { promptAndModels } from "../../../src/cli/commands/compare.ts";

const names = ["a:1b", "b:2b", "c:3b"];
const read = (words: readonly string[]) =>
  promptAndModels(words, async (word) => ({ kind: names.includes(word) ? "model" : "prompt" }));

describe("promptAndModels", () => {
  it.each([
    [["Explain recursion", "a:1b", "b:2b"], "Explain recursion", ["a:1b", "b:2b"]],
    [["Why?", "a:1b"], "Why?", ["a:1b"]],
    [["Why?"], "Why?", []],
    [["Explain recursion"], "Explain recursion", []],
    [["a:1b", "b:2b", "Name a colour."], "Name a colour.", ["a:1b", "b:2b"]],
    [["a:1b", '"Name a colour."', "b:2b"], "Name a colour.", ["a:1b", "b:2b"]],
    [["two words", "a:1b", "three more words"], "two words", ["a:1b", "three more words"]],
    [['"Explain recursion"', "a:1b", "b:2b", "c:3b"], "Explain recursion", ["a:1b", "b:2b", "c:3b"]],
    [["a:1b", "b:2b", "'Why?'"], "Why?", ["a:1b", "b:2b"]],
    [["a:1b", "“Why so?”"], "Why so?", ["a:1b"]],
    [['"Why?"'], "Why?", []],
    [["a:1b", "Why", "is", "it?"], "Why is it?", ["a:1b"]],
    [["Why", "is", "it?"], "Why is it?", []],
    [["Say", '"hello world"', "in", "German"], 'Say "hello world" in German', []],
    [["What", "is", "a:1b"], "What is a:1b", []],
    // Beside a quoted prompt and a model, what isn't a name is asked for as one, so that it is said to be missing.
    [['"Why so?"', "a:1b", "gone:7b"], "Why so?", ["a:1b", "gone:7b"]],
    [["a:1b", "b:2b"], undefined, ["a:1b", "b:2b"]],
    [[], undefined, []],
  ])("%j asks %j of %j", async (words, prompt, models) => {
    expect(await read(words)).toEqual(prompt === undefined ? { models } : { prompt, models });
  });
});
