import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import {
  type PracticeEngine,
  ask,
  endless,
  never,
  setupLimitMs,
  startPracticeEngine,
  testLimitMs,
} from "./engine-under-test.ts";

const [guessing, plain] = ["guessing:latest", "plain:latest"];
let subject: PracticeEngine;

beforeAll(async () => {
  // One thread computes a batch to the same bits as one token after the other.
  subject = await startPracticeEngine({ threads: 1 });
  for (const [name, draft_num_predict] of [
    [guessing, 15],
    [plain, 0],
  ] as const)
    await subject.store.create({ name, base: endless, parameters: { draft_num_predict } }, () => {}, never);
}, setupLimitMs);

afterAll(() => subject.dispose());

/** Sizes of batches with guesses that were measured, since the model was loaded. */
async function sizesMeasured(): Promise<readonly number[]> {
  await subject.residency.unload(endless, never);
  const folder = join(subject.home, "speeds");
  const sizes: number[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const { guesses = [] } = JSON.parse(await readFile(join(folder, name), "utf8")) as { guesses?: [number, number][] };
    sizes.push(...guesses.map(([size]) => size));
  }
  return sizes;
}

const asked = (model: string, more: Partial<GenerationRequest> = {}) =>
  ask(subject, { model, maxTokens: 300, contextTokens: 2_048, sampling: { temperature: 0 }, ...more });

it(
  "an answer that should be the same each time has no guesses, unless it is told how many",
  async () => {
    await asked(endless);
    await asked(plain, { sampling: { temperature: 0.8 } });
    expect(await sizesMeasured()).toEqual([]);
    const [found, expected] = [await asked(guessing), await asked(plain)];
    expect(found.text.length).toBeGreaterThan(500);
    expect(found.text).toBe(expected.text);
    expect(found.completionTokens).toBe(expected.completionTokens);
    const sizes = await sizesMeasured();
    expect(sizes.length).toBeGreaterThan(0);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(16);
  },
  testLimitMs,
);

it.each([
  ["of a schema", { format: { type: "array", items: { type: "string", maxLength: 12 }, minItems: 20 } }],
  ["that is cut", { maxTokens: 77 }],
  ["that ends with a text", { sampling: { temperature: 0, stop: ["and on and on. And so"] } }],
  ["with a penalty", { sampling: { temperature: 0, frequencyPenalty: 0.4 } }],
  ["with a seed", { sampling: { temperature: 0.9, seed: 7 } }],
])("an answer %s is that without guesses", async (_, more) => {
  const [found, expected] = [await asked(guessing, more), await asked(plain, more)];
  expect(found.text).toBe(expected.text);
  expect(found.completionTokens).toBe(expected.completionTokens);
  expect(found.finishReason).toBe(expected.finishReason);
});

it("what follows a cancelled answer is answered from what was really read", async () => {
  const stop = new AbortController();
  let pieces = 0;
  const cancelled = ask(
    subject,
    { model: guessing, maxTokens: 1_900, contextTokens: 2_048, sampling: { temperature: 0 } },
    stop.signal,
    () => {
      pieces += 1;
      if (pieces === 60) stop.abort();
    },
  );
  await expect(cancelled).rejects.toThrow();
  expect((await asked(guessing)).text).toBe((await asked(plain)).text);
});
