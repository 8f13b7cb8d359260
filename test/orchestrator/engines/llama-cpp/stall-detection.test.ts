import { describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../../src/orchestrator/api/errors.ts";
import {
  type ChildSession,
  callWithStallDetection,
} from "../../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import type { ChildEvent } from "../../../../src/orchestrator/engines/llama-cpp/child/protocol.ts";
import { ask, endless, isRunning, never, setupLimitMs, startPracticeEngine, testLimitMs } from "./engine-under-test.ts";

/** A session whose call ends by `stop` or `answer`. */
function handSession() {
  let [stops, lastReplyAt] = [0, 0];
  let event: (event: ChildEvent) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  let answer: (value: unknown) => void = () => undefined;
  const session = {
    call: (_request: unknown, onEvent: typeof event) => {
      event = onEvent;
      return new Promise((resolve, reject) => {
        answer = resolve;
        fail = reject;
      });
    },
    lastReplyAt: () => lastReplyAt,
    stop() {
      stops += 1;
      fail(new Error("ended"));
      return Promise.resolve();
    },
  } as unknown as ChildSession;
  return {
    session,
    stops: () => stops,
    event: (what: ChildEvent) => event(what),
    answersOther: () => void (lastReplyAt += 1),
    answer: (value: unknown) => answer(value),
  };
}

const count = { type: "count", text: "x" } as const;

describe("a computing process", () => {
  it("is ended with an error when it reports no progress", async () => {
    const { session, stops } = handSession();
    const called = callWithStallDetection(session, count, 50, () => undefined, never);
    await expect(called).rejects.toMatchObject({
      code: "stalled",
      message: expect.stringContaining("made no progress"),
    });
    expect(stops()).toBe(1);
  });

  it("is not ended as long as it reports progress", async () => {
    const { session, stops, event, answer } = handSession();
    const called = callWithStallDetection(session, count, 2_000, () => undefined, never);
    const chatter = setInterval(() => event({ type: "phase", phase: "prefill" }), 20);
    const silent = callWithStallDetection(handSession().session, count, 2_000, () => undefined, never);
    // Another process without progress would have been ended by then.
    await expect(silent).rejects.toThrow("made no progress");
    clearInterval(chatter);
    answer({ tokens: 1 });
    expect(await called).toEqual({ tokens: 1 });
    expect(stops()).toBe(0);
  });

  it("is not ended as long as it reports progress of another request", async () => {
    const { session, stops, answersOther, answer } = handSession();
    const called = callWithStallDetection(session, count, 2_000, () => undefined, never);
    const chatter = setInterval(answersOther, 20);
    const silent = callWithStallDetection(handSession().session, count, 2_000, () => undefined, never);
    await expect(silent).rejects.toThrow("made no progress");
    clearInterval(chatter);
    answer({ tokens: 1 });
    expect(await called).toEqual({ tokens: 1 });
    expect(stops()).toBe(0);
  });
});

describe.skipIf(process.platform === "win32")("a deadlocked engine process", () => {
  it(
    "is ended with an error, and the next request starts another one",
    async () => {
      const subject = await startPracticeEngine({ stallMs: 5_000 });
      try {
        const pid = await subject.childOf(() => subject.load(endless));
        const answering = ask(subject, { model: endless, maxTokens: 100_000 });
        answering.catch(() => undefined);
        process.kill(pid, "SIGSTOP");
        await expect(answering).rejects.toBeInstanceOf(GenerationFailed);
        await expect(answering).rejects.toThrow("made no progress for 5 s");
        expect(isRunning(pid)).toBe(false);
        expect((await ask(subject, { model: endless, maxTokens: 3 })).completionTokens).toBe(3);
      } finally {
        await subject.dispose();
      }
    },
    setupLimitMs + testLimitMs,
  );
});
