import { afterEach, expect, it } from "vitest";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import { startFakeOllama, type FakeOllama } from "../../support/fake-ollama.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** Each host answers one after the other, 6 tokens at 20 a second; its memory is its own. */
async function orchestratorOver(hosts: number) {
  const fakes: FakeOllama[] = [];
  for (let host = 0; host < hosts; host += 1) {
    const models = [{ name: "smollm2:135m", reply: "red and green and then blue" }];
    const fake = await startFakeOllama({ models, tokensPerSecond: 20, loadDelayMs: 100 });
    closing.push(() => fake.close());
    fakes.push(fake);
  }
  const engines = fakes.map((fake, index) =>
    createOllamaEngine({
      id: `ollama-${index + 1}`,
      host: fake.url,
      memoryBytes: 8e9,
      now: () => performance.now(),
      log,
    }),
  );
  const harness = createTestOrchestrator(engines);
  closing.push(() => harness.orchestrator.close());
  // One copy is loaded, and how long an answer takes is known.
  await harness.generate({});
  return { ...harness, fakes };
}

// How much faster that is, `npm run bench -- hosts` measures.
it("of a waiting queue of 16 a second host that holds the model takes half", async () => {
  const { generate, fakes } = await orchestratorOver(2);
  await Promise.all(Array.from({ length: 16 }, () => generate({})));
  const answered = fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
  expect(answered).toEqual([9, 8]);
});

it("one that a single host can serve as soon stays there", async () => {
  const { generate, fakes } = await orchestratorOver(2);
  await generate({});
  const answered = fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
  expect(answered).toEqual([2, 0]);
});
