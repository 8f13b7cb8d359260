import { describe, expect, it } from "vitest";
import { PrivacyLocked } from "../../src/orchestrator/api/errors.ts";
import { callerSettings } from "../../src/orchestrator/config/load.ts";
import { createRemoteLock } from "../../src/orchestrator/catalog/engine-set.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

/** A model as listed by the adapter for an Ollama on another machine. */
const distant = fakeModel("llama3.1:8b", 5 * gigabyte, { trust: "remote" });
const createDistant = () => createFakeEngine("ollama", [distant], { trust: "remote", memoryDomain: "box.lan:11434" });
const createEmbedded = () => createFakeEngine("llama-cpp", [], { kind: "llama-cpp" });

describe("under local_only, an Ollama on another machine", () => {
  const settings = { model: { default: distant.name, routing: { overrides: { code: distant.name } } } };

  it.each([
    { by: "name", request: { model: distant.name } },
    {
      by: "a request that asks for more than it may",
      request: { model: distant.name, privacy: "allow_remote" as const },
    },
    { by: "model.default", request: {} },
    { by: "an override", request: { task: "code" as const } },
  ])("gets no prompt, chosen by $by", async ({ request }) => {
    const engine = createDistant();
    const { generate, orchestrator, caller } = createTestOrchestrator([engine], { settings });
    await expect(generate(request)).rejects.toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
    expect((await orchestrator.systemStatus(caller())).remoteRequests).toBe(0);
  });

  it("gets no prompt with routing switched off", async () => {
    const engine = createDistant();
    const off = { model: { default: distant.name, routing: { enabled: false } } };
    await expect(createTestOrchestrator([engine], { settings: off }).generate({})).rejects.toBeInstanceOf(
      PrivacyLocked,
    );
    expect(engine.calls).toEqual([]);
  });

  it("is not used for a pull, since its models could not be used", async () => {
    const [engine, embedded] = [createDistant(), createEmbedded()];
    const { orchestrator, caller } = createTestOrchestrator([engine, embedded]);
    const result = await (await orchestrator.pullModel(caller(), { model: "smollm2:135m" })).follow(caller().signal);
    expect(result.engine).toBe("llama-cpp");
  });

  it("gets no file, also when the pull names it as the engine", async () => {
    const engine = createDistant();
    const { orchestrator, caller } = createTestOrchestrator([engine, createEmbedded()]);
    const importing = orchestrator.pullModel(caller(), { model: "mine", from: "/tmp/mine.gguf", engine: "ollama" });
    await expect(importing).rejects.toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
  });
});

describe("under allow_remote, an Ollama on another machine", () => {
  const settings = { privacy: "allow_remote" };

  it("loads models, unlike a cloud", async () => {
    const engine = createDistant();
    const { orchestrator, caller } = createTestOrchestrator([engine], { settings });
    const result = await (await orchestrator.loadModel(caller(), { model: distant.name })).follow(caller().signal);
    expect(result.wasLoaded).toBe(false);
    expect(engine.calls).toEqual([`load ${distant.name} 4096`]);
  });

  it("gets neither the tools of a chat nor what a local model recalled with them", async () => {
    const engine = createDistant();
    const sent: string[] = [];
    const generate = engine.generate.bind(engine);
    engine.generate = (request, ...more) => {
      sent.push(JSON.stringify(request));
      return generate(request, ...more);
    };
    await createTestOrchestrator([engine], { settings }).generate({
      prompt: "Which editor?",
      tools: [{ name: "recall", description: "Finds notes.", parameters: { type: "object" } }],
      after: [
        { role: "assistant", content: "", toolCalls: [{ id: "1", name: "recall", arguments: "{}" }] },
        { role: "tool", content: "editor: Helix", toolCallId: "1" },
      ],
    });
    expect(sent).toHaveLength(1);
    expect(sent[0]).toContain("Which editor?");
    expect(sent[0]).not.toMatch(/Helix|recall/);
  });

  it("answers, and the request is counted", async () => {
    const harness = createTestOrchestrator([createDistant()], { settings });
    expect((await harness.generate({})).engine).toBe("ollama");
    const status = await harness.orchestrator.systemStatus(harness.caller());
    expect(status.remoteRequests).toBe(1);
    const day = String.raw`\d+ \w+ \d{4}`;
    expect(status.remoteText).toMatch(
      new RegExp(`^1 prompt has left this machine since ${day}; the last on ${day}, to ollama$`),
    );
  });
});

it("a cloud model's dry run plans no memory here", async () => {
  const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
  const settings = { privacy: "allow_remote" };
  const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [cloud])], {
    settings,
    memoryBytes: gigabyte,
  });
  const { plan } = await orchestrator.planGeneration(caller(), { prompt: "hello" });
  expect(plan).toMatchObject({
    fits: true,
    neededBytes: 0,
    evict: [],
    steps: ["kimi-k2:cloud is a cloud model: it uses no memory on this machine"],
  });
});

describe("a server that is not local", () => {
  /** Counts every call that would reach the server. */
  function watched() {
    const contacts: string[] = [];
    const currentLoad = () => {
      contacts.push("currentLoad");
      return Promise.resolve(undefined);
    };
    const engine = createFakeEngine("cloud", [distant], { kind: "openai", trust: "remote", currentLoad });
    const { list, health } = engine;
    engine.list = (signal) => {
      contacts.push("list");
      return list(signal);
    };
    engine.health = (signal) => {
      contacts.push("health");
      return health(signal);
    };
    return { engine, contacts };
  }
  const small = fakeModel("llama3.2:3b", 2 * gigabyte);

  it("is not contacted under local_only, for models and health neither, and the status says so", async () => {
    const { engine, contacts } = watched();
    const { generate, orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small]), engine]);
    expect((await generate({})).engine).toBe("ollama");
    expect((await orchestrator.listModels(caller(), {})).models.map(({ name }) => name)).toEqual([small.name]);
    const { engines, warnings } = await orchestrator.systemStatus(caller());
    expect(engines[1]).toEqual({
      id: "cloud",
      kind: "openai",
      trust: "remote",
      health: "not_contacted",
      message: "cloud is not local and was not contacted: privacy is local_only",
      modelCount: 0,
    });
    expect(warnings).toEqual([]);
    await orchestrator.wokeUp();
    await expect(orchestrator.planGeneration(caller(), { prompt: "hi", model: distant.name })).rejects.toThrow(
      `no model ${distant.name}; cloud is not local and was not contacted: privacy is local_only`,
    );
    await expect(generate({ model: distant.name })).rejects.toThrow("was not contacted");
    expect(contacts).toEqual([]);
    expect(engine.calls).toEqual([]);
  });

  it("may have a model whose name is like one here: no pull of it is advised", async () => {
    const { engine } = watched();
    const { generate } = createTestOrchestrator([createFakeEngine("ollama", [small]), engine]);
    await expect(generate({ model: "llama3.2:3b-kimi" })).rejects.toMatchObject({
      next: [
        { step: "didYouMean", names: [small.name] },
        { step: "changeSetting", setting: "privacy", to: "allow_remote" },
      ],
    });
  });

  it("is named where a request asks for its model, with a local one in place of a pull", async () => {
    const { engine } = watched();
    const remote = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
    await expect(remote.generate({ model: distant.name, privacy: "local_only" })).rejects.toMatchObject({
      message: `${distant.name} would send the request off this machine, and privacy is local_only`,
      next: [{ step: "chooseModel", that: "on this machine" }, { step: "changeSetting" }],
    });
  });

  it("refuses each call of the port itself, whatever asks", async () => {
    const { engine, contacts } = watched();
    const lock = createRemoteLock(() => "local_only");
    const guarded = lock.guarded(engine);
    const { signal } = new AbortController();
    const sink = { text: () => undefined, thinking: () => undefined, phase: () => undefined };
    const request = { model: distant.name, messages: [], maxTokens: 1, contextTokens: 4096, sampling: {} };
    for (const call of [
      () => guarded.list(signal),
      () => guarded.describe(distant.name, signal),
      () => guarded.generate(request, sink, signal),
      () => guarded.currentLoad?.(signal),
      () => guarded.library?.pull(distant.name, () => undefined, signal),
    ])
      await expect(call()).rejects.toBeInstanceOf(PrivacyLocked);
    expect(await guarded.health(signal)).toMatchObject({ isReachable: false });
    expect([contacts, engine.calls]).toEqual([[], []]);
    expect(lock.guarded(engine)).toBe(guarded);
    const local = createFakeEngine("ollama", [small]);
    expect(lock.guarded(local)).toBe(local);
  });

  it("serves a client that allows it, for its own calls alone", async () => {
    const { engine, contacts } = watched();
    const { generate, orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", []), engine]);
    const allowing = caller({ settings: { ...caller().settings, privacy: "allow_remote" } });
    expect((await generate({}, allowing)).engine).toBe("cloud");
    expect(contacts).toContain("list");
    contacts.length = 0;
    await expect(generate({})).rejects.toBeInstanceOf(PrivacyLocked);
    // A model of a server that must not be asked is no file that could be pulled.
    await expect(generate({ model: "kimi-k2" })).rejects.toMatchObject({
      next: [{ step: "listModels" }, { step: "changeSetting", setting: "privacy", to: "allow_remote" }],
    });
    expect((await orchestrator.listModels(caller(), {})).models).toEqual([]);
    expect(contacts).toEqual([]);
  });

  it("is contacted as soon as the setting allows it, and no longer when it doesn't", async () => {
    const { engine, contacts } = watched();
    const live = createHandSettings();
    const { generate, caller, orchestrator } = createTestOrchestrator([engine], { live });
    const asking = () => caller({ settings: callerSettings(live.current()) });
    await expect(generate({}, asking())).rejects.toBeInstanceOf(PrivacyLocked);
    live.change({ privacy: "allow_remote" });
    expect((await generate({}, asking())).engine).toBe("cloud");
    live.change({ privacy: "local_only" });
    contacts.length = 0;
    await expect(generate({}, asking())).rejects.toBeInstanceOf(PrivacyLocked);
    await orchestrator.systemStatus(asking());
    expect(contacts).toEqual([]);
  });
});
