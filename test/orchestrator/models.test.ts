import { describe, expect, it } from "vitest";
import { EngineUnreachable, InvalidRequest, UnknownModel } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../support/memory-document-files.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);

describe("a model's name", () => {
  const coder = fakeModel("qwen2.5:7b", 5 * gigabyte);

  it("means, without its tag, the only model that has it", async () => {
    const { orchestrator, caller, generate } = createTestOrchestrator([createFakeEngine("ollama", [small, large])]);
    expect(await generate({ model: "llama3.2" })).toMatchObject({ model: small.name });
    expect((await orchestrator.describeModel(caller(), "LLAMA3.2")).model.name).toBe(small.name);
  });

  it("that is not installed is described by what its download takes, unless it is to be deleted", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
    const name = "qwen3:4b-instruct";
    const because: unknown = expect.stringMatching(/^2\.5 GB download, needs /);
    await expect(orchestrator.describeModel(caller(), name)).rejects.toMatchObject({
      message: `no model ${name}`,
      next: [{ step: "pullModel", model: name, because }, { step: "listModels" }],
    });
    await expect(orchestrator.describeModel(caller(), name, true)).rejects.toMatchObject({
      next: [{ step: "listModels" }],
    });
  });

  it("is needed whole to delete a model", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small, large])]);
    await expect(orchestrator.deleteModel(caller(), "llama3.2")).rejects.toMatchObject({
      message: "no model llama3.2",
      next: [{ step: "didYouMean", names: [small.name] }],
    });
  });

  it("means no model where several have it: they are named", async () => {
    const { generate } = createTestOrchestrator([createFakeEngine("ollama", [small, large, coder])]);
    await expect(generate({ model: "qwen2.5" })).rejects.toMatchObject({
      message: "no model qwen2.5",
      next: [
        { step: "didYouMean", names: expect.arrayContaining(["qwen2.5:7b", "qwen2.5:14b"]) },
        { step: "pullModel", model: "qwen2.5" },
      ],
    });
    // Another tag or namespace was meant.
    await expect(generate({ model: "llama3.2:1b" })).rejects.toBeInstanceOf(UnknownModel);
    await expect(generate({ model: "other/llama3.2" })).rejects.toBeInstanceOf(UnknownModel);
  });

  it("is that of `:latest` before any other tag", async () => {
    const latest = fakeModel("qwen2.5:latest", 4 * gigabyte);
    const { generate } = createTestOrchestrator([createFakeEngine("ollama", [coder, latest])]);
    expect(await generate({ model: "qwen2.5" })).toMatchObject({ model: latest.name });
  });

  it.each(["gpt-4o", "openai/gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "o3-mini"])(
    "of a cloud is nothing to pull: %s",
    async (model) => {
      const { generate } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
      await expect(generate({ model })).rejects.toMatchObject({
        message: `${model} is a cloud model, and no configured server lists it`,
        next: [{ step: "listModels" }],
      });
    },
  );

  it.each(["gpt-oss:20b", "gpt4all", "gpt2", "o1js", "claude"])(
    "that a cloud's resembles may be pulled: %s",
    async (model) => {
      const { generate } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
      await expect(generate({ model })).rejects.toMatchObject({ message: `no model ${model}` });
    },
  );
});

describe("listModels", () => {
  it("contains the last use of used models if verbose", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine], { now: () => 1_000_000 });
    await generate({ model: small.name });
    const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
    expect(models.map(({ lastUsedAt }) => lastUsedAt)).toEqual([new Date(1_000_000).toISOString(), undefined]);
  });

  it("contains what is loaded and what would fit", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine], { memoryBytes: 10 * gigabyte });
    await generate({ model: small.name });
    expect(await orchestrator.listModels(caller(), {})).toEqual({
      models: [
        {
          name: "llama3.2:3b",
          engine: "ollama",
          sizeBytes: 2 * gigabyte,
          isLoaded: true,
          status: "loaded",
          trust: "local",
          fits: true,
        },
        {
          name: "qwen2.5:14b",
          engine: "ollama",
          sizeBytes: 9 * gigabyte,
          isLoaded: false,
          status: "installed",
          trust: "local",
          fits: false,
        },
      ],
      total: 2,
      stale: [],
      unreachable: [],
    });
  });

  it("says which actions an engine refuses, and only those", async () => {
    const server = createFakeEngine("house", [small], { kind: "openai" });
    Object.assign(server, { library: undefined });
    const ollama = createFakeEngine("ollama", [large, fakeModel("gpt-oss:120b-cloud", 0, { trust: "remote" })]);
    const { orchestrator, caller } = createTestOrchestrator([server, ollama]);
    const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
    expect(models.map(({ name, refuses }) => [name, refuses])).toEqual([
      ["gpt-oss:120b-cloud", ["load", "unload", "pin"]],
      [small.name, ["load", "unload", "pin", "delete"]],
      [large.name, undefined],
    ]);
    // They are refused.
    await expect(orchestrator.setPinned(caller(), small.name, true)).rejects.toThrow("can't be pinned");
    await expect(orchestrator.deleteModel(caller(), small.name)).rejects.toThrow("can't delete");
    await expect(orchestrator.loadModel(caller(), { model: small.name })).rejects.toThrow("can't be loaded");
  });

  it("asks an engine only about those that are listed, unless a query needs what it says", async () => {
    const known = createFakeEngine("ollama", [small, large]);
    const described: string[] = [];
    const engine = createFakeEngine("ollama", [small, large], {
      describe: (name, signal) => (described.push(name), known.describe(name, signal)),
    });
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const { models, total } = await orchestrator.listModels(caller(), { isVerbose: true, limit: 1 });
    expect([models.map(({ name }) => name), total, described]).toEqual([[small.name], 2, [small.name]]);
    const { models: found } = await orchestrator.listModels(caller(), { isVerbose: true, limit: 1, query: "qwen" });
    expect([found.map(({ name }) => name), described]).toEqual([[large.name], [small.name, large.name]]);
  });

  it("knows the last use and the speed after a restart, and the size of a loaded model by its measurement", async () => {
    const documentFiles = createMemoryDocumentFiles();
    const engine = createFakeEngine("ollama", [small, large]);
    engine.answer = () => Promise.resolve({ completionTokens: 100, decodeMs: 5_000 } as object);
    const listed = async ({ orchestrator, caller }: ReturnType<typeof createTestOrchestrator>) => {
      const { models } = await orchestrator.listModels(caller(), { isVerbose: true });
      const { lastUsedAt, tokensPerSecond, loadedBytes } = models.find(({ name }) => name === small.name) ?? {};
      return { lastUsedAt, tokensPerSecond, loadedBytes };
    };
    const first = createTestOrchestrator([engine], { documentFiles });
    await first.generate({ model: small.name });
    const ram = await first.orchestrator.ramStatus(first.caller());
    const before = await listed(first);
    expect(before).toMatchObject({ tokensPerSecond: 20, loadedBytes: ram.loaded[0]?.bytes });
    await first.orchestrator.close();
    const second = createTestOrchestrator([engine], { documentFiles });
    const after = await listed(second);
    expect([after.tokensPerSecond, after.loadedBytes]).toEqual([before.tokensPerSecond, before.loadedBytes]);
    expect(after.lastUsedAt?.slice(0, 13)).toBe(before.lastUsedAt?.slice(0, 13));
  });

  it("keeps the list of an unreachable engine, marked as stale", async () => {
    const engine = createFakeEngine("ollama", [small]);
    let nowMs = 0;
    const { orchestrator, caller } = createTestOrchestrator([engine], { now: () => nowMs });
    await orchestrator.listModels(caller(), {});
    engine.down = new EngineUnreachable("Ollama does not answer");
    nowMs = 60_000;
    const list = await orchestrator.listModels(caller(), {});
    expect(list.models.map((model) => model.name)).toEqual(["llama3.2:3b"]);
    expect(list.stale).toEqual([
      { engine: "ollama", since: "1970-01-01T00:01:00.000Z", message: "Ollama does not answer" },
    ]);
    engine.down = undefined;
    nowMs = 120_000;
    expect((await orchestrator.listModels(caller(), {})).stale).toEqual([]);
  });

  it("marks a single model of an unreachable engine as stale", async () => {
    const engine = createFakeEngine("ollama", [small]);
    let nowMs = 0;
    const { orchestrator, caller } = createTestOrchestrator([engine], { now: () => nowMs });
    expect((await orchestrator.describeModel(caller(), small.name)).staleSince).toBeUndefined();
    engine.down = new EngineUnreachable("Ollama does not answer");
    nowMs = 60_000;
    expect((await orchestrator.describeModel(caller(), small.name)).staleSince).toBe("1970-01-01T00:01:00.000Z");
  });

  it("suggests what to pull if nothing is installed", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [])]);
    const list = await orchestrator.listModels(caller(), {});
    expect(list.models).toEqual([]);
    expect(list.suggestion?.name).toMatch(/:/);
  });

  it("finds by name, filters by capability, and counts before the limit", async () => {
    const embedder = fakeModel("nomic-embed-text:latest", gigabyte, { capabilities: ["embedding"] });
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small, large, embedder])]);
    const names = async (request: object) =>
      (await orchestrator.listModels(caller(), request)).models.map((model) => model.name);
    expect(await names({ query: "QWEN" })).toEqual(["qwen2.5:14b"]);
    expect(await names({ capability: "embedding" })).toEqual(["nomic-embed-text:latest"]);
    const limited = await orchestrator.listModels(caller(), { limit: 1 });
    expect([limited.models.length, limited.total]).toEqual([1, 3]);
  });
});

describe("pullModel", () => {
  it("joins two pulls of one model, and the list shows it at once", async () => {
    const gate = createGate();
    const engine = createFakeEngine("ollama", []);
    const { library } = engine;
    if (library === undefined) throw new Error("the fake engine has a library");
    const pull: typeof library.pull = async (name, report, signal) => {
      await gate.pass(signal);
      return library.pull(name, report, signal);
    };
    const waiting = { ...engine, library: { ...library, pull } };
    const { orchestrator, caller } = createTestOrchestrator([waiting]);
    const first = await orchestrator.pullModel(caller(), { model: "smollm2" });
    const second = await orchestrator.pullModel(caller(), { model: "smollm2:latest" });
    expect(second.id).toBe(first.id);
    const outcome = first.follow(caller().signal);
    await gate.entered;
    const refuses = ["load", "unload", "pin", "delete"];
    expect((await orchestrator.listModels(caller(), {})).models).toMatchObject([
      { name: "smollm2", status: "pulling", refuses },
    ]);
    gate.open();
    expect(await outcome).toMatchObject({ name: "smollm2", engine: "ollama", wasAlreadyPresent: false });
    expect((await orchestrator.listModels(caller(), {})).models.map((model) => model.status)).toEqual(["installed"]);
  });

  it("uses the embedded engine if Ollama does not respond, and installs it first", async () => {
    const ollama = createFakeEngine("ollama", []);
    ollama.down = new EngineUnreachable("no");
    let isInstalled = false;
    const embedded = createFakeEngine("llama-cpp", [], {
      kind: "llama-cpp",
      installation: {
        downloadBytes: 30_000_000,
        isInstalled: () => Promise.resolve(isInstalled),
        install: (report) => {
          report({ message: "installing the embedded engine: 30.0 MB to download" });
          isInstalled = true;
          return Promise.resolve();
        },
      },
    });
    const { orchestrator, caller } = createTestOrchestrator([ollama, embedded]);
    const messages: string[] = [];
    const operation = await orchestrator.pullModel(caller(), { model: "smollm2:135m" });
    const result = await operation.follow(caller().signal, ({ message }) => messages.push(message));
    expect(result.engine).toBe("llama-cpp");
    expect(isInstalled).toBe(true);
    expect(messages[0]).toBe("installing the embedded engine: 30.0 MB to download");
  });

  it("rejects an invalid name or file before an engine is installed", async () => {
    let installs = 0;
    const embedded = createFakeEngine("llama-cpp", [], {
      kind: "llama-cpp",
      installation: {
        downloadBytes: 30_000_000,
        isInstalled: () => Promise.resolve(false),
        install: () => {
          installs += 1;
          return Promise.resolve();
        },
      },
    });
    const { library } = embedded;
    if (library === undefined) throw new Error("the fake has a library");
    const refusing = { ...library, import: () => Promise.reject(new InvalidRequest("/tmp/none.gguf can't be read")) };
    const { orchestrator, caller } = createTestOrchestrator([{ ...embedded, library: refusing }]);
    await expect(orchestrator.pullModel(caller(), { model: "no such name" })).rejects.toThrow("not a model name");
    const operation = await orchestrator.pullModel(caller(), { model: "mine", from: "/tmp/none.gguf" });
    await expect(operation.follow(caller().signal)).rejects.toThrow("can't be read");
    expect(installs).toBe(0);
  });

  it("imports a file into our own store even if Ollama is running", async () => {
    const ollama = createFakeEngine("ollama", []);
    const embedded = createFakeEngine("llama-cpp", [], { kind: "llama-cpp" });
    const { orchestrator, caller } = createTestOrchestrator([ollama, embedded]);
    await (await orchestrator.pullModel(caller(), { model: "mine", from: "/tmp/mine.gguf" })).follow(caller().signal);
    expect(embedded.calls).toEqual(["import /tmp/mine.gguf as mine"]);
  });

  it("rejects an unknown engine with the known ones", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [])]);
    await expect(orchestrator.pullModel(caller(), { model: "x", engine: "olama" })).rejects.toMatchObject({
      next: [{ step: "chooseOneOf", names: ["ollama"] }],
    });
  });
});

describe("loadModel", () => {
  it("rounds the context up to a power of two, and keeps a larger loaded one", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const load = async (contextTokens: number) =>
      (await orchestrator.loadModel(caller(), { model: small.name, contextTokens })).follow(caller().signal);
    expect((await load(5000)).plan.contextTokens).toBe(8192);
    expect((await load(3000)).wasLoaded).toBe(true);
    expect(engine.resident.get(small.name)?.contextTokens).toBe(8192);
  });

  it("reports evictions in a dry run without effects", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine], { memoryBytes: 12.5 * gigabyte });
    await generate({ model: small.name });
    const before = [...engine.calls];
    const plan = await orchestrator.planLoad(caller(), { model: large.name });
    expect(plan).toMatchObject({ fits: true, isLoaded: false, evict: [{ name: small.name, engine: "ollama" }] });
    expect(engine.calls).toEqual(before);
  });

  it("rejects a context beyond the model's window with both numbers", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
    const loading = orchestrator.loadModel(caller(), { model: small.name, contextTokens: 100_000 });
    await expect(loading).rejects.toThrow(
      "a context of 100000 tokens exceeds the window of llama3.2:3b, which has 32768",
    );
  });
});

describe("unloading and deleting", () => {
  it("unloads one or all models and reports what that freed", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    await generate({ model: small.name });
    await generate({ model: large.name });
    expect(await orchestrator.unloadModels(caller(), small.name)).toEqual([
      { name: small.name, engine: "ollama", bytes: 2 * gigabyte, wasPinned: false },
    ]);
    expect(await orchestrator.unloadModels(caller())).toEqual([
      { name: large.name, engine: "ollama", bytes: 9 * gigabyte, wasPinned: false },
    ]);
    expect(await orchestrator.unloadModels(caller())).toEqual([]);
  });

  it("rejects a model that is answering", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    engine.answer = async () => {
      await gate.pass();
      return {};
    };
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    const answer = generate({});
    await gate.entered;
    await expect(orchestrator.unloadModels(caller(), small.name)).rejects.toBeInstanceOf(InvalidRequest);
    await expect(orchestrator.deleteModel(caller(), small.name)).rejects.toThrow(
      "llama3.2:3b is in use and was not deleted",
    );
    await expect(orchestrator.unloadModels(caller())).rejects.toThrow("llama3.2:3b is in use; unloaded: nothing");
    gate.open();
    await answer;
    expect((await orchestrator.deleteModel(caller(), small.name)).name).toBe(small.name);
    expect(engine.calls.slice(-2)).toEqual([`unload ${small.name}`, `remove ${small.name}`]);
  });

  it("rejects an unknown model", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
    await expect(orchestrator.deleteModel(caller(), "nope")).rejects.toBeInstanceOf(UnknownModel);
  });
});
