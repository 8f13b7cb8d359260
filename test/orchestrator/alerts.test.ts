import { describe, expect, it } from "vitest";
import { EngineUnreachable, GenerationFailed } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../support/memory-document-files.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const minute = 60_000;
const gone = new EngineUnreachable("Ollama at http://127.0.0.1:11434 does not answer");

/** One daemon after the other in the same home. */
function home() {
  const texts = new Map<string, string>();
  const clock = { ms: Date.parse("2026-11-23T12:00:00Z") };
  const machine = { swapTotalBytes: 4e9, swapUsedBytes: 0 };
  const start = (engine = createFakeEngine("ollama", [small])) => {
    const tested = createTestOrchestrator([engine], {
      documentFiles: createMemoryDocumentFiles(texts),
      now: () => clock.ms,
      sample: () => machine,
    });
    const { orchestrator, caller } = tested;
    /** What an open page shows: present ones, then ended ones. */
    const look = async () => {
      await orchestrator.ramStatus(caller());
      return (await orchestrator.live.state(caller())).alerts;
    };
    const pass = async (ms: number) => {
      clock.ms += ms;
      return look();
    };
    return { ...tested, engine, look, pass };
  };
  return { texts, clock, machine, start };
}

describe("an alert", () => {
  it("says since when it is seen, and when it was seen last, for a day", async () => {
    const { engine, look, pass } = home().start();
    await look();
    engine.down = gone;
    const [begun] = await pass(minute);
    expect(begun).toMatchObject({ text: gone.message, since: "2026-11-23T12:01:00.000Z" });
    expect(await pass(5 * minute)).toEqual([begun]);
    engine.down = undefined;
    // It is neither shown nor over: an engine that is restarted is the same cause.
    expect(await pass(minute)).toEqual([]);
    const ended = { ...begun, until: "2026-11-23T12:06:00.000Z" };
    expect(await pass(minute)).toEqual([ended]);
    engine.down = gone;
    const [again, earlier] = await pass(minute);
    expect(again?.id).not.toBe(begun?.id);
    expect(again).toMatchObject({ text: gone.message, since: "2026-11-23T12:09:00.000Z" });
    expect(earlier).toEqual(ended);
    expect(await pass(25 * 60 * minute)).toEqual([again]);
  });

  it("is the same while its figures and their units change", async () => {
    const { machine, start } = home();
    const { look, pass } = start();
    machine.swapUsedBytes = 1.2e9;
    const [first] = await look();
    machine.swapUsedBytes = 0.98e9;
    expect(await pass(minute)).toEqual([{ ...first, text: "980.0 MB of 4.0 GB swap in use: answers will be slow" }]);
    expect(first?.text).toContain("1.2 GB");
  });

  it("is told apart from that of another server", async () => {
    const other = createFakeEngine("other", []);
    const engine = createFakeEngine("ollama", []);
    const { orchestrator, caller } = createTestOrchestrator([engine, other], { settings: {} });
    await orchestrator.listModels(caller(), {});
    engine.down = gone;
    other.down = new EngineUnreachable("Ollama at http://127.0.0.1:11435 does not answer");
    await orchestrator.listModels(caller(), {}).catch(() => undefined);
    await orchestrator.ramStatus(caller());
    const { alerts } = await orchestrator.live.state(caller());
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(alerts.length);
  });

  it("goes on after a restart, and so does a missed threshold, with the cause that was seen", async () => {
    const { texts, start } = home();
    const first = start();
    first.engine.answer = () => Promise.reject(new GenerationFailed("secret words"));
    for (let at = 0; at < 12; at += 1) {
      await first.pass(1_000);
      await first.generate({ prompt: "secret words", model: small.name }).catch(() => undefined);
    }
    const [before, ...others] = await first.pass(2_000);
    expect(others).toEqual([]);
    expect(before?.text).toContain(`the engine of ${small.name} fails while it answers`);
    await first.orchestrator.close();
    const second = start();
    expect(await second.pass(10_000)).toEqual([before]);
    expect(await second.pass(10 * minute)).toEqual([before]);
    // The newest twenty count, whoever answered them.
    for (let at = 0; at < 20; at += 1) {
      await second.pass(1_000);
      await second.generate({ model: small.name });
    }
    await second.pass(6 * minute);
    expect(await second.pass(2 * minute)).toEqual([{ ...before, until: expect.any(String) }]);
    await second.orchestrator.close();
    expect(texts.get("alerts.json")).toContain(small.name);
    expect(texts.get("alerts.json")).not.toContain("secret words");
    const third = start();
    expect(await third.look()).toEqual([{ ...before, until: expect.any(String) }]);
  });

  it("is noted without a page, which an engine and a front are not asked for", async () => {
    const { machine, clock, start } = home();
    const { orchestrator, caller, look, engine, pass } = start();
    await look();
    engine.down = gone;
    await pass(minute);
    engine.down = undefined;
    clock.ms += 1_000;
    await orchestrator.ramStatus(caller());
    machine.swapUsedBytes = 2e9;
    clock.ms += 10 * minute;
    await orchestrator.live.sample();
    clock.ms += 10 * minute;
    const [swap, ended] = await look();
    expect(swap?.since).toBe("2026-11-23T12:11:01.000Z");
    expect(ended).toMatchObject({ text: gone.message, until: "2026-11-23T12:01:00.000Z" });
  });
});

describe("a download that failed", () => {
  it("is there for every page, after a restart, too, until the model is pulled again", async () => {
    const { start } = home();
    const first = start();
    const pull = async ({ orchestrator, caller, engine }: ReturnType<typeof start>, error?: Error) => {
      if (error !== undefined) Object.assign(engine.library ?? {}, { pull: () => Promise.reject(error) });
      const operation = await orchestrator.pullModel(caller(), { model: "qwen3:4b" });
      await operation.follow(caller().signal).catch(() => undefined);
    };
    await pull(first, new GenerationFailed("the connection broke at 40 MB"));
    const [failed] = await first.look();
    expect(failed).toMatchObject({ pull: "qwen3:4b", text: "qwen3:4b was not pulled: the connection broke at 40 MB" });
    await first.orchestrator.close();
    const second = start();
    expect(await second.pass(10 * minute)).toEqual([failed]);
    await pull(second);
    await second.pass(minute);
    expect(await second.pass(2 * minute)).toEqual([{ ...failed, until: expect.any(String) }]);
  });
});
