import { describe, expect, it } from "vitest";
import { createBoard } from "../../../src/orchestrator/compare/ask-model.ts";

function board(isOneByOne = true) {
  const messages: string[] = [];
  let text = "";
  const answers: Record<string, string> = {};
  const created = createBoard(
    [
      { model: "a:1b", isRefused: false },
      { model: "b:2b", isRefused: false },
      { model: "nope", isRefused: true },
    ],
    {
      signal: new AbortController().signal,
      background: new AbortController().signal,
      report: ({ message }) => messages.push(message),
      addText: (delta) => (text += delta),
      addThinking: () => undefined,
      clearText: () => (text = ""),
      setAnswer: (model, answer) => (answers[model] = answer),
    },
    isOneByOne,
  );
  return { created, messages, text: () => text, answers };
}

describe("the progress of a comparison", () => {
  it.each([
    [{ message: "loading a:1b (2.1 GB)" }, "loading (2.1 GB)"],
    [{ message: "loading a:1b", completedBytes: 430, totalBytes: 1000 }, "loading 43%"],
    [{ message: "unloading b:2b (4.2 GB) for a:1b" }, "unloading b:2b (4.2 GB) for a:1b"],
    [{ message: "a:1b is reading the prompt" }, "is reading the prompt"],
    [{ message: "a:1b: 12 tokens", completionTokens: 12 }, "12 tokens"],
    [{ message: "waiting for a:1b, which answers others first" }, "waiting for a:1b, which answers others first"],
  ])("is one line over all models, each name once: %j", (progress, state) => {
    const { created, messages } = board();
    created.of("a:1b").report(progress);
    expect(messages).toEqual([`a:1b: ${state} | b:2b: waits | nope: failed`]);
  });

  it("shows the speed of a model that is done, or that it failed", () => {
    const { created, messages } = board();
    created.done({ model: "a:1b", engine: "ollama", text: "Yes.", tokensPerSecond: 12.54 });
    created.done({ model: "b:2b", engine: "ollama", text: "", error: "killed" });
    expect(messages.at(-1)).toBe("a:1b: done, 12.5 tokens/s | b:2b: failed | nope: failed");
  });
});

describe("the text of a comparison", () => {
  it("streams under the name of the model, and is complete when the model is done", () => {
    const { created, text } = board();
    created.of("a:1b").addText("Bec");
    expect(text()).toBe("=== a:1b ===\nBec");
    created.of("a:1b").clearText();
    expect(text()).toBe("");
    created.of("a:1b").addText("Because");
    created.done({ model: "a:1b", engine: "ollama", text: "Because." });
    created.of("b:2b").addText("It");
    expect(text()).toBe("=== a:1b ===\nBecause.\n\n=== b:2b ===\nIt");
    created.done({ model: "b:2b", engine: "ollama", text: "", error: "killed" });
    expect(text()).toBe("=== a:1b ===\nBecause.\n\n=== b:2b ===\nfailed: killed\n\n");
  });

  it("adds each answer only when it is complete if models answer at the same time", () => {
    const { created, text } = board(false);
    created.of("a:1b").addText("Bec");
    created.of("b:2b").addText("It");
    expect(text()).toBe("");
    created.done({ model: "b:2b", engine: "gpu", text: "It is." });
    expect(text()).toBe("=== b:2b ===\nIt is.\n\n");
  });

  it.each([true, false])("is also kept by model, while it is written (one by one: %s)", (isOneByOne) => {
    const { created, answers } = board(isOneByOne);
    created.of("a:1b").addText("Bec");
    created.of("b:2b").addText("It");
    created.of("a:1b").addText("ause");
    expect(answers).toEqual({ "a:1b": "Because", "b:2b": "It" });
    created.of("a:1b").clearText();
    expect(answers).toEqual({ "a:1b": "", "b:2b": "It" });
    created.done({ model: "b:2b", engine: "gpu", text: "It is." });
    expect(answers).toEqual({ "a:1b": "", "b:2b": "It is." });
  });
});
