import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import {
  answerCharacters,
  type Generation,
  type GenerationSink,
} from "../../../src/orchestrator/engines/generation.ts";
import { Cancelled, GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte, type FakeEngine } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const small = fakeModel("smollm2:135m", gigabyte, { capabilities: ["completion", "thinking"] });
const large = fakeModel("llama3.2:3b", 2 * gigabyte);
const start = "The rain falls on the roof. ";
const sentence = "It falls and falls and never stops falling tonight. ";

interface Stream {
  readonly engine: FakeEngine;
  /** Pieces streamed before the abort, by model. */
  readonly given: Map<string, number>;
}

/** An engine that streams `start` and then `piece` forever, one per turn of the event loop. */
function endless(part: "text" | "thinking", piece: string, models = [small]): Stream {
  const engine = createFakeEngine("ollama", models);
  const given = new Map<string, number>();
  engine.answer = async (request, sink: GenerationSink, signal): Promise<Partial<Generation>> => {
    sink[part](start);
    for (;;) {
      if (signal.aborted) throw new Cancelled("the request was cancelled");
      given.set(request.model, (given.get(request.model) ?? 0) + 1);
      sink[part](piece);
      await nextTurn();
    }
  };
  return { engine, given };
}

describe("an answer that repeats itself", () => {
  it("is aborted and cut before the loop, with a note", async () => {
    const { engine, given } = endless("text", sentence);
    const answer = await createTestOrchestrator([engine]).generate({ prompt: "a poem", maxTokens: 4_000 });
    expect(answer).toMatchObject({ text: (start + sentence).trim(), finishReason: "repetition", engine: "ollama" });
    expect(answer.notes).toEqual([
      expect.stringMatching(
        /^smollm2:135m repeated itself \(the same 52 characters \d\d times\): the answer is cut before the repetition$/,
      ),
    ]);
    // 1,200 characters of copies, the step of 256, and the piece that was under way.
    expect(given.get("smollm2:135m")).toBeLessThanOrEqual(31);
    expect(answer.completionTokens).toBe((given.get("smollm2:135m") ?? 0) + 1);
    expect(answer).not.toHaveProperty("promptTokens");
  });

  it("releases the model at once: it can be unloaded, and the next request is served", async () => {
    const { engine } = endless("text", sentence);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    await generate({ prompt: "a poem" });
    await orchestrator.unloadModels(caller(), "smollm2:135m");
    expect(engine.resident.size).toBe(0);
    engine.answer = () => Promise.resolve({ text: "fine" });
    expect((await generate({ prompt: "again" })).text).toBe("fine");
  });

  it("in its thinking yields no answer and the cut thinking", async () => {
    const { engine } = endless("thinking", sentence);
    const answer = await createTestOrchestrator([engine]).generate({ prompt: "a poem", think: true });
    expect(answer).toMatchObject({ text: "", thinking: (start + sentence).trim(), finishReason: "repetition" });
    expect(answer.notes[0]).toMatch(/repeated itself while thinking \(.*\): it was stopped before an answer$/);
  });

  it("in JSON is an error, and the next model is asked", async () => {
    const { engine } = endless("text", '{"a": "b"}, and then once more ');
    const failed = createTestOrchestrator([engine]).generate({ prompt: "a poem", format: "json" });
    await expect(failed).rejects.toBeInstanceOf(GenerationFailed);
    await expect(failed).rejects.toThrow(/^smollm2:135m repeated itself \(.*\) before its JSON was complete$/);

    const two = endless("text", sentence, [small, large]);
    const repeating = two.engine.answer;
    two.engine.answer = (request, sink, signal) =>
      two.given.size === 0 ? repeating(request, sink, signal) : Promise.resolve({ text: '{"a":1}' });
    const answer = await createTestOrchestrator([two.engine]).generate({ prompt: "a poem", format: "json" });
    expect(answer.text).toBe('{"a":1}');
    expect(answer.route.attempts).toMatchObject([
      { outcome: expect.stringContaining("repeated itself") },
      { outcome: "answered" },
    ]);
  });

  it("is in the conversation without its loop", async () => {
    const { engine } = endless("text", sentence);
    const { generate } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ prompt: "a poem", continueId: "new" });
    let history: readonly string[] = [];
    engine.answer = (request) => {
      history = request.messages.map(({ content }) => content);
      return Promise.resolve({ text: "fine" });
    };
    await generate({ prompt: "and now?", continueId });
    expect(history).toEqual(["a poem", (start + sentence).trim(), "and now?"]);
  });

  it("in a comparison is cut, with a note", async () => {
    const { engine } = endless("text", sentence, [small, large]);
    const repeating = engine.answer;
    engine.answer = (request, sink, signal) =>
      request.model === "smollm2:135m" ? repeating(request, sink, signal) : Promise.resolve({ text: "fine" });
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const asked = await orchestrator.comparisons.compare(caller(), {
      prompt: "a poem",
      models: ["smollm2:135m", "llama3.2:3b"],
    });
    const { results, notes = [] } = await asked.follow(new AbortController().signal);
    expect(results).toMatchObject([
      { model: "smollm2:135m", text: (start + sentence).trim(), finishReason: "repetition" },
      { model: "llama3.2:3b", text: "fine", finishReason: "stop" },
    ]);
    expect(notes.join("\n")).toContain("smollm2:135m repeated itself");
  });
});

describe("an engine that ignores the token limit", () => {
  it("is aborted when the answer is longer than that many tokens can be", async () => {
    let count = 0;
    const engine = createFakeEngine("ollama", [small]);
    engine.answer = async (_request, sink, signal) => {
      for (;;) {
        if (signal.aborted) throw new Cancelled("the request was cancelled");
        count += 1;
        sink.text(`${count} different words, `.repeat(20).slice(0, 400));
        await nextTurn();
      }
    };
    const failed = createTestOrchestrator([engine]).generate({ prompt: "a poem", maxTokens: 100 });
    await expect(failed).rejects.toThrow(
      "the answer of smollm2:135m exceeds 19200 characters: its engine ignores the limit of 100 tokens",
    );
    expect(count).toBeLessThanOrEqual(49);
  });

  it("may send long tokens, but no more than a job stores", () => {
    expect(answerCharacters(1)).toBe(16_032);
    expect(answerCharacters(4_096)).toBe(147_072);
    expect(answerCharacters(2 ** 40)).toBe(4_000_000);
  });
});

it("a call that is cancelled while the answer repeats itself rejects with Cancelled", async () => {
  const { engine, given } = endless("text", "and on, ");
  const { orchestrator, caller } = createTestOrchestrator([engine]);
  const controller = new AbortController();
  const operation = await orchestrator.generate(caller(), { prompt: "a poem" });
  const followed = operation.follow(controller.signal, () => {
    if ((given.get("smollm2:135m") ?? 0) > 5) controller.abort();
  });
  await expect(followed).rejects.toBeInstanceOf(Cancelled);
});
