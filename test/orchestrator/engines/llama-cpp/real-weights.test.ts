import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import { installedEngine } from "../../../support/engine.ts";
import { smolLm2, weightsLimitMs } from "../../../support/weights.ts";
import { ask, type EngineUnderTest, never, setupLimitMs, startEngine, testLimitMs } from "./engine-under-test.ts";

const weights = await smolLm2();
const model = "smollm2:135m";
const file = "The quick brown fox jumps over the lazy dog. ".repeat(150);

describe.skipIf(weights.file === undefined)(
  `real weights${weights.reason ? ` (skipped: ${weights.reason})` : ""}`,
  () => {
    let subject: EngineUnderTest;
    beforeAll(async () => {
      const { modulePath } = await installedEngine();
      subject = await startEngine(modulePath, { [model]: weights.file ?? "" });
      await subject.engine.residency?.load(model, { contextTokens: 4_096 }, () => {}, never);
    }, setupLimitMs + weightsLimitMs);
    afterAll(() => subject.dispose(), testLimitMs);

    const about = (question: string) => [{ role: "user", content: `${file}\n\n${question}` }] as const;

    it(
      "cancelling during a prompt of 1,500 tokens stops the engine at once, and the model stays loaded",
      async () => {
        const controller = new AbortController();
        let abortedAt = 0;
        const cancelled = subject.engine.generate(
          { model, messages: about("Summarise."), maxTokens: 8, sampling: { temperature: 0 }, contextTokens: 4_096 },
          {
            text: () => {},
            thinking: () => {},
            phase: (phase) => {
              if (phase !== "prefill") return;
              abortedAt = performance.now();
              controller.abort();
            },
          },
          controller.signal,
        );
        await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
        // Rejects when the child has stopped: 150 ms on an idle machine.
        expect(performance.now() - abortedAt).toBeLessThan(1_500);
        const messages = [{ role: "user", content: "Name three colours." }] as const;
        expect((await ask(subject, { model, messages, maxTokens: 4, contextTokens: 4_096 })).phases).not.toContain(
          "loading",
        );
      },
      testLimitMs,
    );
    it(
      "a second question about a file evaluates only the question and is answered much faster",
      async () => {
        const options = { model, maxTokens: 2, contextTokens: 4_096 };
        const first = await ask(subject, { ...options, messages: about("Which animal is quick?") });
        const second = await ask(subject, { ...options, messages: about("Which animal is lazy?") });
        expect(first.promptTokens).toBeGreaterThan(1_400);
        expect(second.promptTokens - (second.cachedPromptTokens ?? 0)).toBeLessThan(30);
        // The benchmark requires a factor of 20, this test on a shared machine 4.
        expect(second.prefillMs * 4).toBeLessThan(first.prefillMs);
      },
      testLimitMs * 2,
    );
    it(
      "the same seed yields the same text, another seed another text",
      async () => {
        const tell = async (seed: number) => {
          const messages = [{ role: "user", content: "Tell a story." }] as const;
          return (
            await ask(subject, {
              model,
              messages,
              maxTokens: 24,
              sampling: { temperature: 1.2, seed },
              contextTokens: 4_096,
            })
          ).text;
        };
        const first = await tell(7);
        expect(await tell(7)).toBe(first);
        expect(await tell(8)).not.toBe(first);
      },
      testLimitMs,
    );
    it(
      "counts tokens exactly, only for loaded models",
      async () => {
        expect(await subject.engine.tokenizer?.count(model, "Hello world", never)).toBe(2);
        expect(await subject.engine.tokenizer?.count("other:1b", "Hello world", never)).toBeUndefined();
      },
      testLimitMs,
    );
    it(
      "a JSON schema with an integer yields an integer, or an error with next steps",
      async () => {
        const format = { type: "object", properties: { age: { type: "integer" } }, required: ["age"] } as const;
        const messages = [{ role: "user", content: "How old is a ten year old child? Answer as JSON." }] as const;
        const { text } = await ask(subject, { model, messages, format, maxTokens: 64, contextTokens: 4_096 });
        expect(Number.isSafeInteger((JSON.parse(text) as { age: number }).age)).toBe(true);
      },
      testLimitMs,
    );
  },
);
