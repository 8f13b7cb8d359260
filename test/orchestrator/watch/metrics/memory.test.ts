import { expect, test } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../../../support/fake-engine.ts";
import { handClock } from "../../../support/hand-clock.ts";
import { createTestOrchestrator } from "../../../support/orchestrator.ts";

test("the memory is sampled each minute, by family; an engine without models in memory is not asked", async () => {
  const clock = handClock();
  const engine = createFakeEngine("ollama", [
    fakeModel("llama3.2:3b", 2 * gigabyte, { family: "llama" }),
    fakeModel("qwen2.5:7b", 5 * gigabyte, { family: "qwen2" }),
    fakeModel("qwen2.5:3b", 3 * gigabyte, { family: "qwen2" }),
  ]);
  let looks = 0;
  engine.beforeLook = async () => void (looks += 1);
  const startMs = Date.parse("2026-11-23T05:00:00Z");
  const { orchestrator, caller, generate } = createTestOrchestrator([engine], {
    timers: clock,
    now: () => startMs + clock.now(),
    sample: () => ({ sampledAtMs: startMs + clock.now() }),
  });
  const samples = async () => (await orchestrator.metrics.report(caller())).memory;

  clock.advance(60_000);
  await expect.poll(samples).toHaveLength(1);
  expect(looks).toBe(0);
  for (const { name } of engine.models) await generate({ model: name });
  clock.advance(60_000);
  await expect.poll(samples).toEqual([
    { at: "2026-11-23T05:01:00.000Z", availableBytes: 32 * gigabyte, modelBytes: 0, byType: {} },
    {
      at: "2026-11-23T05:02:00.000Z",
      availableBytes: 22 * gigabyte,
      modelBytes: 10 * gigabyte,
      byType: { llama: 2 * gigabyte, qwen2: 8 * gigabyte },
    },
  ]);
  await orchestrator.close();
  const { waiting } = clock;
  clock.advance(600_000);
  expect(clock.waiting).toBeLessThanOrEqual(waiting);
});
