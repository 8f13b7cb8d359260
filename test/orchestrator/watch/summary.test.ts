import { setImmediate as delivered } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { parseSummary } from "../../../src/orchestrator/storage/summary-file.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { handClock } from "../../support/hand-clock.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const file = "summary.json";

function setup(texts = new Map<string, string>()) {
  const timers = handClock();
  const engine = createFakeEngine("ollama", [
    fakeModel("large:8b", 5 * gigabyte),
    fakeModel("small:1b", gigabyte),
    fakeModel("embed:latest", gigabyte, { capabilities: ["embedding"] }),
    fakeModel("far:cloud", 0, { trust: "remote" }),
  ]);
  const cloud = createFakeEngine("ollama-2", [fakeModel("elsewhere:7b", gigabyte)], { trust: "remote" });
  const files = createMemoryDocumentFiles(texts);
  const replace = vi.spyOn(files, "replace");
  const test = createTestOrchestrator([engine, cloud], { documentFiles: files, timers });
  engine.answer = () => Promise.resolve({ completionTokens: 101, decodeMs: 4_000 });
  const models = () => {
    const text = texts.get(file);
    return text === undefined ? undefined : parseSummary(text);
  };
  const writes = () => replace.mock.calls.filter(([name]) => name === file).length;
  const names = () => models()?.map(({ name }) => name);
  return { ...test, engine, timers, models, names, writes };
}

describe("the summary of the models in the home", () => {
  it("has local models that generate text, those that were used first, and their speed", async () => {
    const { orchestrator, caller, generate, timers, models, names, writes } = setup();
    await orchestrator.listModels(caller(), {});
    expect(models()).toBeUndefined();
    await delivered();
    timers.advance(3_000);
    await vi.waitFor(() => expect(names()).toEqual(["large:8b", "small:1b"]));
    await generate({ model: "small:1b" });
    // Several changes are written together.
    await generate({ model: "small:1b" });
    await delivered();
    timers.advance(3_000);
    await vi.waitFor(() => expect(names()).toEqual(["small:1b", "large:8b"]));
    expect(models()).toEqual([
      { name: "small:1b", digest: "small:1b", tokensPerSecond: 25 },
      { name: "large:8b", digest: "large:8b" },
    ]);
    expect(writes()).toBe(2);
  });

  it("is not written again for nothing, nor for a speed that hardly differs", async () => {
    const { orchestrator, caller, engine, generate, timers, writes } = setup();
    await generate({ model: "small:1b" });
    await delivered();
    timers.advance(3_000);
    await vi.waitFor(() => expect(writes()).toBe(1));
    engine.answer = () => Promise.resolve({ completionTokens: 105, decodeMs: 4_000 });
    await generate({ model: "small:1b" });
    await orchestrator.listModels(caller(), {});
    await delivered();
    timers.advance(3_000);
    await orchestrator.close();
    expect(writes()).toBe(1);
  });

  it("follows a pull, and is written at the latest when the daemon ends", async () => {
    const { orchestrator, caller, names } = setup();
    const pull = await orchestrator.pullModel(caller(), { model: "new:3b" });
    await pull.follow(caller().signal);
    await orchestrator.listModels(caller(), {});
    await orchestrator.close();
    expect(names()).toContain("new:3b");
  });

  it("does not claim that there is no model when the daemon ends right after the first pull", async () => {
    const { orchestrator, caller, engine, timers, models, writes } = setup();
    engine.models.splice(0);
    await orchestrator.listModels(caller(), {});
    await delivered();
    timers.advance(3_000);
    await vi.waitFor(() => expect(models()).toEqual([]));
    const pull = await orchestrator.pullModel(caller(), { model: "new:3b" });
    await pull.follow(caller().signal);
    await orchestrator.close();
    expect([models(), writes()]).toEqual([undefined, 2]);
  });

  it("keeps the speeds of earlier daemons, but not for other weights under the same name", async () => {
    const before = [
      { name: "small:1b", digest: "small:1b", tokensPerSecond: 25 },
      { name: "large:8b", digest: "older weights", tokensPerSecond: 7 },
    ];
    const { orchestrator, caller, models } = setup(new Map([[file, JSON.stringify({ models: before })]]));
    await orchestrator.listModels(caller(), {});
    await orchestrator.close();
    expect(models()).toEqual([before[0], { name: "large:8b", digest: "large:8b" }]);
  });

  it("keeps the models of an engine that does not respond apart, until it does", async () => {
    const { orchestrator, generate, timers, models, names } = setup();
    await generate({ model: "small:1b" });
    await delivered();
    timers.advance(3_000);
    await vi.waitFor(() => expect(names()).toEqual(["small:1b", "large:8b"]));
    const texts = new Map([[file, JSON.stringify({ models: models() })]]);
    await orchestrator.close();

    const later = setup(texts);
    later.engine.down = new Error("refused");
    await later.orchestrator.listModels(later.caller(), {});
    await delivered();
    later.timers.advance(3_000);
    await vi.waitFor(() => expect(later.models()?.map(({ isAway }) => isAway)).toEqual([true, true]));
    expect(later.models()?.[0]).toMatchObject({ name: "small:1b", tokensPerSecond: 25 });
    later.engine.down = undefined;
    later.engine.models.splice(0, 1);
    await later.orchestrator.wokeUp();
    await later.orchestrator.listModels(later.caller(), {});
    await delivered();
    later.timers.advance(3_000);
    // The deleted one is gone.
    await vi.waitFor(() =>
      expect(later.models()).toEqual([{ name: "small:1b", digest: "small:1b", tokensPerSecond: 25 }]),
    );
  });

  it.each(["", "{", '{"models":[{"name":1}]}', "null"])("replaces a damaged file: %s", async (text) => {
    const { orchestrator, caller, names } = setup(new Map([[file, text]]));
    await orchestrator.listModels(caller(), {});
    await orchestrator.close();
    expect(names()).toEqual(["large:8b", "small:1b"]);
  });
});
