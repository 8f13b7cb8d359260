import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, it } from "vitest";
import { describeEngineContract } from "../../../engine-contract.ts";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { toolsTemplate, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { smolLm2, weightsLimitMs } from "../../../support/weights.ts";
import { writeEmbeddingModel } from "./embedding-model.ts";
import { startEngine } from "./engine-under-test.ts";

const folder = await mkdtemp(join(tmpdir(), "ollm-contract-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const weights = await smolLm2();
const timeoutMs = engineLimitMs + weightsLimitMs;

const importable = async () => {
  const file = join(folder, "importable.gguf");
  await writeTinyGguf(file, { says: "I was imported." });
  return file;
};
const createWith = (files: Readonly<Record<string, string>>, write?: () => Promise<void>) => async () => {
  const { modulePath } = await installedEngine();
  await write?.();
  const subject = await startEngine(modulePath, files);
  return { engine: subject.engine, dispose: subject.dispose };
};

const practice = {
  chat: join(folder, "practice.gguf"),
  embedding: join(folder, "embedding.gguf"),
  tools: join(folder, "tools.gguf"),
};
const reason = "its weights recite one text, whatever the prompt says";
const files = { "practice:tiny": practice.chat, "embedder:tiny": practice.embedding, "tools:tiny": practice.tools };
describeEngineContract({
  name: "llama-cpp (tiny model)",
  models: { chat: "practice:tiny", embedding: "embedder:tiny", tools: "tools:tiny" },
  importable,
  timeoutMs,
  divergences: [
    { rule: "a model that is asked to call a tool calls it", reason },
    { rule: "two calls in one answer have ids of their own", reason },
    { rule: "a single call is one, whatever the prompt wants", reason },
    { rule: "arguments have every type of JSON", reason },
  ],
  create: createWith(files, async () => {
    await writeTinyGguf(practice.chat);
    // What it says ends a text and the arguments, where a grammar asks for them.
    await writeTinyGguf(practice.tools, { says: '"} is all.', chatTemplate: toolsTemplate });
    await writeEmbeddingModel(practice.embedding);
  }),
});

if (weights.file === undefined) {
  describe("engine contract: llama-cpp (SmolLM2)", () => {
    it.skip(`needs real weights: ${weights.reason}`, () => {});
  });
} else {
  const { file } = weights;
  describeEngineContract({
    name: "llama-cpp (SmolLM2)",
    models: { chat: "smollm2:135m" },
    importable,
    timeoutMs,
    create: createWith({ "smollm2:135m": file }),
  });
}

const toolsFile = process.env["OLLM_TEST_TOOLS_GGUF"];
if (toolsFile === undefined) {
  describe("engine contract: llama-cpp (weights with tools)", () => {
    it.skip("needs OLLM_TEST_TOOLS_GGUF, the path of a model with tools", () => {});
  });
} else {
  describeEngineContract({
    name: "llama-cpp (weights with tools)",
    models: { chat: "weights:tools", tools: "weights:tools" },
    importable,
    timeoutMs,
    create: createWith({ "weights:tools": toolsFile }),
  });
}
