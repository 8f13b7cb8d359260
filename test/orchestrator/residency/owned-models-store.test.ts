import { describe, expect, it } from "vitest";
import type { DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createHandSettings } from "../../support/hand-settings.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { settle, slowTime, simulateKeepAlive } from "../../support/slow-time.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const minute = 60_000;
const answers = { ofPull: () => ({}), ofBatch: () => ({}), ofError: () => "" };

function filesInMemory(texts: Map<string, string>) {
  const files = createMemoryDocumentFiles(texts);
  const asked: string[] = [];
  const read: DocumentFiles["read"] = (name) => {
    asked.push(name);
    return files.read(name);
  };
  return { ...files, asked, read };
}

/** An engine that outlives its daemons. */
function setup() {
  const texts = new Map<string, string>();
  const engine = createFakeEngine("ollama", [small]);
  const time = slowTime();
  const keepAlive = simulateKeepAlive(engine, time.now);
  /** `onDisk`: the files of a killed daemon. */
  async function daemon(onDisk = texts) {
    const files = filesInMemory(onDisk);
    const harness = createTestOrchestrator([engine], {
      live: createHandSettings({ memory: { bufferBytes: gigabyte } }),
      now: time.now,
      timers: time.timers,
      documentFiles: files,
    });
    files.asked.length = 0;
    await harness.orchestrator.resume(answers);
    // The document module is loaded on first use.
    await expect.poll(() => files.asked).toContain("loads.journal");
    await settle();
    const load = async () =>
      (await harness.orchestrator.loadModel(harness.caller(), { model: small.name })).follow(harness.caller().signal);
    return { ...harness, load };
  }
  return { engine, time, keepAlive, daemon, texts };
}

describe("the saved models", () => {
  it("are not written again with each answer of models that alternate", async () => {
    const names = ["qwen3:4b", "qwen3:8b", "gemma3:4b"];
    const engine = createFakeEngine(
      "ollama",
      names.map((name) => fakeModel(name, gigabyte)),
    );
    const time = slowTime();
    const { residency } = engine;
    const original = residency?.load;
    // Keep-alives depend on the load times.
    Object.assign(residency ?? {}, {
      load: (...asked: Parameters<NonNullable<typeof residency>["load"]>) => {
        time.timers.advance(4_000);
        return original?.(...asked);
      },
    });
    const texts = new Map<string, string>();
    const files = createMemoryDocumentFiles(texts);
    let writes = 0;
    const { orchestrator, generate } = createTestOrchestrator([engine], {
      live: createHandSettings({ memory: { bufferBytes: gigabyte } }),
      now: time.now,
      timers: time.timers,
      documentFiles: {
        ...files,
        append(name, text) {
          if (name === "loads.journal") writes += 1;
          return files.append(name, text);
        },
      },
    });
    await orchestrator.resume(answers);
    const keepAlives = new Set<number | undefined>();
    const takeTurns = async (rounds: number) => {
      for (let turn = 0; turn < rounds * names.length; turn += 1) {
        const model = names[turn % names.length] ?? "";
        await generate({ model });
        keepAlives.add(engine.keepAlives.get(model));
        await settle();
      }
    };
    await takeTurns(4);
    const before = writes;
    expect(before).toBeGreaterThan(0);
    keepAlives.clear();
    await takeTurns(4);
    expect(keepAlives.size).toBeGreaterThan(names.length);
    expect(writes - before).toBeLessThanOrEqual(1);
    await orchestrator.close();
  });
});

describe("a model that a daemon left in memory", () => {
  it("is unpinned by the next daemon", async () => {
    const { engine, time, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.setPinned(first.caller(), small.name, true);
    // Like a daemon that hands over or is killed, it unloads nothing.
    await first.orchestrator.close();
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    await time.pass(minute);
    const second = await daemon();
    expect(engine.keepAlives.get(small.name)).toBe(900);
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.resident.size).toBe(0);
  });

  it("is found by the address of its engine even if the id has changed", async () => {
    const { engine, time, daemon } = setup();
    Object.assign(engine, { id: "ollama-3", address: "http://box" });
    const first = await daemon();
    await first.load();
    await first.orchestrator.close();
    Object.assign(engine, { id: "ollama-2" });
    await time.pass(minute);
    const second = await daemon();
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.resident.size).toBe(0);
  });

  it("is unloaded when the next daemon exits", async () => {
    const { engine, time, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.close();
    await time.pass(10 * minute);
    const second = await daemon();
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.calls).toEqual([`load ${small.name} 4096`, `unload ${small.name}`]);
  });

  it("is unloaded when the next daemon exits even after polls: no other program has used it", async () => {
    const { engine, time, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.close();
    await time.pass(10 * minute);
    const second = await daemon();
    await time.pass(minute);
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.calls).toEqual([`load ${small.name} 4096`, `unload ${small.name}`]);
  });

  it("is taken over however long a killed daemon used it after its load", async () => {
    const { engine, time, daemon, texts } = setup();
    const first = await daemon();
    for (let uses = 0; uses < 9; uses += 1) {
      await first.generate({ model: small.name });
      await time.pass(8 * minute);
    }
    const whenKilled = new Map(texts);
    await first.orchestrator.close();
    const second = await daemon(whenKilled);
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.calls.filter((call) => !call.startsWith("generate"))).toEqual([
      `load ${small.name} 4096`,
      `unload ${small.name}`,
    ]);
  });

  it("is taken over by a later daemon if its engine doesn't respond at the start", async () => {
    const { engine, time, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.setPinned(first.caller(), small.name, true);
    await first.orchestrator.close();
    engine.down = new EngineUnreachable("busy");
    const second = await daemon();
    await time.pass(minute);
    await second.orchestrator.close();
    engine.down = undefined;
    await daemon();
    expect(engine.keepAlives.get(small.name)).toBe(900);
  });

  it("is not taken over if another program has set its keep-alive since", async () => {
    const { engine, time, keepAlive, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.close();
    await time.pass(minute);
    keepAlive.touch(small.name, -1);
    const second = await daemon();
    const calls = engine.calls.length;
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.calls.slice(calls)).toEqual([]);
    expect(engine.keepAlives.get(small.name)).toBe(-1);
  });

  it("is not taken over if another program loaded it after its keep-alive had ended", async () => {
    const { engine, time, keepAlive, daemon } = setup();
    const first = await daemon();
    await first.load();
    await first.orchestrator.close();
    await time.pass(60 * minute);
    keepAlive.touch(small.name, 300);
    const second = await daemon();
    await second.orchestrator.close({ unloadsOwned: true });
    expect(engine.calls).toEqual([`load ${small.name} 4096`]);
  });
});
