import { afterEach, expect, it } from "vitest";
import { createFakeEngine, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

let connection: MemoryClient | undefined;
afterEach(async () => connection?.close());

/** An assistant beside a machine with this much available, on which models of a size and no metadata lie. */
async function assistantOf(availableGb: number, loaded: Readonly<Record<string, number>>, sizeGb: number) {
  const models = Object.entries({ ...loaded, "qwen3:32b": sizeGb });
  const engine = createFakeEngine(
    "ollama",
    models.map(([name, size]) => fakeModel(name, size * gigabyte)),
  );
  for (const [name, size] of Object.entries(loaded))
    engine.resident.set(name, { name, sizeBytes: size * gigabyte, vramBytes: 0, mappedBytes: 0, contextTokens: 4096 });
  const memory = { bufferBytes: 2 * gigabyte, availableBytes: availableGb * gigabyte };
  connection = await connectMemoryClient(createTestOrchestrator([engine], { settings: { memory } }).orchestrator);
  return { engine, call: connection.call };
}

it.each([
  {
    available: 25.5,
    loaded: {},
    size: 1.4,
    text:
      "qwen3:32b fits: available 25.5 GB, needed 3.4 GB: size 1.4 GB x 1.20 = 1.7 GB, and more than size + buffer " +
      "2.0 GB = 3.4 GB → load qwen3:32b",
    calls: ["load qwen3:32b 4096"],
  },
  {
    available: 25.5,
    loaded: { "qwen3:1.7b": 2 },
    size: 9,
    text:
      "qwen3:32b fits: available 25.5 GB, loaded qwen3:1.7b 2.0 GB, needed 11.0 GB: size 9.0 GB x 1.20 = 10.8 GB, and " +
      "more than size + buffer 2.0 GB = 11.0 GB → load qwen3:32b",
    calls: ["load qwen3:32b 4096"],
  },
  {
    available: 18,
    loaded: { "qwen3:8b": 5.7 },
    size: 19,
    text:
      "qwen3:32b fits: available 18.0 GB, loaded qwen3:8b 5.7 GB, needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and " +
      "more than size + buffer 2.0 GB = 21.0 GB → unload qwen3:8b (5.7 GB) → 23.7 GB free → load qwen3:32b",
    calls: ["unload qwen3:8b", "load qwen3:32b 4096"],
  },
])(
  "$available GB available, $loaded loaded, new $size GB: the dry run says what the load then does",
  async ({ available, loaded, size, text, calls }) => {
    const { engine, call } = await assistantOf(available, loaded, size);
    const planned = await call("smart_load", { model: "qwen3:32b", dry_run: true });
    expect(planned.content).toEqual([{ type: "text", text }]);
    expect(engine.calls).toEqual([]);
    await call("smart_load", { model: "qwen3:32b" });
    expect(engine.calls).toEqual(calls);
  },
);

it.each([
  [12, false],
  [12.1, true],
])("with %d GB available, a model of 10 GB fits: %s, since more than its size and 2 GB must be", async (gb, fits) => {
  const { call } = await assistantOf(gb, {}, 10);
  const planned = await call("smart_load", { model: "qwen3:32b", dry_run: true });
  expect(planned.structuredContent).toMatchObject({ plan: { fits } });
});
