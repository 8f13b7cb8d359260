import { describe, expect, it } from "vitest";
import { EngineUnreachable, GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, type FakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createHandSettings } from "../../support/hand-settings.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { slowTime, simulateKeepAlive } from "../../support/slow-time.ts";

const minute = 60_000;
const one = fakeModel("llama3.2:3b", 2 * gigabyte);
const two = fakeModel("gemma3:4b", 3 * gigabyte);

/** Two engines with the same models; the first can stop producing tokens while it answers all other requests. */
function setup(kind: FakeEngine["kind"] = "ollama") {
  const time = slowTime();
  const first: FakeEngine = createFakeEngine("ollama", [one, two], { kind });
  const second = createFakeEngine("second", [one, two]);
  const keepAlive = simulateKeepAlive(first, time.now);
  const harness = createTestOrchestrator([first, second], {
    live: createHandSettings(),
    now: time.now,
    timers: time.timers,
  });
  let isLocked = false;
  first.answer = (_request, _sink, signal) => {
    if (!isLocked) return Promise.resolve({});
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(new GenerationFailed("aborted")), { once: true });
    });
  };
  const status = () => harness.orchestrator.systemStatus(harness.caller());
  return {
    ...harness,
    first,
    second,
    keepAlive,
    time,
    lock: (now: boolean) => void (isLocked = now),
    status,
    health: async () => (await status()).engines[0]?.health,
    generations: () => first.calls.filter((call) => call.startsWith("generate")).length,
  };
}

describe("an engine that responds but produces no tokens", () => {
  it("is detected by a probe of an idle model while a request waits, reported, and avoided", async () => {
    const { generate, time, lock, health, status, first, second, caller, orchestrator } = setup();
    await generate({ model: one.name });
    await generate({ model: two.name });
    lock(true);
    const abort = new AbortController();
    const waiting = generate({ model: one.name }, caller({ signal: abort.signal }));
    waiting.catch(() => undefined);
    await time.pass(3 * minute);
    expect(await health()).toBe("stuck");
    expect((await status()).warnings).toEqual([
      expect.stringMatching(/^ollama responds, but gemma3:4b produced no token/),
    ]);
    expect(orchestrator.problems()).toHaveLength(1);
    expect(first.calls.at(-1)).toBe(`generate ${two.name}`);
    expect((await generate({ model: two.name })).engine).toBe("second");
    expect((await generate({})).engine).toBe("second");
    expect(second.calls).toContain(`generate ${two.name}`);
    abort.abort("cancelled");
    await expect(waiting).rejects.toThrow();
  });

  it("is probed every few minutes, and used again once it produces a token", async () => {
    const { generate, time, lock, health, generations, orchestrator } = setup();
    await generate({ model: one.name });
    lock(true);
    const woken = orchestrator.wokeUp();
    await time.pass(2 * minute);
    await woken;
    expect(await health()).toBe("stuck");
    expect(generations()).toBe(2);
    await time.pass(4 * minute);
    expect(generations()).toBe(3);
    lock(false);
    await time.pass(6 * minute);
    expect(await health()).toBe("ok");
    expect((await generate({ model: one.name })).engine).toBe("ollama");
  });

  it("is not considered stuck if it answers another program meanwhile", async () => {
    const { generate, time, lock, health, keepAlive, orchestrator } = setup();
    await generate({ model: one.name });
    lock(true);
    const woken = orchestrator.wokeUp();
    await time.pass(minute / 2);
    keepAlive.touch(one.name);
    await time.pass(minute);
    await woken;
    expect(await health()).toBe("ok");
  });

  it("is no longer considered stuck when no model of ours is left to probe", async () => {
    const { generate, time, lock, health, first, orchestrator } = setup();
    await generate({ model: one.name });
    lock(true);
    const woken = orchestrator.wokeUp();
    await time.pass(2 * minute);
    await woken;
    expect(await health()).toBe("stuck");
    first.resident.clear();
    await time.pass(4 * minute);
    expect(await health()).toBe("ok");
  });
});

describe("a model that produces no tokens while another model of its engine does", () => {
  it("is reported until it makes progress; its engine is not considered stuck", async () => {
    const { generate, time, health, first, orchestrator, caller } = setup();
    await generate({ model: one.name });
    await generate({ model: two.name });
    const { answer } = first;
    let makeProgress: () => void = () => undefined;
    let end: () => void = () => undefined;
    first.answer = (request, sink, signal) => {
      if (request.model !== one.name) return answer(request, sink, signal);
      makeProgress = () => sink.text("at last");
      return new Promise((resolve) => {
        end = () => resolve({});
      });
    };
    const waiting = generate({ model: one.name }, caller());
    await time.pass(2 * minute);
    expect(orchestrator.problems()).toEqual([
      expect.stringMatching(/^llama3.2:3b has produced no token for 61 s on ollama/),
    ]);
    expect(await health()).toBe("ok");
    makeProgress();
    expect(orchestrator.problems()).toEqual([]);
    await time.pass(2 * minute);
    expect(orchestrator.problems()).toHaveLength(1);
    end();
    await waiting;
    expect(orchestrator.problems()).toEqual([]);
  });
});

describe("the embedded engine", () => {
  it("is considered stuck after a minute without progress; prompt processing counts as progress", async () => {
    const { generate, time, lock, health, status, first, caller } = setup("llama-cpp");
    await generate({ model: one.name });
    const { answer } = first;
    let makeProgress: () => void = () => undefined;
    first.answer = (request, sink, signal) => {
      makeProgress = () => sink.phase("prefill");
      makeProgress();
      return answer(request, sink, signal);
    };
    lock(true);
    const abort = new AbortController();
    const waiting = generate({ model: one.name }, caller({ signal: abort.signal }));
    waiting.catch(() => undefined);
    for (let halves = 0; halves < 6; halves += 1) {
      await time.pass(minute / 2);
      makeProgress();
    }
    expect(await health()).toBe("ok");
    await time.pass(2 * minute);
    expect(await health()).toBe("stuck");
    expect((await status()).warnings).toEqual([expect.stringMatching(/no token for 61 s: it is stuck$/)]);
    makeProgress();
    expect(await health()).toBe("ok");
    await time.pass(2 * minute);
    expect(await health()).toBe("stuck");
    abort.abort("cancelled");
    await expect(waiting).rejects.toThrow();
    expect(await health()).toBe("ok");
  });
});

describe("a probe for a token", () => {
  it("follows a sleep and a failure, at most every three minutes, and doesn't count as a use", async () => {
    const { generate, time, generations, orchestrator, first, caller } = setup();
    await generate({ model: one.name });
    const { lastUsedAt } = (await orchestrator.ramStatus(caller())).loaded[0] ?? {};
    await time.pass(10 * minute);
    expect(generations()).toBe(1);
    await orchestrator.wokeUp();
    await orchestrator.wokeUp();
    expect(generations()).toBe(2);
    expect((await orchestrator.ramStatus(caller())).loaded[0]?.lastUsedAt).toBe(lastUsedAt);
    await time.pass(4 * minute);
    const { answer } = first;
    first.answer = () => {
      first.answer = answer;
      return Promise.reject(new EngineUnreachable("cut off"));
    };
    await generate({ model: one.name });
    await time.pass(minute / 12);
    expect(generations()).toBe(4);
  });

  it("loads no model and uses none of another program", async () => {
    const { first, orchestrator } = setup();
    first.resident.set(one.name, { name: one.name, sizeBytes: gigabyte, vramBytes: 0, contextTokens: 4096 });
    await orchestrator.wokeUp();
    expect(first.calls).toEqual([]);
  });
});
