import { describe, expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestBrain } from "../support/orchestrator.ts";

const often = fakeModel("often:3b", 3 * gigabyte);
const once = fakeModel("once:3b", 3 * gigabyte);
const last = fakeModel("last:3b", 3 * gigabyte);

/** Memory for two of the three. */
function place() {
  const engine = createFakeEngine("ollama", [often, once, last]);
  const live = createHandSettings({ memory: { bufferBytes: gigabyte } });
  return { ...createTestBrain([engine], { live, memoryBytes: 8 * gigabyte }), engine };
}

describe("what makes room", () => {
  it("is the model that is seldom asked, though it was used last", async () => {
    const { engine, generate } = place();
    for (let turn = 0; turn < 6; turn += 1) {
      await generate({ model: often.name });
      if (turn === 4) await generate({ model: once.name });
    }
    await generate({ model: once.name });
    await generate({ model: last.name });
    expect([...engine.resident.keys()].toSorted()).toEqual([last.name, often.name]);
  });
});
