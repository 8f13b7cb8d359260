import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Cancelled, EngineUnreachable } from "../../../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import {
  ask,
  endless,
  type PracticeEngine,
  setupLimitMs,
  startPracticeEngine,
  testLimitMs,
  tiny,
  until,
} from "./engine-under-test.ts";

describe("several answers of a model at once", () => {
  let subject: PracticeEngine;
  beforeAll(async () => {
    subject = await startPracticeEngine();
  }, setupLimitMs);
  afterAll(() => subject.dispose(), testLimitMs);

  /** An answer, and when its texts came. */
  const start = (model: string, content: string, more: Partial<GenerationRequest> = {}) => {
    const controller = new AbortController();
    const at: number[] = [];
    const request = { model, messages: [{ role: "user" as const, content }], contextTokens: 4_096, ...more };
    const answer = ask(subject, request, controller.signal, () => void at.push(performance.now()));
    answer.catch(() => {});
    return { answer, at, texts: () => at.length, cancel: () => controller.abort() };
  };

  it.each([2, 4, 8])(
    "%i are written at the same time, and say what each says alone",
    async (sequences) => {
      const alone = await ask(subject, { model: tiny, contextTokens: 4_096 });
      const questions = Array.from({ length: sequences }, (_, index) => `Say ${index}`);
      const all = questions.map((content) => start(tiny, content, { sequences }));
      const answers = await Promise.all(all.map(({ answer }) => answer));
      expect(answers.map(({ text }) => text)).toEqual(questions.map(() => alone.text));
      expect(answers.every((each) => each.sequences === sequences)).toBe(true);
      // None began after another had ended.
      const begun = Math.max(...all.map(({ at }) => at[0] ?? Number.POSITIVE_INFINITY));
      expect(begun).toBeLessThan(Math.min(...all.map(({ at }) => at.at(-1) ?? 0)));
      expect(subject.engine.cachesOf?.(tiny)).toBe(sequences);
    },
    testLimitMs,
  );

  it(
    "one that is cancelled ends at once, and the others go on, also while it reads",
    async () => {
      const long = { maxTokens: 2_000, contextTokens: 8_192 };
      const [first, second] = [
        start(endless, "One", { ...long, sequences: 4 }),
        start(endless, "Two", { ...long, sequences: 4 }),
      ];
      await until(() => first.texts() > 3 && second.texts() > 3, 20_000);
      const reading = start(endless, "word ".repeat(800), { ...long, sequences: 4 });
      first.cancel();
      await expect(first.answer).rejects.toBeInstanceOf(Cancelled);
      reading.cancel();
      await expect(reading.answer).rejects.toBeInstanceOf(Cancelled);
      const before = second.texts();
      await until(() => second.texts() > before + 5, 20_000);
      second.cancel();
      await expect(second.answer).rejects.toBeInstanceOf(Cancelled);
    },
    testLimitMs,
  );

  it(
    "tokens flow while another request reads a long prompt, which is read in pieces",
    async () => {
      const writing = start(endless, "Write", { maxTokens: 8_000, contextTokens: 8_192, sequences: 2 });
      await until(() => writing.texts() > 3, 20_000);
      const before = writing.texts();
      const content = "another word and ".repeat(300);
      // Cancelled also if something fails.
      onTestFinished(writing.cancel);
      const read = await start(endless, content, { maxTokens: 2, contextTokens: 8_192, sequences: 2 }).answer;
      expect(read.promptTokens).toBeGreaterThan(4_000);
      // One token for each piece, and pieces are no larger than a batch.
      expect(writing.texts() - before).toBeGreaterThan(read.promptTokens / 128);
      writing.cancel();
      await expect(writing.answer).rejects.toBeInstanceOf(Cancelled);
    },
    testLimitMs,
  );

  it(
    "all fail if their process dies",
    async () => {
      const more = { maxTokens: 8_000, contextTokens: 8_192, sequences: 2 };
      const all = [start(endless, "One", more), start(endless, "Two", more)];
      await until(() => all.every(({ texts }) => texts() > 0), 20_000);
      for (const pid of await subject.childPids()) process.kill(pid, "SIGKILL");
      for (const { answer } of all) await expect(answer).rejects.toBeInstanceOf(EngineUnreachable);
    },
    testLimitMs,
  );
});
