import { describe, expect, it } from "vitest";
import { classifyTask } from "../../../src/orchestrator/routing/classify.ts";

describe("classifyTask", () => {
  it("takes the task of the request", () => {
    expect(classifyTask({ prompt: "Write a poem", task: "code", images: ["aGk="] })).toEqual({
      task: "code",
      because: "set by the request",
    });
  });

  it("classifies images as vision", () => {
    expect(classifyTask({ prompt: "Fix this function", images: ["aGk="] }).task).toBe("vision");
  });

  it.each([
    "Fix the bug in this function",
    "Refactor this",
    "Write a Python script that renames files",
    "Why does this throw TypeError: undefined is not a function?",
    "```\nSELECT 1\n```\nWhat does this do?",
    "def f(x):\n    return x + 1\n\nExplain.",
    "Write unit tests for the parser",
    "How do I sort an array in JavaScript?",
    "Write a regex that matches dates",
    "Implement a binary search algorithm",
    "Review this: const a = [1].map((x) => x + 1);",
    "Write a SQL query for the ten best customers",
    "Explain this C++ class",
    "implement the API endpoint",
    "Schreibe eine Python-Funktion, die Primzahlen zählt: def primes(n):",
  ])("code: %s", (prompt) => {
    expect(classifyTask({ prompt }).task).toBe("code");
  });

  it.each([
    "Write a poem about the sea",
    "Tell me a story about a programmer who debugs his life",
    "Compose song lyrics",
    "Invent a slogan for a bakery",
    "Draft a blog post on gardening",
    "Brainstorm names for a cat",
    "Schreibe ein Gedicht über den Herbst",
    "Write a haiku",
  ])("creative: %s", (prompt) => {
    expect(classifyTask({ prompt }).task).toBe("creative");
  });

  it.each([
    "Is the sky blue? Answer yes or no.",
    "In one word: capital of France",
    "Quickly, what is the capital of Peru?",
    "Summarise in one sentence: the cat sat on the mat.",
  ])("fast: %s", (prompt) => {
    expect(classifyTask({ prompt }).task).toBe("fast");
  });

  it.each([
    "",
    "What is the function of the heart?",
    "Summarise the attached report",
    "What is the capital of France?",
    "Who leads the class this year?",
    "Explain the theory of relativity",
    "Translate this letter into German",
    "Which film script won the prize?",
    "How do I get from Java to Bali?",
  ])("general: %s", (prompt) => {
    expect(classifyTask({ prompt })).toEqual({ task: "general", because: "no signs of a special task" });
  });

  it("classifies a long text with a short question as general", () => {
    expect(classifyTask({ prompt: `${"The sea is deep. ".repeat(100)}Answer yes or no.` }).task).toBe("general");
  });

  it("classifies source files as code, and names one", () => {
    expect(
      classifyTask({ prompt: "What does this do?", fileNames: ["/src/main.rs", "/src/lib.rs", "/README.md"] }),
    ).toEqual({
      task: "code",
      because: "/src/main.rs is source code",
    });
    expect(classifyTask({ prompt: "What does this do?", fileNames: ["C:\\src\\Dockerfile"] }).task).toBe("code");
  });

  it("classifies mostly prose files as general", () => {
    expect(classifyTask({ prompt: "Summarise", fileNames: ["a.md", "b.txt", "c.ts"] }).task).toBe("general");
  });

  it("names the sign that decided", () => {
    expect(classifyTask({ prompt: "Refactor this" }).because).toBe("the prompt contains a programming term");
  });

  it("examines the beginning and the end of a long prompt", () => {
    const filler = "The sea is deep. ".repeat(100_000);
    expect(classifyTask({ prompt: `${filler}\nNow refactor the parser.` }).task).toBe("code");
    expect(classifyTask({ prompt: `${filler} refactor ${filler}` }).task).toBe("general");
  });

  it("takes bounded time for hostile text", () => {
    for (const text of [
      "write ".repeat(2000),
      "\n ".repeat(4000),
      "{".repeat(8000),
      "a".repeat(8000),
      ");".repeat(4000),
    ]) {
      const started = performance.now();
      classifyTask({ prompt: text });
      expect(performance.now() - started).toBeLessThan(2_000);
    }
  });
});
