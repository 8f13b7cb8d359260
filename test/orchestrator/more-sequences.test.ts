import { describe, expect, it } from "vitest";
import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import type { MemoryEstimate } from "../../src/orchestrator/api/facade-status.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const model = "m:1b";
const estimate: MemoryEstimate = {
  method: "simulated",
  predictedBytes: 3 * gigabyte,
  margin: 0,
  processBytes: 0,
  parts: { weightsBytes: gigabyte, cacheBytes: 1.5 * gigabyte, computeBytes: 0.5 * gigabyte, otherBytes: 0 },
};

/** An engine whose conversations overwrite each other's cache until it has two. */
function start(memoryBytes: number, more: { readonly settings?: object } = {}, facts: Partial<Engine> = {}) {
  let sequences = 1;
  const engine = createFakeEngine("llama-cpp", [fakeModel(model, gigabyte)], {
    kind: "llama-cpp",
    estimation: { estimate: () => Promise.resolve(estimate) },
    cachesOf: () => sequences,
    ...facts,
  });
  const requests: GenerationRequest[] = [];
  engine.answer = (request) => {
    requests.push(request);
    sequences = Math.max(sequences, request.sequences ?? 1);
    return Promise.resolve({ sequences, recomputedTokens: sequences === 1 ? 500 : 0 });
  };
  const harness = createTestOrchestrator([engine], { memoryBytes, ...more });
  return {
    ...harness,
    engine,
    requests,
    async askTwice() {
      await harness.generate({ model });
      await harness.generate({ model });
      return requests.map((request) => request.sequences);
    },
  };
}

describe("a second conversation's cache", () => {
  // One cache takes 2 GB including its compute buffer, the file 1 GB, the buffer 2 GB.
  const plenty = (3 + 8) * gigabyte;

  it("is granted after a conversation was recomputed, if it takes at most a quarter of the free memory", async () => {
    const { askTwice, generate, requests, orchestrator, caller } = start(plenty);
    expect(await askTwice()).toEqual([undefined, 2]);
    const [decision] = orchestrator.decisions(caller());
    expect(decision).toMatchObject({ kind: "load", model });
    expect(decision?.steps.join("; ")).toContain("memory is plentiful: 2.0 GB granted for a second cache");
    await generate({ model });
    expect(requests.at(-1)?.sequences).toBeUndefined();
  });

  it.each([
    ["one byte less is free", plenty - 1, {}],
    [
      "memory.maxBytes leaves less",
      plenty,
      { settings: { memory: { bufferBytes: 2 * gigabyte, maxBytes: 8 * gigabyte } } },
    ],
  ])("is not granted if %s", async (_, memoryBytes, more) => {
    expect(await start(memoryBytes, more).askTwice()).toEqual([undefined, undefined]);
  });

  describe("beside a job that is paused", () => {
    const parts = { weightsBytes: 0, cacheBytes: 2.5 * gigabyte, computeBytes: 0.5 * gigabyte, otherBytes: 0 };
    const largeCache = { ...estimate, parts };
    /** A job whose caller has let go of it, and a question for the same model. */
    async function ask(memoryBytes: number) {
      const { orchestrator, caller, engine, requests, generate } = start(
        memoryBytes,
        {},
        {
          pausesAnswers: true,
          estimation: { estimate: () => Promise.resolve(largeCache) },
        },
      );
      // Learns the size of the model.
      await generate({ model });
      requests.length = 0;
      const answer = engine.answer;
      let finish: () => void = () => {};
      const begun = new Promise<void>((resolve) => {
        engine.answer = (request, ...given) => {
          engine.answer = answer;
          requests.push(request);
          resolve();
          return new Promise((done) => (finish = () => done(answer(request, ...given))));
        };
      });
      const job = await orchestrator.generate(caller(), { prompt: "long", model });
      const ended = job.follow(new AbortController().signal);
      await begun;
      const question = generate({ model });
      expect(requests).toHaveLength(1);
      job.detach();
      return { job, ended, question, requests, finish: () => finish(), orchestrator, caller };
    }

    it("is granted to a question if its memory is free, from the moment on when the job's caller let go", async () => {
      // One cache takes 3 GB, the file 1 GB, the buffer 2 GB.
      const { question, requests, finish, ended, orchestrator, caller } = await ask((3 + 3) * gigabyte);
      await question;
      expect(requests.map(({ sequences, background }) => [sequences, background?.aborted])).toEqual([
        [undefined, true],
        [2, false],
      ]);
      const [decision] = orchestrator.decisions(caller());
      expect(decision?.steps.join("; ")).toContain("a background answer of the model was paused for another request");
      finish();
      await ended;
    });

    it("is not granted without free memory: the question waits for the end of the job", async () => {
      const { question, requests, finish, ended } = await ask((3 + 3) * gigabyte - 1);
      let isAnswered = false;
      void question.then(() => (isAnswered = true));
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      expect(isAnswered).toBe(false);
      finish();
      await ended;
      await question;
      expect(requests.at(-1)?.sequences).toBeUndefined();
    });
  });

  describe("beside answers that are computed", () => {
    /** Several requests at once, of an engine that computes as many answers together. */
    async function askAtOnce(count: number, memoryBytes: number, settings: object = {}) {
      const facts = { pausesAnswers: true as const, answersAtOnce: () => 4 };
      const { engine, generate, orchestrator, caller } = start(memoryBytes, { settings }, facts);
      await generate({ model });
      const begun: GenerationRequest[] = [];
      const ends: (() => void)[] = [];
      engine.answer = (request) => {
        begun.push(request);
        return new Promise((resolve) => ends.push(() => resolve({ sequences: request.sequences ?? 1 })));
      };
      const answers = Array.from({ length: count }, () => generate({ model }));
      const settle = async () => {
        for (let turn = 0; turn < 60; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      };
      await settle();
      return {
        begun,
        settle,
        decisions: () => orchestrator.decisions(caller()).map(({ steps }) => steps.join("; ")),
        async end() {
          for (let ended = 0; ended < count; ended += 1) {
            ends.shift()?.();
            await settle();
          }
          await Promise.all(answers);
        },
      };
    }
    // One cache takes 1.5 GB and the compute buffer 0.5 GB, the file 1 GB, the buffer 2 GB.
    const roomFor = (bytes: number) => (1 + 2 + bytes) * gigabyte;

    it("are granted for all that wait, while the first one is answered", async () => {
      const { begun, end, decisions } = await askAtOnce(4, roomFor(4 * 1.5 + 0.5) + 3 * gigabyte);
      expect(begun.length).toBe(4);
      expect(begun.at(-1)?.sequences).toBe(4);
      await end();
      expect(decisions().join("; ")).toMatch(/memory is free: [\d.]+ GB granted for 4 caches/);
    });
    it("reserve the memory once for all of them, until they have it", async () => {
      // Not enough for two grants of four.
      const { begun, end, decisions } = await askAtOnce(4, roomFor(4 * 1.5 + 0.5) + gigabyte);
      expect(begun.map(({ sequences }) => sequences)).toEqual([undefined, 4, 4, 4].slice(-begun.length));
      await end();
      expect(decisions().filter((steps) => steps.includes("granted for 4 caches"))).toHaveLength(1);
    });
    it("are not without memory: the requests are answered one after the other", async () => {
      const { begun, end } = await askAtOnce(3, roomFor(2));
      expect(begun.length).toBe(1);
      await end();
      expect(begun.length).toBe(3);
    });
    it("are not if the user allows one answer at a time", async () => {
      const { begun, end } = await askAtOnce(3, 100 * gigabyte, { models: { [model]: { maxParallel: 1 } } });
      expect(begun.length).toBe(1);
      await end();
    });
  });
});
