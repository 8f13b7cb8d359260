import { describe, expect, it } from "vitest";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const day = 86_400_000;
const start = Date.UTC(2026, 0, 1);

/** A machine whose daemon is restarted at a later day. */
function machine(names: readonly string[], settings: object = {}) {
  const documentFiles = createMemoryDocumentFiles();
  const models = names.map((name) => ({ ...fakeModel(name, 1e9), modifiedAt: new Date(start).toISOString() }));
  return (days: number) => {
    const engine = createFakeEngine("ollama", models);
    return createTestOrchestrator([engine], { documentFiles, settings, now: () => start + days * day });
  };
}

describe("unused models", () => {
  it("are known across restarts, by the last use of each", async () => {
    const at = machine(["a:1b", "b:1b", "c:1b"]);
    const first = at(0);
    await first.generate({ prompt: "Hi", model: "a:1b" });
    expect((await first.orchestrator.metrics.advice(first.caller())).unused).toEqual([]);
    await first.orchestrator.close();
    const second = at(20);
    await second.generate({ prompt: "Hi", model: "b:1b" });
    await second.orchestrator.close();
    const third = at(35);
    const { found, unused } = await third.orchestrator.metrics.advice(third.caller());
    expect(unused.map(({ name, unusedDays }) => [name, unusedDays])).toEqual([
      ["a:1b", 35],
      ["b:1b", 15],
      ["c:1b", 35],
    ]);
    expect(found.map(({ text }) => text)).toEqual([
      "2 models were not used for 30 days and take 2.0 GB on disk: a:1b, c:1b",
    ]);
    await third.orchestrator.close();
  });

  it("are never those that are loaded, pinned, or named in settings, profiles and the project", async () => {
    const all = ["loaded", "pinned", "default", "task", "profile", "fallback", "own", "preload", "project", "left"];
    const at = machine(
      all.map((name) => `${name}:1b`),
      {
        model: {
          default: "default:1b",
          routing: { overrides: { code: "task:1b" } },
          keepAlive: { models: ["pinned*"], preload: ["preload:1b"] },
        },
        profiles: { mine: { models: ["profile:1b"], fallback: ["fallback:1b"] } },
        models: { "own:1b": { keepAlive: 60 }, "*": { keepAlive: 600 } },
      },
    );
    const before = at(0);
    await before.generate({ prompt: "Hi", model: "left:1b" });
    await before.orchestrator.close();
    const { orchestrator, caller, generate } = at(100);
    await generate({ prompt: "Hi", model: "loaded:1b" });
    const project = { folder: "/p", evidence: [], isTrusted: true, settings: { model: "project:1b" }, notes: [] };
    const unused = async (change?: Parameters<typeof caller>[0]) =>
      (await orchestrator.metrics.advice(caller(change))).unused.map(({ name }) => name).toSorted();
    expect(await unused({ project })).toEqual(["left:1b"]);
    expect(await unused()).toEqual(["left:1b", "project:1b"]);
    await orchestrator.close();
  });
});
