import { setImmediate as delivered } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Change } from "../../src/orchestrator/api/facade.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const another = fakeModel("gemma3:4b", 3 * gigabyte);

/** An orchestrator whose one engine is replaced when the address in its settings changes. */
function setUp() {
  const closed: string[] = [];
  const engines = new Map(
    ["first", "second"].map((host) => {
      const engine = createFakeEngine("ollama", [host === "first" ? small : another], {
        close: () => {
          closed.push(host);
          return Promise.resolve();
        },
      });
      return [host, engine] as const;
    }),
  );
  const engineAt = (host: string) => {
    const engine = engines.get(host);
    if (engine === undefined) throw new Error(`no engine ${host}`);
    return engine;
  };
  const given = (host: string) => ({ providers: { ollama: { host } }, queue: { maxWaiting: 2 } });
  const live = createHandSettings(given("first"));
  const harness = createTestOrchestrator([engineAt("first")], {
    live,
    remakeEngines: ({ providers }) => [engineAt(providers.ollama.host)],
  });
  return { ...harness, live, given, closed, engineAt };
}

describe("an engine whose settings changed", () => {
  it("finishes running requests, unloads its models and is then closed; new requests go to its replacement", async () => {
    const { generate, live, given, closed, engineAt, orchestrator, caller } = setUp();
    const gate = createGate();
    const first = engineAt("first");
    first.answer = async () => {
      await gate.pass();
      return {};
    };
    const under = generate({});
    await gate.entered;
    live.change(given("second"));
    expect((await generate({})).model).toBe(another.name);
    expect((await orchestrator.listModels(caller(), {})).models.map(({ name }) => name)).toEqual([another.name]);
    expect(closed).toEqual([]);
    expect(first.calls).not.toContain(`unload ${small.name}`);
    gate.open();
    expect((await under).model).toBe(small.name);
    await expect.poll(() => closed).toEqual(["first"]);
    expect(first.calls.at(-1)).toBe(`unload ${small.name}`);
  });

  it("still serves requests in its queue and requests that already chose it", async () => {
    const { generate, live, given, closed, engineAt } = setUp();
    const first = engineAt("first");
    const [gate, looking] = [createGate(), createGate()];
    first.answer = async () => {
      await gate.pass();
      return {};
    };
    const running = Array.from({ length: 6 }, () => generate({}));
    await gate.entered;
    first.beforeLook = () => looking.pass();
    live.change(given("second"));
    looking.open();
    gate.open();
    expect((await Promise.all(running)).map(({ model }) => model)).toEqual(Array.from({ length: 6 }, () => small.name));
    await expect.poll(() => closed).toEqual(["first"]);
  });

  it("is not closed while a call reads from it", async () => {
    const { live, given, closed, engineAt, orchestrator, caller } = setUp();
    const looking = createGate();
    engineAt("first").beforeLook = () => looking.pass();
    const status = orchestrator.ramStatus(caller());
    await looking.entered;
    live.change(given("second"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toEqual([]);
    looking.open();
    await status;
    await expect.poll(() => closed).toEqual(["first"]);
  });

  it("counts, with its loaded models, in the memory plans of its replacement", async () => {
    const { generate, live, given, engineAt, orchestrator, caller } = setUp();
    const gate = createGate();
    engineAt("first").answer = async () => {
      await gate.pass();
      return {};
    };
    const under = generate({});
    await gate.entered;
    live.change(given("second"));
    const plan = await orchestrator.planLoad(caller(), { model: another.name });
    expect(plan.steps[0]).toContain("loaded llama3.2:3b");
    gate.open();
    await under;
  });

  it("is closed with the others when the orchestrator closes", async () => {
    const { live, given, closed, engineAt, generate, orchestrator, caller } = setUp();
    const gate = createGate();
    engineAt("first").answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const under = generate({}, caller()).catch(() => "aborted");
    await gate.entered;
    live.change(given("second"));
    await orchestrator.close();
    expect(await under).toBe("aborted");
    expect(new Set(closed)).toEqual(new Set(["first", "second"]));
  });
});

describe("changed settings", () => {
  it("apply to later requests", async () => {
    const { live, given, orchestrator } = setUp();
    expect(orchestrator.fileLimits.maxFileBytes).toBe(2 * 1024 ** 2);
    expect(orchestrator.jobs.keepHours).toBe(24);
    live.change({ ...given("first"), files: { maxFileBytes: 7 }, jobs: { keepHours: 1 } });
    expect(orchestrator.fileLimits.maxFileBytes).toBe(7);
    expect(orchestrator.jobs.keepHours).toBe(1);
  });

  it("publish a change of the tools only if the tools differ", async () => {
    const { live, given, orchestrator } = setUp();
    const told: Change[] = [];
    orchestrator.onChange((change) => told.push(change));
    live.change({ ...given("first"), jobs: { keepHours: 1 } });
    await delivered();
    expect(told.filter(({ kind }) => kind === "tools")).toEqual([]);
    live.change({ ...given("first"), tools: { disabled: ["pull_model"] } });
    await delivered();
    expect(told.filter(({ kind }) => kind === "tools")).toEqual([{ kind: "tools", isListChanged: true }]);
  });

  it("are ignored while the file is invalid, which the system status reports", async () => {
    const { live, orchestrator, caller } = setUp();
    live.breakFile("config.yaml:1: privacy is wrong");
    expect((await orchestrator.systemStatus(caller())).warnings).toContain(
      "config.yaml:1: privacy is wrong; the previous settings stay in force until it is corrected",
    );
    live.breakFile(undefined);
    expect((await orchestrator.systemStatus(caller())).warnings).toEqual([]);
  });
});
