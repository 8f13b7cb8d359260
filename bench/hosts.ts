import { createOllamaEngine } from "../src/orchestrator/engines/ollama/index.ts";
import { startFakeOllama } from "../test/support/fake-ollama.ts";
import { createTestOrchestrator } from "../test/support/orchestrator.ts";
import type { Bench } from "./bench.ts";
import { median, rounded } from "./support/statistics.ts";

const waiting = 16;
const rounds = 3;
const bar = 1.6;
const tokensPerSecond = 20;
const loadDelayMs = 100;
const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined };

export const hosts: Bench = {
  name: "hosts",
  summary: `${waiting} requests that come at once, answered by two Ollama hosts instead of one: at least ${bar} times as fast`,
  runsSources: true,
  async run() {
    const rows: { hosts_1_ms: number; hosts_2_ms: number; ratio: number; answered_by_each: string }[] = [];
    for (let round = 0; round < rounds; round += 1) {
      // Side by side, so that a slow machine affects both.
      const [one, two] = await Promise.all([timeQueue(1), timeQueue(2)]);
      rows.push({
        hosts_1_ms: rounded(one.ms, 0),
        hosts_2_ms: rounded(two.ms, 0),
        ratio: rounded(one.ms / two.ms, 3),
        answered_by_each: two.answered.join(" + "),
      });
    }
    const ratio = median(rows.map((row) => row.ratio));
    return {
      rows,
      verdict: `two hosts serve the queue ${ratio.toFixed(2)} times as fast as one, median of ${rounds} (bar ${bar}); each gives 6 tokens an answer at ${tokensPerSecond} a second, one answer at a time`,
      passed: ratio >= bar,
    };
  },
};

/** Milliseconds until all are answered, the load of the second copy included, and how many each host answered. */
async function timeQueue(count: number): Promise<{ readonly ms: number; readonly answered: readonly number[] }> {
  const models = [{ name: "smollm2:135m", reply: "red and green and then blue" }];
  const fakes = await Promise.all(
    Array.from({ length: count }, () => startFakeOllama({ models, tokensPerSecond, loadDelayMs })),
  );
  const engines = fakes.map((fake, index) =>
    createOllamaEngine({
      id: `ollama-${index + 1}`,
      host: fake.url,
      memoryBytes: 8e9,
      now: () => performance.now(),
      log: quiet,
    }),
  );
  const { generate, orchestrator } = createTestOrchestrator(engines);
  try {
    // One copy is loaded, and how long an answer takes is known.
    await generate({});
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: waiting }, () => generate({})));
    const ms = performance.now() - startedAt;
    const answered = fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
    return { ms, answered };
  } finally {
    await orchestrator.close();
    await Promise.all(fakes.map((fake) => fake.close()));
  }
}
