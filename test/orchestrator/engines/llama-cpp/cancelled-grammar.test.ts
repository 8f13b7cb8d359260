import { describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import { endless, isRunning, never, setupLimitMs, startPracticeEngine, testLimitMs } from "./engine-under-test.ts";

const request = { messages: [{ role: "user", content: "Go on" }], sampling: {}, contextTokens: 2_048 } as const;

describe.skipIf(process.platform === "win32")("a cancelled answer with a grammar", () => {
  it(
    "ends a process that doesn't react within two seconds, and the model can be loaded again",
    async () => {
      const subject = await startPracticeEngine();
      try {
        const pid = await subject.childOf(() => subject.load(endless));
        const controller = new AbortController();
        let abortedAt = 0;
        const answering = subject.engine.generate(
          { ...request, model: endless, format: { type: "string" }, maxTokens: 1_900 },
          {
            text: () => {},
            thinking: () => {},
            phase: () => {
              if (controller.signal.aborted) return;
              // Simulates a grammar that takes minutes to compile, without a reaction meanwhile.
              process.kill(pid, "SIGSTOP");
              abortedAt = performance.now();
              controller.abort();
            },
          },
          controller.signal,
        );
        await expect(answering).rejects.toBeInstanceOf(Cancelled);
        expect(performance.now() - abortedAt).toBeLessThan(3_000);
        expect(isRunning(pid)).toBe(false);
        const next = await subject.engine.generate(
          { ...request, model: endless, maxTokens: 3 },
          { text: () => {}, thinking: () => {}, phase: () => {} },
          never,
        );
        expect(next.completionTokens).toBe(3);
      } finally {
        await subject.dispose();
      }
    },
    setupLimitMs + testLimitMs,
  );
});
