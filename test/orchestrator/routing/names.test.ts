import { describe, expect, it } from "vitest";
import { nameWords } from "../../../src/orchestrator/routing/database.ts";

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
