import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, it } from "vitest";
import { describeEngineContract } from "../../../engine-contract.ts";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
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

const practice = { chat: join(folder, "practice.gguf"), embedding: join(folder, "embedding.gguf") };
describeEngineContract({
  name: "llama-cpp (tiny model)",
  models: { chat: "practice:tiny", embedding: "embedder:tiny" },
  importable,
  timeoutMs,
  create: createWith({ "practice:tiny": practice.chat, "embedder:tiny": practice.embedding }, async () => {
    await writeTinyGguf(practice.chat);
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
