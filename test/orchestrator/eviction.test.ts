import { describe, expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const often = fakeModel("often:3b", 3 * gigabyte);
const once = fakeModel("once:3b", 3 * gigabyte);
const last = fakeModel("last:3b", 3 * gigabyte);
const tiny = fakeModel("tiny:0.5b", gigabyte / 2);

/** Memory for two of the large models; all have the same load time, and nothing else takes time. */
function setup() {
  const engine = createFakeEngine("ollama", [often, once, last, tiny]);
  let nowMs = 0;
  engine.beforeLoad = async () => void (nowMs += 3_000);
  const live = createHandSettings({ memory: { bufferBytes: gigabyte } });
  return { ...createTestOrchestrator([engine], { live, memoryBytes: 9 * gigabyte, now: () => nowMs }), engine };
}

describe("the evicted model", () => {
  it("is the rarely used one, even if it was used last", async () => {
    const { engine, generate } = setup();
    // Alternating, since repeated uses are ignored.
    for (let turn = 0; turn < 5; turn += 1) for (const { name } of [often, tiny]) await generate({ model: name });
    await generate({ model: once.name });
    await generate({ model: last.name });
    expect([...engine.resident.keys()].toSorted()).toEqual([last.name, often.name, tiny.name]);
  });
});
