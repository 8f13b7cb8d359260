import { afterEach, describe, expect, it } from "vitest";
import type { Advice } from "../../src/orchestrator/api/facade-status.ts";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("system_status", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("shows memory, loaded models, queue, engines and warnings", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await connection.call("system_status")).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "9.2 GB of 16.0 GB available, swap 500.0 MB
      loaded: smollm2:135m 700.0 MB
      queue: smollm2:135m: 1 running, 2 waiting
      running: pull qwen3:4b: downloading
      ollama: ok, 1 model
      ollama: connections: 2 of 10, 1 for answers; 92 % of 40 requests reused a connection
      llama-cpp: not installed, 0 models; not installed yet
      privacy: local only. No prompt has left this machine since 1 November 2026
      dashboard: \`ollm dashboard\`
      swap is in use: 500 MB
      OLLM_MODLE is not a setting; did you mean OLLM_MODEL?",
            "type": "text",
          },
        ],
        "structuredContent": {
          "engines": [
            {
              "health": "ok",
              "id": "ollama",
              "model_count": 1,
            },
            {
              "health": "not_installed",
              "id": "llama-cpp",
              "message": "not installed yet",
              "model_count": 0,
            },
          ],
          "gpus": [
            {
              "free_bytes": 6000000000,
              "name": "Test GPU",
              "total_bytes": 8000000000,
            },
          ],
          "loaded": [
            {
              "bytes": 700000000,
              "name": "smollm2:135m",
            },
          ],
          "operations": [
            {
              "id": "pull-1",
              "message": "downloading",
              "title": "pull qwen3:4b",
            },
          ],
          "privacy": "local_only",
          "queue": [
            {
              "model": "smollm2:135m",
              "running": 1,
              "waiting": 2,
            },
          ],
          "ram": {
            "available_bytes": 9200000000,
            "swap_used_bytes": 500000000,
            "total_bytes": 16000000000,
            "warning": "swap is in use: 500 MB",
          },
          "remote_requests": 0,
          "remote_text": "No prompt has left this machine since 1 November 2026",
          "warnings": [
            "OLLM_MODLE is not a setting; did you mean OLLM_MODEL?",
          ],
        },
      }
    `);
  });

  it("says in a line what was saved this month, with the prices behind it", async () => {
    const savings = { currency: "USD", reference: "some-model" };
    for (const [given, line] of [
      [
        { ...savings, amount: 0.42, spent: 0, localTokens: 1_234_567 },
        "0.42 USD this month (1.2 M local tokens at some-model prices, less what assistants read)",
      ],
      [
        { ...savings, amount: -0.005, spent: 0.006, localTokens: 500, reference: "own prices" },
        "-0.005 USD this month (500 local tokens at your own prices, less what assistants read and 0.006 USD paid)",
      ],
    ] as const) {
      const fake = createFakeOrchestrator();
      const systemStatus: typeof fake.systemStatus = async (caller) => ({
        ...(await fake.systemStatus(caller)),
        savings: given,
      });
      connection = await connectMemoryClient(createFakeOrchestrator({ systemStatus }));
      const { content, structuredContent } = await connection.call("system_status");
      expect(structuredContent).toMatchObject({ savings: line });
      expect(content).toMatchObject([
        { text: expect.stringContaining(`saved ${line}; \`ollm stats --money\` shows the rows`) },
      ]);
      await connection.close();
    }
  });

  it("names missed thresholds with their next step: a call for an assistant, a command for a person", async () => {
    const breach: Advice = {
      kind: "latency",
      subject: "a:1b",
      text: "a:1b: first token after 3.1 s (p95 of 10 requests), 1.0 s allowed: it was evicted 4 times",
      next: { step: "pinModel", model: "a:1b" },
    };
    const fake = createFakeOrchestrator();
    const status = await fake.systemStatus({} as never);
    for (const [name, step] of [
      ["claude-code", 'Call manage_model with action pin and model "a:1b".'],
      ["ollm", "Run `ollm pin a:1b`."],
    ] as const) {
      const orchestrator = createFakeOrchestrator({
        systemStatus: async () => ({ ...status, breaches: [breach] }),
        metrics: { ...fake.metrics, breaches: async () => [breach] },
      });
      connection = await connectMemoryClient(orchestrator, { clientName: name });
      const answer = await connection.call("system_status");
      expect(answer.structuredContent).toMatchObject({ warnings: [expect.anything(), `${breach.text}. ${step}`] });
      const ram = await connection.client.readResource({ uri: "ollm://status/ram" });
      expect(JSON.parse((ram.contents[0] as { text: string }).text)).toMatchObject({
        warnings: [`${breach.text}. ${step}`],
      });
      await connection.close();
    }
  });
});
