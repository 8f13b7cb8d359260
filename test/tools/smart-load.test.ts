import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator, doneOperation, plan } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("smart_load", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("loads, and shows the plan when something had to go", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const input = { model: "qwen2.5-coder:7b", context_tokens: 8192, keep_alive: "10m" };
    expect(await connection.call("smart_load", input)).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "Loaded qwen2.5-coder:7b in 812 ms, evicted smollm2:135m",
            "type": "text",
          },
        ],
        "structuredContent": {
          "load_ms": 812,
          "loaded": true,
          "model": "qwen2.5-coder:7b",
          "plan": {
            "context_tokens": 8192,
            "evict": [
              {
                "bytes": 700000000,
                "name": "smollm2:135m",
              },
            ],
            "fits": true,
            "free_bytes": 6900000000,
            "needed_bytes": 7400000000,
            "predicted_bytes": 5100000000,
            "steps": [
              "available 6.9 GB, loaded smollm2:135m 700.0 MB",
              "needed 7.4 GB: predicted 5.1 GB (computed) + margin 255.0 MB + buffer 2.0 GB",
              "unload smollm2:135m (700.0 MB)",
              "7.6 GB free",
              "load qwen2.5-coder:7b",
            ],
          },
        },
      }
    `);
    expect(orchestrator.asked).toEqual([
      ["loadModel", { model: "qwen2.5-coder:7b", contextTokens: 8192, keepAliveSeconds: 600 }],
    ]);
  });

  it("is brief when nothing had to go", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        loadModel: async () =>
          doneOperation({
            model: "smollm2:135m",
            engine: "llama-cpp",
            loadMs: 90,
            wasLoaded: false,
            plan: { ...plan, evict: [] },
          }),
      }),
    );
    expect(await connection.call("smart_load", { model: "smollm2:135m" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "Loaded smollm2:135m in 90 ms",
            "type": "text",
          },
        ],
        "structuredContent": {
          "load_ms": 90,
          "loaded": true,
          "model": "smollm2:135m",
        },
      }
    `);
  });

  it.each([
    [
      "was loaded already",
      { loadMs: 0, wasLoaded: true, plan: { ...plan, evict: [] } },
      "qwen2.5-coder:7b is already loaded",
    ],
    [
      "had too little context, which is no eviction of another",
      {
        loadMs: 812,
        wasLoaded: false,
        plan: { ...plan, evict: [{ name: "qwen2.5-coder:7b", engine: "ollama", bytes: 5 }] },
      },
      "Reloaded qwen2.5-coder:7b with more context in 812 ms",
    ],
  ])("says so when the model %s", async (_case, result, text) => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        loadModel: async () => doneOperation({ model: "qwen2.5-coder:7b", engine: "ollama", ...result }),
      }),
    );
    const answer = await connection.call("smart_load", { model: "qwen2.5-coder:7b" });
    expect(answer.content).toEqual([{ type: "text", text }]);
  });

  it("reports the reload of a model that needs more context", async () => {
    const evict = [{ name: "qwen2.5-coder:7b", engine: "ollama", bytes: 4_700_000_000 }];
    const steps = [
      "available 6.9 GB",
      "needed 7.4 GB: predicted 5.1 GB (computed) + margin 255.0 MB + buffer 2.0 GB",
      "unload qwen2.5-coder:7b (4.7 GB) to load it with more context",
      "11.6 GB free",
      "load qwen2.5-coder:7b",
    ];
    connection = await connectMemoryClient(
      createFakeOrchestrator({ planLoad: async () => ({ ...plan, evict, steps }) }),
    );
    const answer = await connection.call("smart_load", { model: "qwen2.5-coder:7b", dry_run: true });
    const text =
      "qwen2.5-coder:7b fits: available 6.9 GB, needed 7.4 GB → unload qwen2.5-coder:7b (4.7 GB) to load it with more " +
      "context → 11.6 GB free → load qwen2.5-coder:7b";
    expect(answer.content).toEqual([{ type: "text", text }]);
  });

  it("plans nothing for a model that is loaded", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        planLoad: async () => ({ ...plan, isLoaded: true, neededBytes: 0, evict: [], steps: ["nothing to do"] }),
      }),
    );
    const answer = await connection.call("smart_load", { model: "qwen2.5-coder:7b", dry_run: true });
    expect(answer.content).toEqual([{ type: "text", text: "qwen2.5-coder:7b is already loaded" }]);
  });

  it("plans nothing for a cloud model, and says so", async () => {
    const steps = ["gpt-oss:120b-cloud is a cloud model: it uses no memory on this machine"];
    const estimate = { method: "configured" as const, predictedBytes: 0, margin: 0, processBytes: 0 };
    connection = await connectMemoryClient(
      createFakeOrchestrator({ planLoad: async () => ({ ...plan, estimate, neededBytes: 0, evict: [], steps }) }),
    );
    const answer = await connection.call("smart_load", { model: "gpt-oss:120b-cloud", dry_run: true });
    expect(answer.content).toEqual([{ type: "text", text: steps[0] }]);
  });

  it("shows the placement of a load on a machine with graphics cards, and why the machine is slow", async () => {
    const placement = { ramBytes: 1e9, vramBytes: 4e9, cards: [{ name: "RTX", bytes: 4e9 }] };
    const warnings = ["3.0 GB of 8.0 GB swap in use"];
    connection = await connectMemoryClient(
      createFakeOrchestrator({ planLoad: async () => ({ ...plan, placement, warnings }) }),
    );
    const answer = await connection.call("smart_load", { model: "qwen2.5-coder:7b", dry_run: true });
    expect(answer.structuredContent).toMatchObject({
      plan: { placement: { ram_bytes: 1e9, vram_bytes: 4e9, cards: [{ name: "RTX", bytes: 4e9 }] }, warnings },
    });
    expect(JSON.stringify(answer.content)).toContain("load qwen2.5-coder:7b; 3.0 GB of 8.0 GB swap in use");
  });

  it("shows in numbers and words what has to go, and both rules where only the size is known", async () => {
    const steps = [
      "available 18.0 GB, loaded qwen3:8b 5.7 GB",
      "needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and more than size + buffer 2.0 GB = 21.0 GB",
      "unload qwen3:8b (5.7 GB)",
      "23.7 GB free",
      "load qwen3:32b",
    ];
    const estimate = { ...plan.estimate, method: "size_rule" as const };
    const planned = { ...plan, estimate, model: "qwen3:32b", neededBytes: 22.8e9, freeBytes: 18e9, steps };
    connection = await connectMemoryClient(createFakeOrchestrator({ planLoad: async () => planned }));
    const answer = await connection.call("smart_load", { model: "qwen3:32b", dry_run: true });
    const text =
      "qwen3:32b fits: available 18.0 GB, loaded qwen3:8b 5.7 GB, needed 22.8 GB: size 19.0 GB x 1.20 = 22.8 GB, and " +
      "more than size + buffer 2.0 GB = 21.0 GB → unload qwen3:8b (5.7 GB) → 23.7 GB free → load qwen3:32b";
    expect(answer.content).toEqual([{ type: "text", text }]);
    expect(answer.structuredContent).toMatchObject({ plan: { steps } });
  });

  it("returns neither a verdict nor numbers if memory was not measured", async () => {
    const steps = ["the memory of box is on another machine and not measured"];
    connection = await connectMemoryClient(createFakeOrchestrator({ planLoad: async () => ({ ...plan, steps }) }));
    const answer = await connection.call("smart_load", { model: "qwen2.5-coder:7b", dry_run: true });
    expect(answer.content).toEqual([{ type: "text", text: `qwen2.5-coder:7b: ${steps[0]}` }]);
  });

  it("plans without loading for dry_run", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    expect(await connection.call("smart_load", { model: "qwen2.5-coder:7b", dry_run: true })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b fits: available 6.9 GB, loaded smollm2:135m 700.0 MB, needed 7.4 GB → unload smollm2:135m (700.0 MB) → 7.6 GB free → load qwen2.5-coder:7b",
            "type": "text",
          },
        ],
        "structuredContent": {
          "engine": "ollama",
          "loaded": false,
          "margin": 0.05,
          "method": "computed",
          "model": "qwen2.5-coder:7b",
          "parts": {
            "cache": 400000000,
            "compute": 300000000,
            "process": 100000000,
            "weights": 4400000000,
          },
          "plan": {
            "context_tokens": 8192,
            "evict": [
              {
                "bytes": 700000000,
                "name": "smollm2:135m",
              },
            ],
            "fits": true,
            "free_bytes": 6900000000,
            "needed_bytes": 7400000000,
            "predicted_bytes": 5100000000,
            "steps": [
              "available 6.9 GB, loaded smollm2:135m 700.0 MB",
              "needed 7.4 GB: predicted 5.1 GB (computed) + margin 255.0 MB + buffer 2.0 GB",
              "unload smollm2:135m (700.0 MB)",
              "7.6 GB free",
              "load qwen2.5-coder:7b",
            ],
          },
        },
      }
    `);
    expect(orchestrator.asked.map(([method]) => method)).toEqual(["planLoad"]);
  });
});
