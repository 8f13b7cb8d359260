import { join } from "node:path";
import { expect, it } from "vitest";
import { GenerationFailed } from "../../../../src/orchestrator/api/errors.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { never, setupLimitMs, startPracticeEngine, testLimitMs } from "./engine-under-test.ts";

it(
  "an answer with very long tokens is ended at the limit of its characters",
  async () => {
    const subject = await startPracticeEngine();
    try {
      const file = join(subject.folder, "long.gguf");
      const says = ["a", "b", "c"].map((letter) => letter.repeat(400)).join(" ");
      await writeTinyGguf(file, { isEndless: true, says });
      await subject.store.import(file, "long:tiny", () => {}, never);
      let heard = 0;
      const answering = subject.engine.generate(
        {
          model: "long:tiny",
          messages: [{ role: "user", content: "Go on" }],
          maxTokens: 1_000,
          sampling: {},
          contextTokens: 2_048,
        },
        { text: (delta) => (heard += delta.length), thinking: () => {}, phase: () => {} },
        never,
      );
      await expect(answering).rejects.toBeInstanceOf(GenerationFailed);
      await expect(answering).rejects.toThrow("long:tiny failed: its answer has more than 48000 characters");
      expect(heard).toBeLessThanOrEqual(48_000);
    } finally {
      await subject.dispose();
    }
  },
  setupLimitMs + testLimitMs,
);
