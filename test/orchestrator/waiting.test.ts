import { describe, expect, it } from "vitest";
import { Cancelled, LoadFailed, QueueFull } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);
const six = ["a", "b", "c", "d", "e", "f"].map((name) => fakeModel(`${name}:7b`, 5 * gigabyte));

const idle = { running: 0, waiting: 0 };

describe("callers that wait for models", () => {
  it("are all answered, with one load per model: 50 callers, 6 models, memory for 2", async () => {
    const engine = createFakeEngine("ollama", six);
    const { generate, caller, orchestrator } = createTestOrchestrator([engine], { memoryBytes: 13 * gigabyte });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_unused, index) =>
        generate({ model: six[(index * 7) % six.length]?.name ?? "" }, caller({ id: `caller-${index}` })),
      ),
    );
    expect(answers.map(({ model }) => model)).toEqual(
      Array.from({ length: 50 }, (_unused, index) => six[(index * 7) % six.length]?.name),
    );
    // In order of arrival, each of them would have caused a load.
    expect(engine.calls.filter((call) => call.startsWith("load "))).toHaveLength(six.length);
    expect((await orchestrator.systemStatus(caller())).queue).toEqual([]);
  });

  it("of a loaded model are served during the load of another one", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { generate, caller, orchestrator } = createTestOrchestrator([engine]);
    await generate({ model: small.name });
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const loading = generate({ model: large.name });
    await gate.entered;
    expect((await generate({ model: small.name })).model).toBe(small.name);
    const { queue } = await orchestrator.systemStatus(caller());
    expect(queue).toEqual([{ ...idle, model: large.name, waiting: 1 }]);
    gate.open();
    await loading;
  });

  it("are served one at a time by embedded models, and concurrently with those of Ollama", async () => {
    const [first, second] = [fakeModel("first:1b", gigabyte), fakeModel("second:1b", gigabyte)];
    const embedded = createFakeEngine("llama-cpp", [first, second], { kind: "llama-cpp" });
    const ollama = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([embedded, ollama]);
    for (const { name } of [first, second, small]) await generate({ model: name });
    const gate = createGate();
    let [running, most] = [0, 0];
    embedded.answer = async (_request, _sink, signal) => {
      running += 1;
      most = Math.max(most, running);
      await gate.pass(signal);
      running -= 1;
      return {};
    };
    const both = [generate({ model: first.name }), generate({ model: second.name })];
    await gate.entered;
    expect((await generate({ model: small.name })).engine).toBe("ollama");
    gate.open();
    await Promise.all(both);
    expect(most).toBe(1);
  });

  it("are answered concurrently up to the maxParallel of the model", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate, caller, orchestrator } = createTestOrchestrator([engine], {
      settings: { models: { "llama3*": { maxParallel: 2 } } },
    });
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const all = Promise.all([1, 2, 3].map(() => generate({})));
    const queue = async () => (await orchestrator.systemStatus(caller())).queue;
    await expect.poll(queue).toEqual([{ model: small.name, running: 2, waiting: 1 }]);
    gate.open();
    await all;
  });

  it("share one load with the largest requested context", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    await Promise.all([generate({}), generate({ contextTokens: 10_000 }), generate({})]);
    expect(engine.calls.filter((call) => call.startsWith("load "))).toEqual([`load ${small.name} 16384`]);
  });

  it("for more context wait for the active answers, before the model is reloaded", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    await generate({});
    const gate = createGate();
    engine.answer = async (request, _sink, signal) => {
      if (request.contextTokens === 4096) await gate.pass(signal);
      return {};
    };
    const first = generate({});
    await gate.entered;
    const messages: string[] = [];
    const operation = await orchestrator.generate(caller(), { prompt: "hello", contextTokens: 10_000 });
    const grown = operation.follow(caller().signal, ({ message }) => void messages.push(message));
    await expect
      .poll(() => messages)
      .toContainEqual(
        expect.stringMatching(
          /^waiting: llama3\.2:3b will be reloaded with 16384 tokens after the current request; next in the queue/,
        ),
      );
    expect(engine.calls).not.toContain(`unload ${small.name}`);
    gate.open();
    await Promise.all([first, grown]);
    expect(engine.calls.slice(-3)).toEqual([
      `unload ${small.name}`,
      `load ${small.name} 16384`,
      `generate ${small.name}`,
    ]);
  });

  it("are served before earlier comparisons", async () => {
    const other = fakeModel("other:1b", gigabyte);
    const engine = createFakeEngine("llama-cpp", [small, other], { kind: "llama-cpp" });
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    await generate({ model: small.name });
    const gate = createGate();
    const prompts: string[] = [];
    engine.answer = async (request, _sink, signal) => {
      prompts.push(request.messages.at(-1)?.content ?? "");
      if (prompts.length === 1) await gate.pass(signal);
      return {};
    };
    const first = generate({ model: small.name, prompt: "first" });
    await gate.entered;
    const comparing = await orchestrator.comparisons.compare(caller({ id: "comparing" }), {
      prompt: "compared",
      models: [small.name, other.name],
    });
    const compared = comparing.follow(caller().signal);
    const waiting = async () => {
      const { queue } = await orchestrator.systemStatus(caller());
      return queue.reduce((sum, entry) => sum + entry.waiting, 0);
    };
    await expect.poll(waiting).toBe(1);
    const asked = generate({ model: small.name, prompt: "asked" });
    await expect.poll(waiting).toBe(2);
    gate.open();
    await Promise.all([first, asked, compared.catch(() => undefined)]);
    expect(prompts.slice(0, 2)).toEqual(["first", "asked"]);
  });

  it("are refused beyond queue.maxWaiting, with the number and the expected wait", async () => {
    const engine = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], {
      settings: { queue: { maxWaiting: 1 } },
    });
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const first = generate({});
    await gate.entered;
    const second = generate({});
    await expect.poll(async () => (await orchestrator.systemStatus(caller())).queue[0]?.waiting).toBe(1);
    const refused = generate({ model: small.name });
    await expect(refused).rejects.toBeInstanceOf(QueueFull);
    await expect(refused).rejects.toThrow(
      /^1 request already waits for llama3\.2:3b; one more would wait about \d+ s$/,
    );
    gate.open();
    await Promise.all([first, second]);
  });

  it("are refused at once, with the expected wait, when that is longer than their queue.maxWaitMs", async () => {
    const engine = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    const { generate, caller, orchestrator } = createTestOrchestrator([engine]);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const patient = generate({});
    await gate.entered;
    const hasty = caller({ settings: { ...caller().settings, queue: { maxWaitMs: 5_000 } } });
    // An answer is assumed to take 10 s before one was measured.
    await expect(generate({}, hasty)).rejects.toThrow(
      "llama3.2:3b can't start answering within 5 s (queue.maxWaitMs): it would take about 10 s",
    );
    gate.open();
    await patient;
    await generate({}, hasty);
    expect((await orchestrator.systemStatus(caller())).queue).toEqual([]);
  });

  it("continue when the load of another one fails", async () => {
    const engine = createFakeEngine("ollama", [large, small]);
    const gate = createGate();
    engine.beforeLoad = async (model, _options, signal) => {
      if (model !== large.name) return;
      await gate.pass(signal);
      throw new LoadFailed("the child was killed");
    };
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], { memoryBytes: 12 * gigabyte });
    const failed = generate({ model: large.name });
    await gate.entered;
    const next = generate({ model: small.name });
    gate.open();
    await expect(failed).rejects.toThrow("the child was killed");
    expect((await next).model).toBe(small.name);
    expect((await orchestrator.systemStatus(caller())).queue).toEqual([]);
  });

  it("without a model wait for the load in progress instead of causing another", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], {
      memoryBytes: 12 * gigabyte,
      ramBandwidth: () => Promise.resolve(200 * gigabyte),
    });
    const first = generate({ model: large.name });
    await gate.entered;
    const second = generate({});
    await expect.poll(async () => (await orchestrator.systemStatus(caller())).queue[0]?.waiting).toBe(2);
    gate.open();
    expect((await Promise.all([first, second])).map(({ model }) => model)).toEqual([large.name, large.name]);
    expect(engine.calls.filter((call) => call.startsWith("load "))).toEqual([`load ${large.name} 4096`]);
  });

  it("can wait for every model that fits after the load in progress", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const { orchestrator, caller } = createTestOrchestrator([engine], {
      memoryBytes: 12 * gigabyte,
      ramBandwidth: () => Promise.resolve(200 * gigabyte),
    });
    const loading = (await orchestrator.loadModel(caller(), { model: large.name })).follow(caller().signal);
    await gate.entered;
    const { route } = await orchestrator.planGeneration(caller(), { prompt: "hello" });
    expect(route.considered.map(({ model, rejected }) => [model, rejected])).toEqual([
      [large.name, undefined],
      [small.name, undefined],
    ]);
    gate.open();
    await loading;
  });

  it("hold no lease after they are cancelled: the model can be evicted", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { generate, caller, orchestrator } = createTestOrchestrator([engine], { memoryBytes: 12 * gigabyte });
    await generate({ model: small.name });
    const gate = createGate();
    engine.answer = async (request, _sink, signal) => {
      if (request.model === small.name) await gate.pass(signal);
      return {};
    };
    const calls = Array.from({ length: 12 }, () => new AbortController());
    const asked = calls.map(({ signal }) => generate({ model: small.name }, caller({ signal })));
    const ended = Promise.allSettled(asked);
    await expect
      .poll(async () => (await orchestrator.systemStatus(caller())).queue)
      .toEqual([{ model: small.name, running: 4, waiting: 8 }]);
    for (const call of calls) call.abort("cancelled");
    for (const outcome of await ended) {
      expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(Cancelled) as Cancelled });
    }
    expect((await generate({ model: large.name })).model).toBe(large.name);
    expect(engine.resident.has(small.name)).toBe(false);
    expect((await orchestrator.systemStatus(caller())).queue).toEqual([]);
  });
});

describe("an engine that is replaced while callers wait for its models", () => {
  it("answers them, and its successor answers later requests for the same model", async () => {
    const [first, second] = [createFakeEngine("ollama", [small]), createFakeEngine("ollama", [small])];
    const given = (host: string) => ({ providers: { ollama: { host } } });
    const live = createHandSettings(given("first"));
    const { generate, orchestrator, caller } = createTestOrchestrator([first], {
      live,
      remakeEngines: ({ providers }) => [providers.ollama.host === "first" ? first : second],
    });
    const gate = createGate();
    const successorGate = createGate();
    first.answer = async () => {
      await gate.pass();
      return {};
    };
    second.answer = async () => {
      await successorGate.pass();
      return {};
    };
    const before = Promise.all(Array.from({ length: 5 }, () => generate({})));
    await gate.entered;
    live.change(given("second"));
    const after = Promise.all(Array.from({ length: 5 }, () => generate({})));
    await expect.poll(async () => (await orchestrator.systemStatus(caller())).queue).toHaveLength(2);
    gate.open();
    successorGate.open();
    await Promise.all([before, after]);
    const generations = (calls: readonly string[]) => calls.filter((call) => call.startsWith("generate")).length;
    expect([generations(first.calls), generations(second.calls)]).toEqual([5, 5]);
    expect(first.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
  });
});
