import { describe, expect, it } from "vitest";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createHandSettings } from "../../support/hand-settings.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { settle, slowTime, simulateKeepAlive } from "../../support/slow-time.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const other = fakeModel("gemma3:4b", 3 * gigabyte);
const minute = 60_000;

function setup(settings: object = {}, memoryBytes = 14 * gigabyte) {
  const engine = createFakeEngine("ollama", [small, other]);
  const time = slowTime();
  const keepAlive = simulateKeepAlive(engine, time.now);
  const live = createHandSettings({ memory: { bufferBytes: 2 * gigabyte }, ...settings });
  const options = { live, memoryBytes, now: time.now, timers: time.timers };
  const harness = createTestOrchestrator([engine], options);
  const load = async (model: string, more: object = {}) =>
    (await harness.orchestrator.loadModel(harness.caller(), { model, ...more })).follow(harness.caller().signal);
  const pin = (name: string, isPinned = true) => harness.orchestrator.setPinned(harness.caller(), name, isPinned);
  const decisions = (kind: string) =>
    harness.orchestrator.decisions(harness.caller()).filter((decision) => decision.kind === kind);
  const warnings = async () => (await harness.orchestrator.systemStatus(harness.caller())).warnings;
  return { ...harness, engine, time, keepAlive, live, load, pin, decisions, warnings };
}

describe("a pinned model", () => {
  it("is touched every few minutes, which doesn't count as a use", async () => {
    const { engine, time, load, pin, orchestrator, caller } = setup();
    await load(small.name);
    await pin(small.name);
    const { lastUsedAt } = (await orchestrator.ramStatus(caller())).loaded[0] ?? {};
    expect(lastUsedAt).toBe(new Date(time.now()).toISOString());
    const before = engine.calls.length;
    await time.pass(11 * minute);
    expect(engine.calls.slice(before)).toEqual([`load ${small.name} 4096`, `load ${small.name} 4096`]);
    expect((await orchestrator.ramStatus(caller())).loaded[0]?.lastUsedAt).toBe(lastUsedAt);
  });

  it("gets its keep-alive renewed after another program has set one", async () => {
    const { engine, time, keepAlive, load, pin, decisions } = setup();
    await load(small.name);
    await pin(small.name);
    await time.pass(minute);
    keepAlive.touch(small.name, 60);
    await time.pass(minute / 2);
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    expect(decisions("touch")).toMatchObject([{ model: small.name }]);
    await time.pass(10 * minute);
    expect([...engine.resident.keys()]).toEqual([small.name]);
  });

  it("is reloaded with its context after a restart of its engine", async () => {
    const { engine, time, load, pin, decisions, warnings } = setup();
    await load(small.name, { contextTokens: 16_384 });
    await pin(small.name);
    await time.pass(minute);
    engine.down = new EngineUnreachable("gone");
    engine.resident.clear();
    await time.pass(minute);
    engine.down = undefined;
    await time.pass(minute);
    expect(engine.resident.get(small.name)?.contextTokens).toBe(16_384);
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    expect(decisions("preload").map(({ model, steps }) => [model, steps[0]])).toEqual([
      [small.name, `ollama was restarted or unloaded all models, and ${small.name} is pinned`],
    ]);
    expect(await warnings()).toEqual([]);
  });

  it("is reloaded even if its engine crashed right after the load, between two polls", async () => {
    const { engine, time, load, pin } = setup();
    await load(other.name);
    await time.pass(minute + 6_000);
    await pin(small.name);
    await load(small.name);
    await time.pass(5_000);
    engine.down = new EngineUnreachable("gone");
    engine.resident.clear();
    await time.pass(minute);
    engine.down = undefined;
    await time.pass(minute);
    expect([...engine.resident.keys()]).toEqual([small.name]);
  });

  it("is not reloaded repeatedly if its engine loses it repeatedly", async () => {
    const { engine, time, load, pin, warnings } = setup();
    await load(small.name);
    await pin(small.name);
    for (let turn = 0; turn < 5; turn += 1) {
      await time.pass(minute);
      engine.resident.clear();
    }
    await time.pass(minute);
    expect(engine.resident.size).toBe(0);
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(3);
    expect(await warnings()).toEqual([expect.stringContaining(`${small.name} is pinned and not in memory`)]);
  });

  it("is reported and not reloaded before its next use if another program displaced it", async () => {
    const { engine, time, load, pin, generate, warnings, decisions } = setup();
    await load(small.name);
    await pin(small.name);
    await time.pass(minute);
    engine.resident.clear();
    engine.resident.set("foreign:8b", { name: "foreign:8b", sizeBytes: 5 * gigabyte, vramBytes: 0 });
    const before = engine.calls.length;
    await time.pass(10 * minute);
    expect(engine.calls.slice(before)).toEqual([]);
    expect(await warnings()).toEqual([expect.stringContaining("evicted it for another program")]);
    expect(decisions("touch")).toHaveLength(1);
    await generate({ model: small.name });
    await time.pass(minute);
    expect(await warnings()).toEqual([]);
  });

  it("is not reloaded if it was unpinned while it was lost", async () => {
    const { engine, time, load, pin, warnings } = setup();
    await load(small.name);
    await pin(small.name);
    await time.pass(minute);
    await pin(small.name, false);
    engine.resident.clear();
    await time.pass(5 * minute);
    expect(engine.resident.size).toBe(0);
    expect(await warnings()).toEqual([]);
  });

  it("is not reloaded after a restart if that would evict other models", async () => {
    const { engine, time, load, pin, warnings } = setup({}, 8 * gigabyte);
    await load(small.name);
    await pin(small.name);
    await time.pass(minute);
    engine.resident.clear();
    engine.down = new EngineUnreachable("gone");
    await time.pass(minute);
    engine.down = undefined;
    engine.resident.set("foreign:5b", { name: "foreign:5b", sizeBytes: 5 * gigabyte, vramBytes: 0 });
    await time.pass(minute);
    expect([...engine.resident.keys()]).toEqual(["foreign:5b"]);
    expect(await warnings()).toEqual([expect.stringContaining("it would evict")]);
  });
});

describe("a model whose keep-alive has ended", () => {
  it("is in the decisions with the reason when its engine unloads it", async () => {
    const { engine, time, load, decisions } = setup();
    await load(small.name, { keepAliveSeconds: 120 });
    await time.pass(2 * minute);
    engine.resident.clear();
    await time.pass(minute);
    expect(decisions("expire")).toMatchObject([
      { model: small.name, engine: "ollama", steps: [expect.stringContaining("keep-alive of 120 s ended")] },
    ]);
  });

  it("is in the decisions right after a short keep-alive, with its idle time", async () => {
    const { engine, time, load, decisions } = setup();
    await load(small.name, { keepAliveSeconds: 600 });
    await time.pass(3_000);
    await load(small.name, { keepAliveSeconds: 4 });
    await time.pass(4_000);
    engine.resident.clear();
    await time.pass(2_000);
    const steps = [expect.stringMatching(/^idle for [56](\.\d)? s: its keep-alive of 4\.0 s ended/)];
    expect(decisions("expire")).toMatchObject([{ model: small.name, steps }]);
  });

  it("is in the decisions even if it was unloaded before the end of its keep-alive", async () => {
    const { engine, time, load, decisions } = setup();
    await load(small.name, { keepAliveSeconds: 3_600 });
    await time.pass(minute);
    engine.resident.clear();
    await time.pass(minute);
    const steps = [expect.stringMatching(/^unloaded before its keep-alive of 3600 s ended: ollama was restarted/)];
    expect(decisions("expire")).toMatchObject([{ model: small.name, steps }]);
  });

  it("is in the decisions if its keep-alive is 0", async () => {
    const { generate, load, decisions } = setup();
    await load(small.name);
    await generate({ model: small.name, keepAliveSeconds: 0 });
    expect(decisions("expire")).toMatchObject([
      { model: small.name, steps: ["unloaded after its answer (keep-alive 0)"] },
    ]);
  });

  it("is in the decisions once if it was unloaded on request", async () => {
    const { orchestrator, caller, time, load, decisions } = setup();
    await load(small.name);
    await orchestrator.unloadModels(caller(), small.name);
    await time.pass(5 * minute);
    expect([decisions("unload").length, decisions("expire").length]).toEqual([1, 0]);
  });

  it("is unloaded if its engine still holds it", async () => {
    const { engine, time, keepAlive, load, decisions } = setup();
    keepAlive.keepsTime = false;
    await load(small.name, { keepAliveSeconds: 120 });
    await load(other.name);
    await time.pass(2 * minute);
    expect(engine.resident.size).toBe(2);
    await time.pass(2 * minute);
    expect([...engine.resident.keys()]).toEqual([other.name]);
    expect(decisions("expire")).toMatchObject([{ model: small.name, steps: [expect.stringContaining("120 s")] }]);
    await time.pass(14 * minute);
    expect(engine.resident.size).toBe(0);
  });

  it("is not unloaded while another program uses it", async () => {
    const { engine, time, keepAlive, load } = setup();
    await load(small.name, { keepAliveSeconds: 120 });
    await time.pass(minute);
    keepAlive.touch(small.name, -1);
    await time.pass(60 * minute);
    expect([...engine.resident.keys()]).toEqual([small.name]);
    expect(engine.calls).toEqual([`load ${small.name} 4096`]);
  });

  it("keeps its remaining time over a sleep of the machine", async () => {
    const { engine, time, keepAlive, load, orchestrator } = setup();
    keepAlive.keepsTime = false;
    await load(small.name, { keepAliveSeconds: 120 });
    await time.pass(minute);
    time.sleep(8 * 60 * minute);
    await time.pass(minute / 2);
    expect(engine.resident.size).toBe(1);
    await orchestrator.wokeUp();
    await time.pass(4 * minute);
    expect(engine.resident.size).toBe(0);
  });

  it("is polled for only while a model of ours is loaded", async () => {
    const { engine, time, load } = setup();
    const loaded = engine.residency?.loaded;
    let polls = 0;
    Object.assign(engine.residency ?? {}, {
      loaded(signal: AbortSignal) {
        polls += 1;
        return loaded?.(signal);
      },
    });
    const pollsIn = async (ms: number): Promise<number> => {
      const before = polls;
      await time.pass(ms);
      return polls - before;
    };
    expect(await pollsIn(3 * minute)).toBe(0);
    await load(small.name, { keepAliveSeconds: 60 });
    expect(await pollsIn(30_000)).toBeGreaterThan(0);
    await time.pass(3 * minute);
    expect(engine.resident.size).toBe(0);
    expect(await pollsIn(10 * minute)).toBe(0);
  });
});

describe("a model of ours that another program uses", () => {
  it("is evicted after models that only we use", async () => {
    const large = fakeModel("qwen2.5:14b", 7 * gigabyte);
    const { engine, time, keepAlive, load } = setup({}, 13 * gigabyte);
    engine.models.push(large);
    await load(small.name);
    await load(other.name);
    await time.pass(minute);
    // Without it the smaller one would go: it is enough, and older.
    keepAlive.touch(small.name);
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([small.name, large.name]);
  });

  it("stays loaded at exit, without our pin", async () => {
    const { engine, time, keepAlive, load, pin, orchestrator } = setup();
    await load(small.name);
    await load(other.name);
    await pin(small.name);
    await time.pass(minute);
    keepAlive.touch(small.name);
    await time.pass(minute);
    await orchestrator.close({ unloadsOwned: true });
    expect([...engine.resident.keys()]).toEqual([small.name]);
    expect(engine.keepAlives.get(small.name)).toBe(300);
  });
});

describe("model.keepAlive.preload", () => {
  const answers = { ofPull: () => ({}), ofBatch: () => ({}), ofError: () => "" };
  const preload = [small.name, "missing:7b", other.name];
  const settings = { model: { keepAlive: { preload } } };

  it("loads at the start what fits, and records what it skips", async () => {
    const { engine, orchestrator, decisions } = setup(settings, 6 * gigabyte);
    expect(engine.calls).toEqual([]);
    await orchestrator.resume(answers);
    await settle();
    expect(engine.calls).toEqual([`load ${small.name} 4096`]);
    expect(decisions("preload").map(({ model, steps }) => [model, steps.at(1)])).toEqual([
      [other.name, `not loaded: it would evict ${small.name}`],
      ["missing:7b", expect.stringContaining("no model missing:7b")],
      [small.name, expect.any(String)],
    ]);
  });

  it("retries while an engine is starting", async () => {
    const { engine, time, orchestrator } = setup({ model: { keepAlive: { preload: [small.name] } } });
    engine.down = new EngineUnreachable("not yet");
    await orchestrator.resume(answers);
    await time.pass(minute);
    engine.down = undefined;
    await time.pass(minute);
    expect([...engine.resident.keys()]).toEqual([small.name]);
  });

  it("is skipped in a safe start, which is recorded", async () => {
    const { engine, orchestrator, decisions } = setup(settings);
    await orchestrator.resume({ ...answers, isSafeStart: true });
    await settle();
    expect(engine.calls).toEqual([]);
    expect(decisions("preload")).toHaveLength(3);
    expect(decisions("preload")[0]?.steps[1]).toContain("safe start");
  });
});
