import { describe, expect, it } from "vitest";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { handClock } from "../../support/hand-clock.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { settle } from "../../support/slow-time.ts";

const model = fakeModel("llama3.2:3b", 3 * gigabyte);
const hourMs = 3_600_000;

/** A wall clock that jumps by `jumpMs` during the load and again during the answer; nothing else takes time. */
function setup(jumpMs: number) {
  const clock = { wallMs: 1_000 * hourMs, steadyMs: 0 };
  const engine = createFakeEngine("ollama", [model]);
  engine.beforeLoad = () => {
    clock.wallMs += jumpMs;
    clock.steadyMs += 2_000;
    return Promise.resolve();
  };
  engine.answer = () => {
    clock.wallMs += jumpMs;
    clock.steadyMs += 500;
    return Promise.resolve({});
  };
  const harness = createTestOrchestrator([engine], {
    now: () => clock.wallMs,
    steady: () => clock.steadyMs,
    timers: handClock(),
  });
  return { ...harness, engine, clock };
}

describe.each([
  ["is set back by four days", -100 * hourMs],
  ["is set forward by four days, or slept through them", 100 * hourMs],
])("a clock that %s during a request", (_, jumpMs) => {
  it("doesn't affect durations", async () => {
    const { orchestrator, caller, generate } = setup(jumpMs);
    const load = await orchestrator.loadModel(caller(), { model: model.name });
    expect((await load.follow(caller().signal)).loadMs).toBe(2_000);
    const answer = await generate({});
    expect(answer.totalMs).toBe(500);
    expect(answer.timing.queueMs).toBe(0);
  });

  it("expires neither the loaded model nor the conversation", async () => {
    const { engine, generate } = setup(jumpMs);
    const { continueId = "" } = await generate({ continueId: "new" });
    await generate({ continueId });
    expect(engine.calls).toEqual(["load llama3.2:3b 4096", "generate llama3.2:3b", "generate llama3.2:3b"]);
  });

  it("keeps no cache fresh: the next plan sees changes by other programs", async () => {
    const { engine, clock, orchestrator, caller, generate } = setup(0);
    await generate({});
    engine.resident.clear();
    clock.wallMs += jumpMs;
    expect((await orchestrator.planLoad(caller(), { model: model.name })).isLoaded).toBe(false);
  });
});

describe("a wait for memory", () => {
  it("polls every two seconds or on a release, however the clock jumps", async () => {
    const small = fakeModel("small:3b", 3 * gigabyte);
    const engine = createFakeEngine("ollama", [model, small]);
    let wallMs = 0;
    let looks = 0;
    engine.beforeLook = () => {
      looks += 1;
      wallMs -= hourMs;
      return Promise.resolve();
    };
    const answering = createGate();
    engine.answer = async ({ model: name }) => {
      if (name === model.name) await answering.pass();
      return {};
    };
    const timers = handClock();
    const { generate } = createTestOrchestrator([engine], {
      memoryBytes: 7 * gigabyte,
      // So long after each other that no poll is served from a cache.
      now: () => (wallMs += 251),
      timers,
    });
    const first = generate({ model: model.name });
    await answering.entered;
    const second = generate({ model: small.name });
    await settle();
    const before = looks;
    await settle();
    expect(looks).toBe(before);
    timers.advance(2_000);
    await settle();
    expect(looks).toBeGreaterThan(before);
    answering.open();
    await Promise.all([first, second]);
    expect(engine.calls).toContain("generate small:3b");
  });
});
