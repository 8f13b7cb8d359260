import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchesGlob, nameWords } from "../../../src/orchestrator/routing/database.ts";

describe("nameWords", () => {
  it.each([
    ["llama3.2", ["llama", "3.2"]],
    ["Llama-3.2-3B-Instruct-GGUF", ["llama", "3.2", "3b", "instruct", "gguf"]],
    ["gemma-2b-it", ["gemma", "2b", "it"]],
    ["gemma2", ["gemma", "2"]],
    ["qwen2.5vl", ["qwen", "2.5", "vl"]],
    ["mixtral-8x7b", ["mixtral", "8", "x", "7b"]],
    ["gpt-oss", ["gpt", "oss"]],
  ])("takes %s apart", (name, words) => {
    expect(nameWords(name).words).toEqual(words);
  });

  it("defaults the tag to latest, and omits host and namespace", () => {
    expect(nameWords("host:5000/team/Model")).toMatchObject({ base: "model", tag: "latest" });
    expect(nameWords("model:")).toMatchObject({ base: "model", tag: "latest" });
  });
});

describe("matchesGlob", () => {
  it.each([
    ["*", "", true],
    ["*", "anything", true],
    ["7b*", "7b-instruct", true],
    ["7b*", "17b", false],
    ["*128k*", "mini-128k-instruct", true],
    ["*128k*", "mini-4k", false],
    ["a*b*c", "axbyc", true],
    ["a*b*c", "acb", false],
    ["a*a", "a", false],
    ["exact", "exact", true],
    ["exact", "exactly", false],
  ])("%s on %s: %s", (glob, text, expected) => {
    expect(matchesGlob(glob, text)).toBe(expected);
  });

  it("agrees with the equivalent regular expression", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "*"), maxLength: 8 });
    const plain = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 10 });
    fc.assert(
      fc.property(text, plain, (glob, name) => {
        expect(matchesGlob(glob, name)).toBe(new RegExp(`^${glob.replaceAll("*", ".*")}$`).test(name));
      }),
      { numRuns: 1000 },
    );
  });
});
