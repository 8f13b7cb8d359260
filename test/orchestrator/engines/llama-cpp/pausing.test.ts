import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled, EngineUnreachable, OrchestratorError } from "../../../../src/orchestrator/api/errors.ts";
import {
  endless,
  isRunning,
  never,
  type PracticeEngine,
  setupLimitMs,
  startPracticeEngine,
  testLimitMs,
  tiny,
  until,
} from "./engine-under-test.ts";

/** A process that reports nothing for this long counts as deadlocked. */
const stallMs = 1_000;

describe("an answer in the background", () => {
  let subject: PracticeEngine;
  beforeAll(async () => {
    subject = await startPracticeEngine({ stallMs });
  }, setupLimitMs);
  afterAll(() => subject.dispose(), testLimitMs);

  /** An answer that doesn't end by itself. */
  const start = (model: string, more: { readonly background?: AbortSignal; readonly sequences?: number } = {}) => {
    const phases: string[] = [];
    const controller = new AbortController();
    let texts = 0;
    const answer = subject.engine.generate(
      {
        model,
        messages: [{ role: "user", content: "Hello." }],
        maxTokens: 100_000,
        sampling: { temperature: 0 },
        contextTokens: 8_192,
        ...more,
      },
      { text: () => (texts += 1), thinking: () => {}, phase: (phase) => phases.push(phase) },
      controller.signal,
    );
    answer.catch(() => {});
    return { answer, phases, texts: () => texts, cancel: () => controller.abort() };
  };
  const job = async () => {
    const begun = start(endless, { background: AbortSignal.abort() });
    await until(() => begun.texts() > 0, 20_000);
    return begun;
  };
  const pauses = ({ phases }: { readonly phases: readonly string[] }) =>
    phases.filter((phase) => phase === "paused").length;

  it(
    "is paused for another model without counting as deadlocked, and continues",
    async () => {
      await subject.load(tiny, 8_192);
      const paused = await job();
      const question = await subject.engine.generate(
        { model: tiny, messages: [{ role: "user", content: "Hi" }], maxTokens: 4, sampling: {}, contextTokens: 8_192 },
        { text: () => {}, thinking: () => {}, phase: () => {} },
        never,
      );
      expect(question.completionTokens).toBeGreaterThan(0);
      expect(pauses(paused)).toBeGreaterThan(0);
      const known = pauses(paused);
      const beside = start(endless, { sequences: 2 });
      // It reports ten times in `stallMs` that it is still paused.
      await until(() => pauses(paused) > known + 15, 20_000);
      beside.cancel();
      await expect(beside.answer).rejects.toBeInstanceOf(Cancelled);
      const before = paused.texts();
      await until(() => paused.texts() > before, 20_000);
      paused.cancel();
      await expect(paused.answer).rejects.toBeInstanceOf(Cancelled);
    },
    testLimitMs,
  );

  it(
    "fails while it is paused if its process dies, and ends with its engine",
    async () => {
      const [lost, other] = [await job(), start(endless, { sequences: 2 })];
      await until(() => pauses(lost) > 0, 20_000);
      for (const pid of await subject.childPids()) process.kill(pid, "SIGKILL");
      await expect(lost.answer).rejects.toBeInstanceOf(EngineUnreachable);
      await expect(other.answer).rejects.toBeInstanceOf(EngineUnreachable);

      const paused = await job();
      const question = start(endless, { sequences: 2 });
      await until(() => pauses(paused) > 0, 20_000);
      const pids = await subject.childPids();
      await subject.engine.close();
      await expect(paused.answer).rejects.toBeInstanceOf(OrchestratorError);
      await expect(question.answer).rejects.toBeInstanceOf(OrchestratorError);
      expect(pids.filter(isRunning)).toEqual([]);
    },
    testLimitMs,
  );
});
