import { afterEach, expect, it } from "vitest";
import { createOllamaEngine } from "../../../src/orchestrator/engines/ollama/index.ts";
import { startFakeOllama, type FakeOllama } from "../../support/fake-ollama.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** Each host answers `parallel` requests at a time, 6 tokens at 20 per second, and has its own memory. */
async function orchestratorOver(hosts: number, parallel = 1, stated?: number) {
  const fakes: FakeOllama[] = [];
  for (let host = 0; host < hosts; host += 1) {
    const models = [{ name: "smollm2:135m", reply: "red and green and then blue" }];
    const fake = await startFakeOllama({ models, tokensPerSecond: 20, loadDelayMs: 100, parallel });
    closing.push(() => fake.close());
    fakes.push(fake);
  }
  const engines = fakes.map((fake, index) =>
    createOllamaEngine({
      id: `ollama-${index + 1}`,
      host: fake.url,
      memoryBytes: 8e9,
      ...(stated !== undefined && { serverOptions: { parallel: stated } }),
      now: () => performance.now(),
      log,
    }),
  );
  const harness = createTestOrchestrator(engines);
  closing.push(() => harness.orchestrator.close());
  // One copy is loaded, and the duration of an answer is known.
  await harness.generate({});
  const answered = () => fakes.map(({ requests }) => requests.filter(({ path }) => path === "/api/chat").length);
  return { ...harness, fakes, engines, answered };
}

// `npm run bench -- hosts` measures the gain.
it("a second host with the model takes half of a queue of 16", async () => {
  const { generate, answered } = await orchestratorOver(2);
  await Promise.all(Array.from({ length: 16 }, () => generate({})));
  expect(answered()).toEqual([9, 8]);
});

it("a single request is served by the first host", async () => {
  const { generate, answered } = await orchestratorOver(2);
  await generate({});
  expect(answered()).toEqual([2, 0]);
});

it("the answers that a server computes at once are learned from those that streamed at the same time", async () => {
  const model = "smollm2:135m";
  for (const [parallel, seen] of [
    [1, 1],
    [3, 3],
  ] as const) {
    const { generate, engines } = await orchestratorOver(1, parallel);
    expect(engines[0]?.answersAtOnce?.(model)).toBe(1);
    await Promise.all(Array.from({ length: 4 }, () => generate({})));
    expect(engines[0]?.answersAtOnce?.(model)).toBe(seen);
    expect(engines[0]?.answersAtOnce?.("another")).toBe(1);
  }
});

it("a server that was seen to answer four at once keeps four requests, for which another would load a copy", async () => {
  const model = "smollm2:135m";
  for (const [parallel, expected] of [
    [4, [4, 0]],
    [1, [2, 2]],
  ] as const) {
    const { generate, engines, fakes, answered } = await orchestratorOver(2, parallel);
    const request = {
      model,
      messages: [{ role: "user", content: "Hi" }],
      maxTokens: 20,
      contextTokens: 4096,
      sampling: {},
    } as const;
    const sink = { phase: () => undefined, text: () => undefined, thinking: () => undefined };
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 4 }, async () => engines[0]?.generate(request, sink, signal)));
    for (const fake of fakes) fake.reset();
    await Promise.all(Array.from({ length: 4 }, () => generate({})));
    expect(answered()).toEqual(expected);
  }
});

it("the answers at once that the settings state are believed", async () => {
  const { generate, engines } = await orchestratorOver(1, 3, 2);
  await Promise.all(Array.from({ length: 4 }, () => generate({})));
  expect(engines[0]?.answersAtOnce?.("smollm2:135m")).toBe(2);
});
