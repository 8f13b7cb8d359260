import { afterEach, expect, it } from "vitest";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import { startFakeOllama, type FakeOllama } from "../../support/fake-ollama.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** Each host answers one request at a time, 6 tokens at 20 per second, and has its own memory. */
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
  // One copy is loaded, and the duration of an answer is known.
  await harness.generate({});
  return { ...harness, fakes };
}

// `npm run bench -- hosts` measures the gain.
it("a second host with the model takes half of a queue of 16", async () => {
  const { generate, fakes } = await orchestratorOver(2);
  await Promise.all(Array.from({ length: 16 }, () => generate({})));
  const answered = fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
  expect(answered).toEqual([9, 8]);
});

it("a single request is served by the first host", async () => {
  const { generate, fakes } = await orchestratorOver(2);
  await generate({});
  const answered = fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
  expect(answered).toEqual([2, 0]);
});
