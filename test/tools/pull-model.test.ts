import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createFakeOrchestrator } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type MemoryClient } from "../support/memory-client.ts";

describe("pull_model", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  it("answers with what it got", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    expect(await connection.call("pull_model", { model: "smollm2:135m", engine: "llama-cpp" })).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "smollm2:135m is ready (llama-cpp, 270.9 MB)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "already_present": false,
          "digest": "f535f83ec568",
          "engine": "llama-cpp",
          "name": "smollm2:135m",
          "size_bytes": 270898672,
        },
      }
    `);
    expect(orchestrator.asked).toEqual([["pullModel", { model: "smollm2:135m", engine: "llama-cpp" }]]);
  });

  it("imports any file by its absolute path, also outside the roots", async () => {
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator);
    const from = path.resolve("/data/models/tiny.gguf");
    await connection.call("pull_model", { model: "tiny", from });
    expect(orchestrator.asked).toEqual([["pullModel", { model: "tiny", from }]]);
  });

  it("finds a relative file in the roots, and says so when it is in none", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "ollm-test-"));
    await writeFile(path.join(folder, "tiny.gguf"), "GGUF");
    const orchestrator = createFakeOrchestrator();
    connection = await connectMemoryClient(orchestrator, { fileRoots: [folder] });
    await connection.call("pull_model", { model: "tiny", from: "tiny.gguf" });
    const missing = await connection.call("pull_model", { model: "tiny", from: "other.gguf" });
    expect(orchestrator.asked).toHaveLength(1);
    expect(orchestrator.asked[0]?.[1]).toMatchObject({ from: expect.stringMatching(/ollm-test-.*tiny\.gguf$/) });
    expect(missing).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "other.gguf was not found
      Give its absolute path.",
            "type": "text",
          },
        ],
        "isError": true,
      }
    `);
    await rm(folder, { recursive: true });
  });
});
