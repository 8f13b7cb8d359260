import { describe, expect, it } from "vitest";
import { Cancelled } from "../../src/orchestrator/api/errors.ts";
import type { LiveState } from "../../src/orchestrator/api/facade-metrics.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { eventually } from "../support/eventually.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);

/** What the bar shows: the parts, and that they make the whole. */
function parts({ memory }: LiveState) {
  const models = memory.models.reduce((sum, { bytes, vramBytes = 0 }) => sum + bytes - vramBytes, 0);
  expect(models + memory.otherBytes + memory.availableBytes).toBe(memory.totalBytes);
  return { models, other: memory.otherBytes, free: memory.availableBytes };
}

describe("the state that a page shows", () => {
  it("divides the memory into models, other programs and what is free", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], {
      memoryBytes: 32 * gigabyte,
      usedElsewhereBytes: () => 5 * gigabyte,
    });
    expect(parts(await orchestrator.live.state(caller()))).toEqual({
      models: 0,
      other: 5 * gigabyte,
      free: 27 * gigabyte,
    });
    await generate({ model: small.name });
    await orchestrator.ramStatus(caller());
    expect(parts(await orchestrator.live.state(caller()))).toEqual({
      models: 2 * gigabyte,
      other: 5 * gigabyte,
      free: 25 * gigabyte,
    });
  });

  it("counts file-mapped bytes, which the system says are available, as the model's", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.resident.set(small.name, { name: small.name, sizeBytes: 2 * gigabyte, vramBytes: 0, mappedBytes: gigabyte });
    const { orchestrator, caller } = createTestOrchestrator([engine], {
      memoryBytes: 8 * gigabyte,
      // 1 GB of the model's 2 is mapped.
      sample: () => ({ availableBytes: 6 * gigabyte }),
    });
    await orchestrator.ramStatus(caller());
    expect(parts(await orchestrator.live.state(caller()))).toEqual({
      models: 2 * gigabyte,
      other: gigabyte,
      free: 5 * gigabyte,
    });
  });

  it("shows a load with what is reserved for it, not as memory of other programs, and who waits how long", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    let loadedBytes = 0;
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], {
      memoryBytes: 32 * gigabyte,
      usedElsewhereBytes: () => 4 * gigabyte + loadedBytes,
    });
    await orchestrator.live.state(caller());
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const answer = generate({ model: large.name }, caller({ client: "cursor" }));
    await gate.entered;
    // Half of it was read, which the system can't tell from what other programs take.
    loadedBytes = 4 * gigabyte;
    const state = await orchestrator.live.state(caller());
    const [model] = state.memory.models;
    expect(model).toMatchObject({ name: large.name, state: "loading", running: 0, isPinned: false });
    expect(model?.bytes).toBeGreaterThanOrEqual(9 * gigabyte);
    expect(parts(state).other).toBe(4 * gigabyte);
    expect(state.queue).toEqual([{ model: large.name, running: 0, waiting: 1, expectedWaitMs: expect.any(Number) }]);
    expect(state.operations).toMatchObject([{ kind: "generate", client: "cursor", isJob: false }]);
    loadedBytes = 0;
    gate.open();
    await answer;
    // Listed or not yet: it doesn't disappear between its load and the engine's next list.
    expect((await orchestrator.live.state(caller())).memory.models).toMatchObject([
      { name: large.name, state: "ready" },
    ]);
  });

  it("counts the requests of the last hour by their minutes, failures, and how long a first token took", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const clock = { ms: Date.parse("2026-11-23T12:00:00Z") };
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], { now: () => clock.ms });
    engine.answer = async (_request, sink) => {
      sink.text("a");
      return { promptTokens: 1, completionTokens: 1 };
    };
    /** What ends is noted a moment later, or when the list is read. */
    const pass = async (ms: number): Promise<void> => {
      await orchestrator.metrics.requests(caller(), { limit: 1 });
      clock.ms += ms;
    };
    await generate({ model: small.name });
    // Beyond the hour.
    await pass(61 * 60_000);
    await generate({ model: small.name });
    await pass(30 * 60_000);
    await generate({ model: small.name });
    await generate({ model: small.name });
    await expect(generate({ model: "unknown:1b" })).rejects.toThrow("unknown:1b");
    await pass(30_000);
    const { lastHour } = await orchestrator.live.state(caller());
    expect(lastHour.requests).toHaveLength(60);
    expect(lastHour.requests.flatMap((count, minute) => (count > 0 ? [[minute, count]] : []))).toEqual([
      [29, 1],
      [59, 3],
    ]);
    expect(lastHour).toMatchObject({ failed: 1, firstTokenP95Ms: expect.any(Number) });
  });

  it("shows who generates with which model, and how fast", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const [gate, later] = [createGate(), { ms: 0 }];
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], { now: () => 1_000_000 + later.ms });
    engine.answer = async (_request, sink, signal) => {
      sink.text("a");
      later.ms += 500;
      for (const text of ["b", "c", "d", "e", "f"]) sink.text(text);
      await gate.pass(signal);
      return {};
    };
    const answer = generate({ prompt: "secret words", model: small.name }, caller({ client: "claude-code" }));
    await gate.entered;
    const state = await orchestrator.live.state(caller());
    expect(state.tokens).toBe(6);
    expect(state.operations).toMatchObject([
      { client: "claude-code", model: small.name, completionTokens: 6, tokensPerSecond: 10 },
    ]);
    await orchestrator.ramStatus(caller());
    const { memory } = await orchestrator.live.state(caller());
    expect(memory.models).toMatchObject([{ name: small.name, state: "ready", running: 1, clients: ["claude-code"] }]);
    expect(JSON.stringify(state)).not.toContain("secret words");
    gate.open();
    await answer;
    const { operations, tokens } = await orchestrator.live.state(caller());
    expect(operations).toEqual([]);
    expect(tokens).toBeGreaterThanOrEqual(6);
  });

  it("is said to have changed when an operation begins and ends, and not while nothing happens", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    const seen: number[] = [];
    let isHeard = false;
    const end = orchestrator.live.onChange(() => {
      isHeard = true;
      void orchestrator.live.state(caller()).then(({ operations }) => seen.push(operations.length));
    });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    await turn();
    expect(isHeard).toBe(false);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const answer = generate({ model: small.name });
    await gate.entered;
    await eventually(() => expect(seen.at(-1)).toBe(1));
    gate.open();
    await answer;
    await eventually(() => expect(seen.at(-1)).toBe(0));
    end();
    isHeard = false;
    await generate({ model: small.name });
    await turn();
    expect(isHeard).toBe(false);
  });

  it("asks no engine", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    let looks = 0;
    engine.beforeLook = async () => void (looks += 1);
    const { list } = engine;
    engine.list = (signal) => {
      looks += 1;
      return list(signal);
    };
    for (let count = 0; count < 5; count++) await orchestrator.live.state(caller());
    expect(looks).toBe(0);
  });
});

describe("the last hour", () => {
  function setup() {
    const clock = { ms: 1_700_000_000_000 };
    const { orchestrator, caller } = createTestOrchestrator([], {
      memoryBytes: 8 * gigabyte,
      now: () => clock.ms,
      usedElsewhereBytes: () => gigabyte,
    });
    return { clock, live: orchestrator.live, caller };
  }

  it("has a sample a second while a page looks, and one in ten seconds without", async () => {
    const { clock, live, caller } = setup();
    for (let count = 0; count < 3; count++, clock.ms += 1_000) await live.state(caller());
    for (let count = 0; count < 9; count++, clock.ms += 1_000) await live.sample();
    expect(live.history().otherBytes).toHaveLength(3);
    await live.sample();
    // It stands for the seconds before it, too.
    expect(live.history().otherBytes).toEqual(Array.from({ length: 13 }, () => gigabyte));
  });

  it("has gaps where the machine slept, and an hour at most", async () => {
    const { clock, live, caller } = setup();
    await live.state(caller());
    clock.ms += 60_000;
    await live.state(caller());
    const { otherBytes, endsAt } = live.history();
    expect(otherBytes).toHaveLength(61);
    expect([otherBytes[0], otherBytes[1], otherBytes[59], otherBytes[60]]).toEqual([gigabyte, null, null, gigabyte]);
    expect(endsAt).toBe(new Date(clock.ms).toISOString());
    for (let count = 0; count < 4_000; count += 10, clock.ms += 10_000) await live.state(caller());
    expect(live.history().running).toHaveLength(3_600);
    clock.ms += 7_200_000;
    await live.state(caller());
    expect(live.history().running).toHaveLength(1);
  });
});

describe("cancelling an operation by its id", () => {
  it("ends another client's generation: its engine stops, and its caller is told that it was cancelled", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    const gate = createGate();
    let isStopped = false;
    engine.answer = async (_request, _sink, signal) => {
      signal.addEventListener("abort", () => (isStopped = true));
      await gate.pass(signal);
      return {};
    };
    const answer = generate({ model: small.name }, caller({ id: "one", client: "cursor" }));
    answer.catch(() => undefined);
    await gate.entered;
    const [running] = (await orchestrator.live.state(caller())).operations;
    const other = caller({ id: "two", client: "ollm-dashboard" });
    const cancelled = await orchestrator.jobs.cancel(other, running?.id ?? "");
    expect(cancelled).toMatchObject({ state: "cancelled", client: "cursor" });
    expect(isStopped).toBe(true);
    await expect(answer).rejects.toThrow(Cancelled);
    expect(orchestrator.jobs.list()).toEqual([]);
    await expect(orchestrator.jobs.cancel(other, running?.id ?? "")).rejects.toThrow("no job");
  });
});
