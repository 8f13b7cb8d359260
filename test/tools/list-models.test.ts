import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator, qwen, smollm } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("list_models", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("shows name, engine, size, state and fit of each model", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await connection.call("list_models")).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b (ollama, 4.7 GB)
      smollm2:135m (llama-cpp, 270.9 MB, loaded)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "models": [
            {
              "engine": "ollama",
              "name": "qwen2.5-coder:7b",
              "size_bytes": 4683087332,
            },
            {
              "engine": "llama-cpp",
              "is_loaded": true,
              "name": "smollm2:135m",
              "size_bytes": 270898672,
            },
          ],
          "total": 2,
        },
      }
    `);
  });

  it("adds facts and figures when asked", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    const result = await connection.call("list_models", { verbose: true });
    expect(result.structuredContent).toMatchInlineSnapshot(`
      {
        "models": [
          {
            "capabilities": [
              "completion",
              "tools",
              "insert",
            ],
            "context_tokens": 32768,
            "engine": "ollama",
            "family": "qwen2",
            "fit": {
              "free_bytes": 9200000000,
              "margin": 0.05,
              "method": "computed",
              "needed_bytes": 7400000000,
              "predicted_bytes": 5100000000,
            },
            "fits": true,
            "is_loaded": false,
            "modified_at": "2026-11-01T10:00:00Z",
            "name": "qwen2.5-coder:7b",
            "parameter_size": "7.6B",
            "profiles": [
              "code",
            ],
            "quantization": "Q4_K_M",
            "size_bytes": 4683087332,
            "status": "installed",
            "tokens_per_second": 18.4,
          },
          {
            "engine": "llama-cpp",
            "fits": true,
            "is_loaded": true,
            "name": "smollm2:135m",
            "size_bytes": 270898672,
            "status": "loaded",
          },
        ],
        "total": 2,
      }
    `);
  });

  it("hands every filter on", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    await connection.call("list_models", {
      query: "qwen",
      capability: "vision",
      engine: "ollama",
      loaded_only: true,
      verbose: true,
      limit: 3,
    });
    expect(orchestrator.asked).toEqual([
      [
        "listModels",
        { query: "qwen", capability: "vision", engine: "ollama", isLoadedOnly: true, isVerbose: true, limit: 3 },
      ],
    ]);
  });

  it("suggests a model to pull if there is none", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        listModels: async () => ({
          models: [],
          total: 0,
          stale: [],
          suggestion: {
            name: "qwen3:4b",
            reason: "2.6 GB, fits the 9.2 GB that are free",
            alternatives: [
              { kind: "quick", name: "qwen3:0.6b", reason: "0.5 GB" },
              { kind: "vision", name: "gemma4:e2b", reason: "7.2 GB" },
            ],
          },
        }),
      }),
    );
    expect(await connection.call("list_models")).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "No models yet. Call pull_model with model "qwen3:4b": 2.6 GB, fits the 9.2 GB that are free
      Quicker: qwen3:0.6b (0.5 GB)
      Reads images: gemma4:e2b (7.2 GB)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "models": [],
          "suggestion": {
            "model": "qwen3:4b",
            "reason": "2.6 GB, fits the 9.2 GB that are free
      Quicker: qwen3:0.6b (0.5 GB)
      Reads images: gemma4:e2b (7.2 GB)",
          },
          "total": 0,
        },
      }
    `);
  });

  it("doesn't say what a model needs that is loaded already", async () => {
    const fit = { predictedBytes: 5.1e9, neededBytes: 0, freeBytes: 9.2e9, method: "computed" as const, margin: 0.05 };
    const models = [{ ...qwen, isLoaded: true, status: "loaded" as const, fit, loadedBytes: 4.9e9, timedTokens: 240 }];
    connection = await connectMemoryClient(
      createFakeOrchestrator({ listModels: async () => ({ models, total: 1, stale: [] }) }),
    );
    const { content } = await connection.call("list_models", { verbose: true });
    expect(JSON.stringify(content)).toContain("profiles code; uses 4.9 GB; 18.4 tokens/s (of 240 tokens)");
  });

  it("names the engines that don't respond if there is no model, since they may have some", async () => {
    const down = "Ollama does not answer at 127.0.0.1:1 (ECONNREFUSED)";
    const suggestion = { name: "qwen3:4b", reason: "2.6 GB", alternatives: [] };
    const listModels = async () => ({ models: [], total: 0, stale: [], suggestion, unreachable: [down] });
    connection = await connectMemoryClient(createFakeOrchestrator({ listModels }));
    const answer = await connection.call("list_models");
    expect(answer.structuredContent).toMatchObject({ unreachable: [down] });
    expect(answer.content).toEqual([
      { type: "text", text: `${down}\nNo other engine has a model. Call pull_model with model "qwen3:4b": 2.6 GB` },
    ]);
  });

  it("shows where a cloud model runs instead of a size that it doesn't have", async () => {
    const cloud = { ...qwen, name: "gpt-oss:120b-cloud", sizeBytes: 0, trust: "remote" as const };
    connection = await connectMemoryClient(
      createFakeOrchestrator({ listModels: async () => ({ models: [cloud], total: 1, stale: [] }) }),
    );
    const { content } = await connection.call("list_models");
    expect(content).toEqual([{ type: "text", text: "gpt-oss:120b-cloud (ollama, runs in the cloud)" }]);
  });

  it("shows the size of a model on another machine, unlike that of a cloud model", async () => {
    const lan = { ...qwen, name: "mistral:7b", engine: "ollama-2", sizeBytes: 4_100_000_000, isLoaded: true };
    const models = [lan, { ...lan, isLoaded: false }].map((model) => ({ ...model, trust: "remote" as const }));
    connection = await connectMemoryClient(
      createFakeOrchestrator({ listModels: async () => ({ models, total: 2, stale: [] }) }),
    );
    const { content } = await connection.call("list_models");
    expect(content).toEqual([
      {
        type: "text",
        text: "mistral:7b (ollama-2, 4.1 GB, loaded, on another machine)\nmistral:7b (ollama-2, 4.1 GB, on another machine)",
      },
    ]);
  });

  it("marks models of an engine that is down, and counts what the limit left out", async () => {
    connection = await connectMemoryClient(
      createFakeOrchestrator({
        listModels: async () => ({
          models: [qwen, { ...smollm, isLoaded: false, status: "error", error: "file is truncated", fits: false }],
          total: 7,
          stale: [{ engine: "ollama", since: "2026-11-21T11:00:00Z", message: "connection refused" }],
        }),
      }),
    );
    expect(await connection.call("list_models")).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b (ollama, 4.7 GB, engine down since 2026-11-21T11:00:00Z)
      smollm2:135m (llama-cpp, 270.9 MB, error, does not fit, file is truncated)
      5 more; raise limit or use query.",
            "type": "text",
          },
        ],
        "structuredContent": {
          "models": [
            {
              "engine": "ollama",
              "name": "qwen2.5-coder:7b",
              "size_bytes": 4683087332,
              "stale_since": "2026-11-21T11:00:00Z",
            },
            {
              "engine": "llama-cpp",
              "error": "file is truncated",
              "fits": false,
              "name": "smollm2:135m",
              "size_bytes": 270898672,
              "status": "error",
            },
          ],
          "total": 7,
        },
      }
    `);
  });

  it.each(["legacy", "modern"] as const)(
    "says the facts and figures in the text too, a line a model (%s)",
    async (era) => {
      const orchestrator = createFakeOrchestrator();
      connection = await connectMemoryClient(orchestrator, { era });
      const { content } = await connection.call("list_models", { verbose: true });
      expect(content).toMatchInlineSnapshot(`
        [
          {
            "text": "qwen2.5-coder:7b (ollama, 4.7 GB, installed): qwen2 7.6B Q4_K_M; context 32768; can completion, tools, insert; profiles code; needs 5.1 GB, 2.3 GB stay free (computed, ±5 %), 9.2 GB available; 18.4 tokens/s; modified 2026-11-01T10:00:00Z
        smollm2:135m (llama-cpp, 270.9 MB, loaded)",
            "type": "text",
          },
        ]
      `);
    },
  );
});
