import { installedEngine } from "../test/support/engine.ts";
import { smolLm2 } from "../test/support/weights.ts";
import { ask, never, startEngine } from "../test/orchestrator/engines/llama-cpp/engine-under-test.ts";
import { median, rounded } from "./support/statistics.ts";
import type { Bench } from "./bench.ts";

const contexts = [2_048, 4_096, 8_192];
const runs = 3;
/** Largest distance of the ratio from 1. */
const bar = 0.05;
const model = "smollm2:135m";
const megabytes = (bytes: number) => rounded(bytes / 1024 ** 2);

export const fit: Bench = {
  name: "fit",
  summary: `predicted ÷ measured memory of SmolLM2 at 2k, 4k and 8k of context: within ±${bar * 100} %`,
  async run() {
    const weights = await smolLm2();
    if (weights.file === undefined) throw new Error(`no weights to measure: ${weights.reason}`);
    const { modulePath } = await installedEngine();
    const subject = await startEngine(modulePath, { [model]: weights.file });
    const { estimation, residency } = subject.engine;
    try {
      const rows = [];
      for (const contextTokens of contexts) {
        const estimate = await estimation?.estimate(model, { contextTokens }, never);
        if (estimate === undefined) throw new Error(`no estimate at ${contextTokens}`);
        const measured: number[] = [];
        for (let run = 0; run < runs; run += 1) {
          await residency?.unload(model, never);
          // Buffers are there when they are touched: a prompt and an answer do.
          const messages = [
            { role: "user", content: "The quick brown fox jumps over the lazy dog. ".repeat(40) },
          ] as const;
          await ask(subject, { model, messages, maxTokens: 16, contextTokens });
          measured.push((await residency?.loaded(never))?.[0]?.sizeBytes ?? 0);
        }
        rows.push({
          context_tokens: contextTokens,
          predicted_mb: megabytes(estimate.predictedBytes),
          measured_mb: megabytes(median(measured)),
          ratio: rounded(estimate.predictedBytes / median(measured), 3),
          process_mb: megabytes(estimate.processBytes),
        });
      }
      const worst = Math.max(...rows.map(({ ratio }) => Math.abs(ratio - 1)));
      return {
        rows,
        verdict: `worst ${rounded(worst * 100)} % off, bar ${bar * 100} %, medians of ${runs} loads`,
        passed: worst <= bar,
      };
    } finally {
      await subject.dispose();
    }
  },
};
