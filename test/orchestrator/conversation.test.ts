import { describe, expect, it } from "vitest";
import { Cancelled, ConversationBusy } from "../../src/orchestrator/api/errors.ts";
import type { World } from "../../src/orchestrator/world.ts";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { handClock } from "../support/hand-clock.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

/** An engine that counts and keeps the requests that it gets. */
function countingEngine(id = "ollama", contextTokens = 32_768) {
  const engine = createFakeEngine(id, [
    fakeModel("small:1b", gigabyte, { contextTokens }),
    fakeModel("other:1b", gigabyte, { contextTokens }),
  ]);
  const asked: GenerationRequest[] = [];
  engine.answer = (request) => {
    asked.push(request);
    return Promise.resolve({ text: `answer ${asked.length}` });
  };
  return { engine, asked };
}

const texts = (request: GenerationRequest | undefined) =>
  request?.messages.map(({ role, content }) => `${role}: ${content}`);

describe("a conversation", () => {
  it("is started by `new` and continued by its id, with all earlier messages", async () => {
    const { engine, asked } = countingEngine();
    const { generate } = createTestOrchestrator([engine]);
    const first = await generate({ prompt: "one", system: "be brief", continueId: "new", model: "small:1b" });
    expect(first.continueId).toMatch(/^[0-9a-f]{8}$/);
    const second = await generate({ prompt: "two", continueId: first.continueId ?? "" });
    expect(second).toMatchObject({ continueId: first.continueId, model: "small:1b" });
    expect(second.reason).toMatch(/^continues the conversation/);
    expect(texts(asked[1])).toEqual(["system: be brief", "user: one", "assistant: answer 1", "user: two"]);
    expect(second.conversationTokens).toBeGreaterThan(first.conversationTokens ?? 0);
  });

  it("is not started unless requested", async () => {
    const { engine } = countingEngine();
    const answer = await createTestOrchestrator([engine]).generate({});
    expect(answer).not.toHaveProperty("continueId");
    expect(answer).not.toHaveProperty("conversationTokens");
  });

  it("can be continued with another model", async () => {
    const { engine, asked } = countingEngine();
    const { generate } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ prompt: "one", continueId: "new", model: "small:1b" });
    await generate({ prompt: "two", continueId, model: "other:1b" });
    expect(asked[1]).toMatchObject({ model: "other:1b" });
    expect(asked[1]?.messages).toHaveLength(3);
  });

  it("excludes failed turns, and can be continued after them", async () => {
    const { engine, asked } = countingEngine();
    const { generate } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ prompt: "one", continueId: "new", model: "small:1b" });
    await expect(generate({ prompt: "two", continueId, model: "missing:1b" })).rejects.toThrow("missing:1b");
    await generate({ prompt: "three", continueId });
    expect(texts(asked[1])).toEqual(["user: one", "assistant: answer 1", "user: three"]);
  });

  it("that doesn't exist is rejected with a next step", async () => {
    const { engine } = countingEngine();
    await expect(createTestOrchestrator([engine]).generate({ continueId: "12345678" })).rejects.toMatchObject({
      name: "UnknownConversation",
      message: expect.stringMatching(/^there is no conversation "12345678": conversations end after /) as string,
      next: [{ step: "startConversation" }],
    });
  });

  it("answers one question at a time", async () => {
    const { engine } = countingEngine();
    const { generate } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ prompt: "one", continueId: "new" });
    const both = await Promise.allSettled([generate({ continueId }), generate({ continueId })]);
    expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    await expect(generate({ continueId })).resolves.toMatchObject({ continueId });
  });

  describe("whose answer was cancelled while its prompt was read", () => {
    /** The engine stops some time after the cancellation: `stop` is that moment. */
    async function cancelledWhileReading(timers?: World["timers"]) {
      const { engine, asked } = countingEngine();
      const harness = createTestOrchestrator([engine], timers === undefined ? {} : { timers });
      const { continueId = "" } = await harness.generate({ prompt: "one", continueId: "new" });
      const answer = engine.answer;
      let stop: () => void = () => {};
      const reading = new Promise<void>((begun) => {
        engine.answer = (request, sink, signal) => {
          engine.answer = answer;
          sink.phase("prefill");
          begun();
          return new Promise((_, reject) => {
            stop = () => reject(new Cancelled("stopped", { cause: signal.reason }));
          });
        };
      });
      const controller = new AbortController();
      const cancelled = harness.generate({ prompt: "two", continueId }, harness.caller({ signal: controller.signal }));
      const failed = expect(cancelled).rejects.toBeInstanceOf(Cancelled);
      await reading;
      return { ...harness, asked, continueId, failed, cancel: () => controller.abort(), stop: () => stop() };
    }

    it("is waited for, and continues with nothing lost", async () => {
      const { generate, asked, continueId, failed, cancel, stop } = await cancelledWhileReading();
      await expect(generate({ prompt: "too early", continueId })).rejects.toBeInstanceOf(ConversationBusy);
      cancel();
      const next = generate({ prompt: "three", continueId });
      stop();
      await failed;
      expect(await next).toMatchObject({ continueId });
      expect(texts(asked.at(-1))).toEqual(["user: one", "assistant: answer 1", "user: three"]);
    });

    it("is waited for 5 s at most, and not by a question that is cancelled itself", async () => {
      const clock = handClock();
      const { generate, caller, continueId, failed, cancel, stop } = await cancelledWhileReading(clock);
      cancel();
      const late = expect(generate({ prompt: "three", continueId })).rejects.toThrow("has not ended within 5 s");
      const other = new AbortController();
      const gone = expect(
        generate({ prompt: "four", continueId }, caller({ signal: other.signal })),
      ).rejects.toBeInstanceOf(Cancelled);
      await new Promise((resolve) => setImmediate(resolve));
      other.abort();
      clock.advance(5_000);
      await Promise.all([late, gone]);
      stop();
      await failed;
      expect(await generate({ prompt: "five", continueId })).toMatchObject({ continueId });
    });
  });

  it("is dropped after `conversations.keepHours` without use, or beyond 100", async () => {
    const { engine } = countingEngine();
    let nowMs = 0;
    const { generate } = createTestOrchestrator([engine], {
      now: () => nowMs,
      settings: { conversations: { keepHours: 1 } },
    });
    const { continueId: first = "" } = await generate({ continueId: "new" });
    nowMs += 59 * 60_000;
    await generate({ continueId: first });
    nowMs += 59 * 60_000;
    const { continueId: second = "" } = await generate({ continueId: "new" });
    nowMs += 1_000;
    await generate({ continueId: first });
    for (let more = 0; more < 99; more++) await generate({ continueId: "new" });
    await expect(generate({ continueId: second })).rejects.toThrow("there is no conversation");
    await generate({ continueId: first });
    nowMs += 61 * 60_000;
    await expect(generate({ continueId: first })).rejects.toThrow("there is no conversation");
  });

  it("longer than the window loses its oldest turns, with a note, but never the prompt", async () => {
    const { engine, asked } = countingEngine("ollama", 2_048);
    const { generate } = createTestOrchestrator([engine]);
    let continueId = "new";
    for (let turn = 0; turn < 8; turn += 1) {
      const answer = await generate({ prompt: `${"word ".repeat(600)}${turn}`, continueId, model: "small:1b" });
      continueId = answer.continueId ?? "";
    }
    const last = await generate({ prompt: "the last", continueId });
    expect(last.notes.join()).toMatch(/the oldest \d+ messages of the conversation were left out/);
    const messages = asked.at(-1)?.messages ?? [];
    expect(messages.at(-1)?.content).toBe("the last");
    expect(messages[0]?.role).toBe("user");
  });

  it("longer than the stored limit reports in every later answer how many messages were dropped", async () => {
    const { engine, asked } = countingEngine("ollama", 262_144);
    const { generate } = createTestOrchestrator([engine]);
    const long = "word ".repeat(10_000);
    let continueId = "new";
    const notes: string[][] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      const answer = await generate({ prompt: `${turn} ${long}`, continueId, model: "small:1b" });
      continueId = answer.continueId ?? "";
      notes.push([...answer.notes]);
    }
    const sent = asked.map(({ messages }) => messages.filter(({ role }) => role !== "system").length);
    // All earlier messages, without those counted by the note.
    const counted = notes.map((each) =>
      Number(/the oldest (\d+) messages of the conversation/.exec(each.join())?.[1] ?? 0),
    );
    expect(counted.at(-1)).toBeGreaterThan(0);
    expect(sent.map((count, turn) => count + (counted[turn] ?? 0))).toEqual([1, 3, 5, 7, 9]);
  });

  it("that was started under local_only is not sent elsewhere by a later turn", async () => {
    const { engine } = countingEngine();
    const remote = createFakeEngine("cloud", [fakeModel("big:cloud", gigabyte, { trust: "remote" })], {
      trust: "remote",
    });
    const { generate } = createTestOrchestrator([engine, remote], { settings: { privacy: "allow_remote" } });
    const { continueId = "" } = await generate({ continueId: "new", privacy: "local_only" });
    await expect(generate({ continueId, model: "big:cloud" })).rejects.toThrow(/big:cloud/);
    expect(remote.calls).toEqual([]);
  });

  it("is part of a plan: its context and its memory are those of the turn", async () => {
    const { engine } = countingEngine();
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    const { continueId = "", conversationTokens } = await generate({
      prompt: "word ".repeat(10_000),
      continueId: "new",
      model: "small:1b",
    });
    expect(conversationTokens).toBeGreaterThan(10_000);
    await orchestrator.unloadModels(caller(), "small:1b");
    const { plan } = await orchestrator.planGeneration(caller(), { prompt: "next", continueId });
    await generate({ continueId });
    const [loaded] = await (engine.residency?.loaded ?? (() => []))(caller().signal);
    expect(plan.contextTokens).toBe(loaded?.contextTokens);
    expect(plan.contextTokens).toBe(16_384);
  });

  it("is free for a turn while a plan of it is made", async () => {
    const { engine } = countingEngine();
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ continueId: "new", model: "small:1b" });
    const planned = orchestrator.planGeneration(caller(), { prompt: "two", continueId });
    const turn = generate({ prompt: "two", continueId });
    expect((await Promise.allSettled([planned, turn])).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
  });

  it("is free for a plan while another plan of it is made, also after a cancelled answer", async () => {
    const { engine } = countingEngine();
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ continueId: "new", model: "small:1b" });
    const plan = () => orchestrator.planGeneration(caller(), { prompt: "two", continueId });
    const states = async (...plans: readonly Promise<unknown>[]) =>
      (await Promise.allSettled(plans)).map(({ status }) => status);
    expect(await states(plan(), plan())).toEqual(["fulfilled", "fulfilled"]);
    const call = new AbortController();
    const turn = generate({ prompt: "two", continueId }, caller({ signal: call.signal }));
    call.abort("cancelled");
    expect(await states(turn, plan(), plan())).toEqual(["rejected", "fulfilled", "fulfilled"]);
  });

  it("loses its oldest turns in a plan as in a turn", async () => {
    const { engine } = countingEngine("ollama", 2_048);
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    let continueId = "new";
    for (let turn = 0; turn < 8; turn += 1) {
      const answer = await generate({ prompt: `${"word ".repeat(600)}${turn}`, continueId, model: "small:1b" });
      continueId = answer.continueId ?? "";
    }
    const { notes } = await orchestrator.planGeneration(caller(), { prompt: "the last", continueId });
    expect(notes).toEqual((await generate({ prompt: "the last", continueId })).notes);
    expect(notes.join()).toMatch(/the oldest \d+ messages of the conversation were left out/);
  });

  it("is not changed by a plan", async () => {
    const { engine, asked } = countingEngine();
    const { orchestrator, generate, caller } = createTestOrchestrator([engine]);
    const { continueId = "" } = await generate({ continueId: "new", model: "other:1b" });
    const plan = await orchestrator.planGeneration(caller(), { prompt: "next", continueId });
    expect(plan.model).toBe("other:1b");
    await generate({ continueId });
    expect(asked[1]?.messages).toHaveLength(3);
  });
});

describe("a plan", () => {
  it("reports what would be lowered", async () => {
    const { engine } = countingEngine("ollama", 4_096);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const asking = { prompt: "one", maxTokens: 99_999, contextTokens: 65_536, model: "small:1b" };
    const { notes } = await orchestrator.planGeneration(caller(), asking);
    expect(notes).toEqual([
      expect.stringMatching(
        /^answer limited to \d+ tokens instead of 99999: the window of small:1b has 4096, the prompt about \d+$/,
      ),
      "context limited to 4096 tokens instead of 65536: the window of small:1b",
    ]);
  });
});

describe("the system prompt", () => {
  it.each([
    ["of the request", { system: "request" }, { systemPrompt: "project" }, "request"],
    ["of the project before the model's", {}, { systemPrompt: "project" }, "project"],
    ["of the settings for the model", {}, {}, "model"],
  ])("is the one %s", async (_, request, settings, expected) => {
    const { engine, asked } = countingEngine();
    const { generate, caller } = createTestOrchestrator([engine], {
      settings: { models: { "small*": { system: "model" } } },
    });
    const plain = caller();
    await generate({ model: "small:1b", ...request }, { ...plain, settings: { ...plain.settings, ...settings } });
    expect(texts(asked[0])?.[0]).toBe(`system: ${expected}`);
  });
});

describe("options of a model", () => {
  const models = { "small*": { options: { temperature: 0.1, maxTokens: 7 }, contextTokens: 16_384 } };

  it("override the general ones, and are overridden by the request", async () => {
    const { engine, asked } = countingEngine();
    const { generate } = createTestOrchestrator([engine], {
      settings: { models, options: { temperature: 0.9, topP: 0.5 } },
    });
    await generate({ model: "small:1b" });
    await generate({ model: "small:1b", temperature: 1.5, maxTokens: 9 });
    await generate({ model: "other:1b" });
    expect(asked.map(({ sampling, maxTokens, contextTokens }) => ({ ...sampling, maxTokens, contextTokens }))).toEqual([
      { temperature: 0.1, topP: 0.5, maxTokens: 7, contextTokens: 16_384 },
      { temperature: 1.5, topP: 0.5, maxTokens: 9, contextTokens: 16_384 },
      { temperature: 0.9, topP: 0.5, maxTokens: 4_096, contextTokens: 4_096 },
    ]);
  });
});

describe("model.provider", () => {
  it.each(["ollama", "llama-cpp"] as const)("prefers %s for a model that both engines hold", async (provider) => {
    const engines = [countingEngine("ollama").engine, countingEngine("llama-cpp").engine];
    const { generate } = createTestOrchestrator(engines, { settings: { model: { provider } } });
    expect(await generate({ model: "small:1b" })).toMatchObject({ engine: provider });
    expect(await generate({})).toMatchObject({ engine: provider });
  });
});
