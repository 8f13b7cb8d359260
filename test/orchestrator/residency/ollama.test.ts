import { describe, expect, it, onTestFinished } from "vitest";
import { handClock } from "../../support/hand-clock.ts";
import { createHandSettings } from "../../support/hand-settings.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { startPair } from "../engines/ollama/fixture.ts";

const forever = -1;

/**
 * An orchestrator with a server that speaks Ollama's HTTP API; `expectSeen` advances to the next poll, every 20 s.
 */
async function setup(preload: readonly string[] = []) {
  const { fake, engine } = await startPair({
    models: [{ name: "smollm2:135m" }, { name: "qwen3:0.6b" }, { name: "big:120b-cloud", remoteHost: "https://x" }],
  });
  const timers = handClock();
  const live = createHandSettings({ model: { keepAlive: { preload } }, memory: { bufferBytes: 0 } });
  const harness = createTestOrchestrator([engine], { live, timers, now: Date.now });
  onTestFinished(() => harness.orchestrator.close());
  const resident = (name: string) => [...fake.residents.values()].find((model) => model.name === name);
  return {
    ...harness,
    fake,
    resident,
    async load(model: string) {
      const operation = await harness.orchestrator.loadModel(harness.caller(), { model });
      await operation.follow(harness.caller().signal);
    },
    /** A request of another program. */
    async touch(model: string, keepAlive: string | undefined) {
      const options = { num_ctx: 4096 };
      const body = JSON.stringify({ model, prompt: "", keep_alive: keepAlive, options, truncate: false, shift: false });
      await (await fetch(`${fake.url}/api/generate`, { method: "POST", body })).text();
    },
    /** Advances the clock until `seen` returns true; polls that have begun end in their own time. */
    async expectSeen(seen: () => boolean) {
      await expect
        .poll(
          () => {
            timers.advance(20_000);
            return seen();
          },
          { timeout: 20_000 },
        )
        .toBe(true);
    },
  };
}

describe("a model pinned in Ollama", () => {
  it("gets its keep-alive renewed after another program has set one", async () => {
    const { orchestrator, caller, load, touch, expectSeen, resident } = await setup();
    await load("smollm2:135m");
    await orchestrator.setPinned(caller(), "smollm2:135m", true);
    expect(resident("smollm2:135m")?.keepAliveSeconds).toBe(forever);
    await touch("smollm2:135m", "5m");
    expect(resident("smollm2:135m")?.keepAliveSeconds).toBe(300);
    await expectSeen(() => resident("smollm2:135m")?.keepAliveSeconds === forever);
  });

  it("is reloaded when the server has lost all models, as after a restart", async () => {
    const { orchestrator, caller, fake, load, expectSeen, resident } = await setup();
    await load("smollm2:135m");
    await orchestrator.setPinned(caller(), "smollm2:135m", true);
    const asked = () => fake.requests.filter(({ path }) => path === "/api/ps").length;
    const before = asked();
    await expectSeen(() => asked() > before + 2);
    fake.residents.clear();
    await expectSeen(() => resident("smollm2:135m")?.keepAliveSeconds === forever);
  });
});

describe("a model of ours that another program uses", () => {
  it("is detected by its moved expiry", async () => {
    const { orchestrator, fake, load, touch, expectSeen } = await setup();
    await load("smollm2:135m");
    await load("qwen3:0.6b");
    await touch("smollm2:135m", "1h");
    const asked = () => fake.requests.filter(({ path }) => path === "/api/ps").length;
    const before = asked();
    await expectSeen(() => asked() > before + 2);
    await orchestrator.close({ unloadsOwned: true });
    expect([...fake.residents.values()].map(({ name }) => name)).toEqual(["smollm2:135m"]);
  });
});

describe("model.keepAlive.preload", () => {
  it("skips cloud models", async () => {
    const { orchestrator, caller, fake, resident } = await setup(["big:120b-cloud", "smollm2:135m"]);
    await orchestrator.resume({ ofPull: () => ({}), ofBatch: () => ({}), ofError: () => "" });
    await expect.poll(() => resident("smollm2:135m")?.keepAliveSeconds, { timeout: 20_000 }).toBe(900);
    expect(fake.loads).toEqual([{ name: "smollm2:135m", contextTokens: 4096 }]);
    expect(orchestrator.decisions(caller()).at(-1)).toMatchObject({
      kind: "preload",
      model: "big:120b-cloud",
      steps: [expect.any(String), "not loaded: it uses no memory here"],
    });
  });
});
