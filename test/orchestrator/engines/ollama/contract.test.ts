import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { createOllamaEngine } from "../../../../src/orchestrator/engines/ollama/index.ts";
import { createLog } from "../../../../src/orchestrator/api/log.ts";
import { callsAsText } from "../../../engine-contract-tools.ts";
import { describeEngineContract } from "../../../engine-contract.ts";
import { startFakeOllama } from "../../../support/fake-ollama.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-contract-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const importable = async (): Promise<string> => {
  const file = join(folder, "tiny.gguf");
  await writeTinyGguf(file);
  return file;
};
const engineAt = (host: string) =>
  createOllamaEngine({ host, now: () => performance.now(), log: createLog("silent", () => {}) });

describeEngineContract({
  name: "ollama (fake)",
  models: {
    chat: "smollm2:135m",
    embedding: "all-minilm:latest",
    tools: "qwen2.5-coder:1.5b",
    thinkingTools: "qwen3:0.6b",
  },
  importable,
  create: async () => {
    const fake = await startFakeOllama({
      models: [
        { name: "smollm2:135m" },
        { name: "qwen2.5-coder:1.5b", capabilities: ["completion", "tools"] },
        { name: "qwen3:0.6b", capabilities: ["completion", "tools", "thinking"] },
        { name: "all-minilm:latest", architecture: "bert", capabilities: ["embedding"], contextTokens: 512 },
      ],
      loadDelayMs: 20,
      tokensPerSecond: 500,
    });
    return { engine: engineAt(fake.url), dispose: () => fake.close() };
  },
});

const realHost = process.env["OLLM_TEST_OLLAMA_URL"];
if (realHost === undefined)
  describe("engine contract: ollama (real)", () => {
    it.skip("runs against a real Ollama (OLLM_TEST_OLLAMA_URL is not set)", () => {});
  });
else {
  const embedding = process.env["OLLM_TEST_OLLAMA_EMBEDDING_MODEL"];
  const tools = process.env["OLLM_TEST_OLLAMA_TOOLS_MODEL"];
  describeEngineContract({
    name: `ollama (real, ${realHost})`,
    models: {
      chat: process.env["OLLM_TEST_OLLAMA_MODEL"] ?? "smollm2:135m",
      ...(embedding === undefined ? {} : { embedding }),
      ...(tools === undefined ? {} : { tools }),
    },
    importable,
    create: async () => ({ engine: engineAt(realHost) }),
    divergences: callsAsText(tools),
  });
}
