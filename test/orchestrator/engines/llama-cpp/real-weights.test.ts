import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { installedEngine } from "../../../support/engine.ts";
import { smolLm2, weightsLimitMs } from "../../../support/weights.ts";
import {
  ask,
  type EngineUnderTest,
  never,
  setupLimitMs,
  startEngine,
  testLimitMs,
  until,
} from "./engine-under-test.ts";

const weights = await smolLm2();
const model = "smollm2:135m";
const sentence = "The quick brown fox jumps over the lazy dog. ";

describe.skipIf(weights.file === undefined)(
  `real weights${weights.reason ? ` (skipped: ${weights.reason})` : ""}`,
  () => {
    let subject: EngineUnderTest;
    /** Beside other programs the number of threads changes, and with it the last bits of what they compute (decision 0075). */
    let single: EngineUnderTest;
    beforeAll(async () => {
      const { modulePath } = await installedEngine();
      subject = await startEngine(modulePath, { [model]: weights.file ?? "" });
      single = await startEngine(modulePath, { [model]: weights.file ?? "" }, { threads: 1 });
      await subject.engine.residency?.load(model, { contextTokens: 4_096 }, () => {}, never);
    }, setupLimitMs + weightsLimitMs);
    afterAll(() => Promise.all([subject.dispose(), single.dispose()]), testLimitMs);

    const about = (question: string, sentences: number) =>
      [{ role: "user", content: `${sentence.repeat(sentences)}\n\n${question}` }] as const;

    it(
      "cancelling during a prompt of 1,500 tokens stops the engine at once, and the model stays loaded",
      async () => {
        const stoppedAfterMs: number[] = [];
        // Beside other tests: the best of three.
        for (let round = 0; round < 3; round += 1) {
          const controller = new AbortController();
          let abortedAt = 0;
          const cancelled = subject.engine.generate(
            {
              model,
              messages: about("Summarise.", 150),
              maxTokens: 8,
              sampling: { temperature: 0 },
              contextTokens: 4_096,
            },
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
          stoppedAfterMs.push(performance.now() - abortedAt);
        }
        // Rejects when the child has stopped: 150 ms on an idle machine.
        expect(Math.min(...stoppedAfterMs)).toBeLessThan(1_500);
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
        const first = await ask(subject, { ...options, messages: about("Which animal is quick?", 60) });
        const second = await ask(subject, { ...options, messages: about("Which animal is lazy?", 60) });
        expect(first.promptTokens).toBeGreaterThan(550);
        expect(second.promptTokens - (second.cachedPromptTokens ?? 0)).toBeLessThan(30);
        // The benchmark requires a factor of 20, this test on a shared machine 4.
        expect(second.prefillMs * 4).toBeLessThan(first.prefillMs);
      },
      testLimitMs * 2,
    );
    it(
      "after an unload the second question reads only itself, and has the answer that it had before",
      async () => {
        const options = { model, maxTokens: 16, sampling: { temperature: 0 }, contextTokens: 4_096 };
        await ask(subject, { ...options, messages: about("Which animal runs?", 80) });
        const before = await ask(subject, { ...options, messages: about("Which animal sleeps?", 80) });
        await subject.engine.residency?.unload(model, never);
        const after = await ask(subject, { ...options, messages: about("Which animal sleeps?", 80) });
        expect(before.restoredPromptTokens).toBe(0);
        expect(after.promptTokens - (after.restoredPromptTokens ?? 0)).toBeLessThan(30);
        expect(after.text).toBe(before.text);
        const [loaded] = (await subject.engine.residency?.loaded(never)) ?? [];
        const { promptTokens, restoredPromptTokens } = after;
        expect(loaded?.lastPrompt).toMatchObject({ promptTokens, restoredPromptTokens });
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
    /** A job of `options`, paused by a question on the same model once `from` is seen; the question may use two sequences. */
    const interrupted = async (
      options: Partial<GenerationRequest>,
      from: "text" | "prefill",
      sequences = 2,
      on = subject,
    ) => {
      let start: () => void = () => {};
      const begun = new Promise<void>((resolve) => (start = resolve));
      const phases: string[] = [];
      const ended: string[] = [];
      const controller = new AbortController();
      const background = AbortSignal.abort();
      const job = on.engine
        .generate(
          {
            model,
            contextTokens: 4_096,
            messages: [{ role: "user", content: "Tell a long story about a fox." }],
            maxTokens: 60,
            sampling: {},
            background,
            ...options,
          },
          {
            text: () => from === "text" && start(),
            thinking: () => {},
            phase: (phase) => {
              phases.push(phase);
              if (phase === from) start();
            },
          },
          controller.signal,
        )
        .finally(() => ended.push("job"));
      job.catch(() => {});
      await begun;
      const messages = [{ role: "user", content: "What is the capital of France?" }] as const;
      const question = ask(on, { model, messages, maxTokens: 8, contextTokens: 4_096, sequences }).finally(() =>
        ended.push("question"),
      );
      return { job, question, phases, ended, cancel: () => controller.abort() };
    };
    it.each([
      ["temperature 0", "text", { sampling: { temperature: 0 } }],
      ["a seed, while its prompt is read", "prefill", { sampling: { temperature: 1.2, seed: 7 } }],
      [
        "JSON",
        "text",
        { sampling: { temperature: 0 }, format: { type: "array", minItems: 8, items: { type: "string" } } },
      ],
    ] as const)(
      "a job is paused for a question on the same model, and its text is the one without the question: %s",
      async (_name, from, options) => {
        const given = {
          ...options,
          // A prompt that is interrupted is a long one.
          messages: about("Tell their story.", from === "prefill" ? 20 : 4),
        } as const;
        // What is in the cache decides how the prompt is divided for reading, and that decides the last bits of numbers.
        const unload = () => single.engine.residency?.unload(model, never);
        await unload();
        const { text } = await ask(single, { model, maxTokens: 60, contextTokens: 4_096, ...given });
        await unload();
        const paused = await interrupted(given, from, 2, single);
        expect((await paused.question).completionTokens).toBe(8);
        expect(paused.ended).toEqual(["question"]);
        expect(paused.phases).toContain("paused");
        expect((await paused.job).text).toBe(text);
        expect(text.length).toBeGreaterThan(20);
      },
      testLimitMs,
    );
    it(
      "a paused job is cancelled at once, and the question is answered",
      async () => {
        const paused = await interrupted({ maxTokens: 2_000 }, "text");
        await until(() => paused.phases.includes("paused"), 5_000);
        paused.cancel();
        await expect(paused.job).rejects.toBeInstanceOf(Cancelled);
        expect((await paused.question).completionTokens).toBe(8);
      },
      testLimitMs,
    );
    it(
      "a question waits for the end of a job that holds the only sequence, which is not paused then",
      async () => {
        await subject.engine.residency?.unload(model, never);
        const busy = await interrupted({ maxTokens: 16 }, "text", 1);
        await busy.question;
        expect(busy.ended).toEqual(["job", "question"]);
        expect(busy.phases).not.toContain("paused");
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
