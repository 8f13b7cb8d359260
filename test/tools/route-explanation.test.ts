import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator, doneOperation, generated, routePlan } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("route_and_generate explains its choice", () => {
  let connection: MemoryClient | undefined;
  afterEach(() => connection?.close());

  it("in a dry run, without generating", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const result = await connection.call("route_and_generate", { prompt: "Write a parser", dry_run: true });
    expect(result).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "qwen2.5-coder:7b fits: needs 7.4 GB, free 6.9 GB, evicts smollm2:135m; code model that fits
      task general: nothing points to another task; profile general
      considered:
      1. smollm2:135m on llama-cpp: 3.3 s (loaded, of the profile, merit 4.1, 0.13 billion parameters; load 0 + prompt 0.1 + answer 3.3 s, measured)
      - nomic-embed-text on ollama: no completion
      options: max_tokens 100 (models.smollm2*)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "engine": "ollama",
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
          "reason": "code model that fits",
          "route": {
            "attempts": [
              {
                "engine": "llama-cpp",
                "model": "smollm2:135m",
                "outcome": "answered",
              },
            ],
            "because": "nothing points to another task",
            "considered": [
              {
                "engine": "llama-cpp",
                "expected_seconds": 3.3,
                "model": "smollm2:135m",
                "terms": "loaded, of the profile, merit 4.1, 0.13 billion parameters; load 0 + prompt 0.1 + answer 3.3 s, measured",
              },
              {
                "engine": "ollama",
                "model": "nomic-embed-text",
                "rejected": "no completion",
              },
            ],
            "options": [
              "max_tokens 100 (models.smollm2*)",
            ],
            "profile": "general",
            "task": "general",
          },
        },
      }
    `);
    expect(orchestrator.asked.map(([method]) => method)).toEqual(["planGeneration"]);
  });

  it("names at most eight of the models considered in the text", async () => {
    const considered = Array.from({ length: 11 }, (_unused, index) => ({ model: `m${index}`, engine: "ollama" }));
    const route = { ...generated.route, considered };
    const generate = async () => doneOperation({ ...generated, route });
    connection = await connectMemoryClient(createFakeOrchestrator({ generate }));
    const { content, structuredContent } = await connection.call("route_and_generate", { prompt: "Hi", explain: true });
    expect(content[1]).toMatchObject({
      text: expect.stringMatching(/considered:\n1\. m0 on ollama\n(?:.*\n){6}8\. m7 on ollama\n3 more\n/),
    });
    expect((structuredContent as { route: { considered: unknown[] } }).route.considered).toHaveLength(11);
  });

  it("says of a plan what would be lowered, and ranks what was considered", async () => {
    const notes = ["answer limited to 8192 tokens instead of 9000: the window of qwen2.5-coder:7b has 8192"];
    const planGeneration = async () => ({ ...routePlan, notes });
    connection = await connectMemoryClient(createFakeOrchestrator({ planGeneration }));
    const { content, structuredContent } = await connection.call("route_and_generate", {
      prompt: "Hi",
      dry_run: true,
    });
    expect(structuredContent).toMatchObject({ notes });
    const lines = content.flatMap((block) => (block.type === "text" ? block.text.split("\n") : []));
    expect(lines.slice(1)).toEqual([
      `note: ${notes[0]}`,
      expect.stringMatching(/^task \w+: /),
      "considered:",
      expect.stringMatching(/^1\. /),
      expect.stringMatching(/^- /),
      "options: max_tokens 100 (models.smollm2*)",
    ]);
  });
});
