import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Cancelled,
  EngineNotInstalled,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
} from "../../../../src/orchestrator/api/errors.ts";
import type { CacheType } from "../../../../src/orchestrator/api/types.ts";
import type { SimulatedLoad } from "../../../../src/orchestrator/engines/engine.ts";
import { tinySentence } from "../../../support/tiny-gguf.ts";
import {
  ask,
  endless,
  never,
  type PracticeEngine,
  setupLimitMs,
  startEngine,
  startPracticeEngine,
  testLimitMs,
  tiny,
  until,
} from "./engine-under-test.ts";

const longPrompt = "The quick brown fox jumps over the lazy dog. ".repeat(30);

let subject: PracticeEngine;
beforeAll(async () => {
  // Nothing is kept on disk: what is read again is counted.
  subject = await startPracticeEngine({ promptCacheBytes: 0 });
}, setupLimitMs);
afterAll(() => subject.dispose(), testLimitMs);

const otherFile = "Another file altogether. ".repeat(30);
const about = (question: string, file: string, sequences?: number) =>
  ask(subject, {
    model: tiny,
    messages: [{ role: "user", content: `${file}\n${question}` }],
    ...(sequences === undefined ? {} : { sequences }),
  });

describe("an answer", () => {
  it(
    "is the exact text of the model, with exact counts",
    async () => {
      const answer = await ask(subject, { model: tiny });
      expect(answer.text).toBe(tinySentence);
      expect(answer.finishReason).toBe("stop");
      expect(answer.promptTokens).toBeGreaterThan(5);
      expect(answer.completionTokens).toBeGreaterThan(5);
      // The phase is reported once per chunk of the prompt.
      expect([...new Set(answer.phases)]).toEqual(["loading", "prefill", "decode"]);
      expect(answer.loadMs).toBeGreaterThan(0);
      expect([...new Set((await ask(subject, { model: tiny })).phases)]).toEqual(["prefill", "decode"]);
    },
    testLimitMs,
  );
  it(
    "ends before a stop text",
    async () => {
      const answer = await ask(subject, { model: tiny, sampling: { temperature: 0, stop: ["recites"] } });
      expect(answer).toMatchObject({ text: "This practice model ", finishReason: "stop", stopText: "recites" });
      expect(await ask(subject, { model: tiny, sampling: { stop: ["never said"] } })).not.toHaveProperty("stopText");
    },
    testLimitMs,
  );
  it(
    "to a follow-up evaluates only the added tokens",
    async () => {
      const first = await about("What is it?", longPrompt);
      const second = await about("Who wrote it?", longPrompt);
      expect(first.cachedPromptTokens).toBeLessThan(100);
      expect(second.cachedPromptTokens).toBeGreaterThan(longPrompt.length * 0.9);
      expect(second.promptTokens - (second.cachedPromptTokens ?? 0)).toBeLessThan(60);
      expect(second).toMatchObject({ recomputedTokens: 0, sequences: 1 });
    },
    testLimitMs,
  );
  it(
    "in an interrupted conversation evaluates it again, unless a second sequence is allowed",
    async () => {
      const file = longPrompt.toUpperCase();
      await about("What is it?", file);
      await about("And this?", otherFile);
      const back = await about("Who wrote it?", file);
      expect(back.recomputedTokens).toBeGreaterThan(file.length * 0.9);
      const before = (await subject.residency.loaded(never))[0]?.sizeBytes ?? 0;

      expect(await about("And this?", otherFile, 8)).toMatchObject({ sequences: 8 });
      // Nothing is written to disk, so the conversation in the context before is read again, once.
      await about("Who else?", file);
      const [first, other] = [await about("When?", file), await about("Why?", otherFile)];
      expect(first.cachedPromptTokens).toBeGreaterThan(file.length * 0.9);
      expect(other.cachedPromptTokens).toBeGreaterThan(otherFile.length * 0.9);
      expect(first.recomputedTokens).toBe(0);
      // The cache of the tiny model is small, and that of the other sequences is included.
      expect((await subject.residency.loaded(never))[0]?.sizeBytes).toBeGreaterThan(before);
    },
    testLimitMs,
  );
  it(
    "longer than the context ends with length, without a context shift",
    async () => {
      const answer = await ask(subject, { model: endless, maxTokens: 100_000, contextTokens: 512 });
      expect(answer.finishReason).toBe("length");
      expect(answer.promptTokens + answer.completionTokens).toBeLessThanOrEqual(512);
      expect(answer.completionTokens).toBeGreaterThan(300);
      await subject.residency.unload(endless, never);
    },
    testLimitMs,
  );
  it(
    "a prompt beyond the context is rejected with both numbers, before it is evaluated",
    async () => {
      const content = "word ".repeat(3_000);
      const refused = ask(subject, { model: tiny, messages: [{ role: "user", content }] });
      await expect(refused).rejects.toBeInstanceOf(PromptTooLong);
      const counted = await subject.engine.tokenizer?.count(tiny, content, never);
      await expect(refused).rejects.toMatchObject({ contextTokens: 2_048 });
      await expect(refused).rejects.toThrow(/has \d+ tokens.*2048/);
      const { promptTokens } = (await refused.catch((error: unknown) => error)) as PromptTooLong;
      expect(promptTokens).toBeGreaterThanOrEqual(counted ?? Number.POSITIVE_INFINITY);
      expect(promptTokens).toBeLessThan((counted ?? 0) + 100);
    },
    testLimitMs,
  );
  it(
    "the tokens of a prompt are counted exactly, without loading the model",
    async () => {
      const request = { model: endless, messages: [{ role: "user", content: "word ".repeat(500) }] } as const;
      expect(await subject.loadedNames()).not.toContain(endless);
      const counted = await subject.engine.tokenizer?.countPrompt(request, never);
      expect(await subject.loadedNames()).not.toContain(endless);
      const loaded = (await subject.loadedNames()).length;
      await until(async () => (await subject.childPids()).length === loaded, 5_000);
      const { promptTokens } = await ask(subject, { ...request, maxTokens: 1, contextTokens: 8_192 });
      expect(counted).toBe(promptTokens);
      // The same with the loaded model.
      expect(await subject.engine.tokenizer?.countPrompt(request, never)).toBe(promptTokens);
      expect(await subject.engine.tokenizer?.countPrompt({ ...request, model: "absent:1b" }, never)).toBeUndefined();
      await subject.residency.unload(endless, never);
    },
    testLimitMs,
  );
  it(
    "a missing capability is an error with next steps",
    async () => {
      const { engine } = subject;
      await expect(ask(subject, { model: tiny, think: true })).rejects.toBeInstanceOf(UnsupportedCapability);
      const images = [{ role: "user", content: "?", images: ["aGk="] }] as const;
      await expect(ask(subject, { model: tiny, messages: images })).rejects.toBeInstanceOf(UnsupportedCapability);
      const embedded = engine.embedding?.embed(tiny, ["x"], never);
      await expect(embedded).rejects.toBeInstanceOf(UnsupportedCapability);
      await expect(embedded).rejects.toMatchObject({
        next: [expect.anything(), expect.objectContaining({ step: "pullModel", model: "nomic-embed-text" })],
      });
    },
    testLimitMs,
  );
  it(
    "think: false is accepted by a model that does not think",
    async () => {
      expect((await ask(subject, { model: tiny, think: false })).text).toBe(tinySentence);
    },
    testLimitMs,
  );
  it(
    "an unknown name is an error with the nearest name",
    async () => {
      const wrong = ask(subject, { model: "practise:tiny" });
      await expect(wrong).rejects.toBeInstanceOf(UnknownModel);
      await expect(wrong).rejects.toMatchObject({
        next: [{ step: "didYouMean", names: expect.arrayContaining([tiny]) }, { step: "listModels" }],
      });
    },
    testLimitMs,
  );
});

describe("cancelling", () => {
  it(
    "a long prompt stops the engine at once",
    async () => {
      // The single layer of a tiny model is so fast that only many tokens take long enough.
      const content = "x".repeat(7_000);
      await subject.load(tiny, 8_192);
      const controller = new AbortController();
      let abortedAt = 0;
      const cancelled = subject.engine.generate(
        { model: tiny, messages: [{ role: "user", content }], maxTokens: 5, sampling: {}, contextTokens: 8_192 },
        {
          text: () => {},
          thinking: () => {},
          phase: (phase) => {
            if (phase !== "prefill") return;
            abortedAt = performance.now();
            controller.abort();
          },
        },
        controller.signal,
      );
      await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
      // 150 ms on an idle machine. The whole prompt takes longer.
      expect(performance.now() - abortedAt).toBeLessThan(2_000);
      const next = await ask(subject, { model: tiny, contextTokens: 8_192 });
      expect(next.text).toBe(tinySentence);
      expect(next.phases).not.toContain("loading");
    },
    testLimitMs,
  );
  it(
    "a running answer ends it, and the model stays loaded",
    async () => {
      const controller = new AbortController();
      const story = ask(subject, { model: endless, maxTokens: 1_900 }, controller.signal, () => controller.abort());
      await expect(story).rejects.toBeInstanceOf(Cancelled);
      expect(await subject.loadedNames()).toContain(endless);
    },
    testLimitMs,
  );
  it(
    "a request that waits for the cores does not affect the running one",
    async () => {
      const controller = new AbortController();
      let second: Promise<unknown> | undefined;
      const first = await ask(subject, { model: endless, maxTokens: 300 }, never, () => {
        if (second !== undefined) return;
        second = ask(subject, { model: tiny }, controller.signal);
        // The next delta of the first request arrives long before the second one starts.
        second.catch(() => undefined);
        controller.abort();
      });
      await expect(second).rejects.toBeInstanceOf(Cancelled);
      expect(first.completionTokens).toBe(300);
    },
    testLimitMs,
  );
  it(
    "the only caller of a load ends the load",
    async () => {
      await subject.residency.unload(tiny, never);
      const controller = new AbortController();
      const loading = subject.residency.load(
        tiny,
        { contextTokens: 2_048 },
        () => controller.abort(),
        controller.signal,
      );
      await expect(loading).rejects.toBeInstanceOf(Cancelled);
      expect(await subject.loadedNames()).not.toContain(tiny);
    },
    testLimitMs,
  );
});

describe("an estimate", () => {
  it(
    "is simulated, grows with the context, and covers the memory of the load",
    async () => {
      const estimate = (contextTokens: number) => subject.engine.estimation?.estimate(tiny, { contextTokens }, never);
      const [small, large] = [await estimate(2_048), await estimate(8_192)];
      expect(small?.method).toBe("simulated");
      expect(large?.parts?.cacheBytes).toBeGreaterThan(3 * (small?.parts?.cacheBytes ?? Number.POSITIVE_INFINITY));
      const { weightsBytes = 0, cacheBytes = 0, computeBytes = 0, otherBytes = 0 } = small?.parts ?? {};
      expect(weightsBytes + cacheBytes + computeBytes + otherBytes).toBe(small?.predictedBytes);
      expect(small?.processBytes).toBeGreaterThan(10_000_000);
    },
    testLimitMs,
  );
});

describe("a simulation for another engine", () => {
  it(
    "uses that engine's batch, sequences and cache, for weights in the store only",
    async () => {
      const { estimation } = subject.engine;
      const usual: SimulatedLoad = {
        contextTokens: 2_048,
        parallel: 1,
        batchTokens: 512,
        cacheType: "f16",
        hasFlashAttention: true,
        isEmbedding: false,
      };
      const digest = (await subject.engine.describe(tiny, never)).digest ?? "";
      const simulate = (more: Partial<SimulatedLoad>) => estimation?.simulate?.(digest, { ...usual, ...more }, never);
      const contextBytes = async (more: Partial<SimulatedLoad>) => {
        const { cacheBytes = 0, computeBytes = 0 } = (await simulate(more)) ?? {};
        return cacheBytes + computeBytes;
      };
      const one = await contextBytes({});
      expect(one).toBeGreaterThan(0);
      expect(await contextBytes({ parallel: 4 })).toBeGreaterThan(one);
      expect(await contextBytes({ batchTokens: 128 })).toBeLessThan(0.5 * one);
      expect(await contextBytes({ cacheType: "q8_0" })).not.toBe(one);
      expect(await simulate({ cacheType: "q9_9" as CacheType })).toBeUndefined();
      expect(await estimation?.simulate?.("0".repeat(64), usual, never)).toBeUndefined();
      expect(await estimation?.simulate?.("../../etc/passwd", usual, never)).toBeUndefined();
    },
    testLimitMs,
  );
});

describe("an engine that is not installed", () => {
  it(
    "lists its models, and its errors have the step that installs it",
    async () => {
      const bare = await startEngine(undefined, { [tiny]: subject.tinyFile });
      try {
        expect((await bare.engine.list(never)).map(({ name }) => name)).toEqual([tiny]);
        expect((await bare.engine.describe(tiny, never)).contextTokens).toBe(8_192);
        expect(await bare.engine.health(never)).toMatchObject({
          isReachable: false,
          message: expect.stringContaining("not installed"),
        });
        await expect(ask(bare, { model: tiny })).rejects.toBeInstanceOf(EngineNotInstalled);
        await expect(ask(bare, { model: tiny })).rejects.toMatchObject({
          next: [expect.objectContaining({ step: "installEngine" })],
        });
        const loading = bare.engine.residency?.load(tiny, { contextTokens: 2_048 }, () => {}, never);
        await expect(loading).rejects.toBeInstanceOf(EngineNotInstalled);
      } finally {
        await bare.dispose();
      }
    },
    testLimitMs,
  );
});
