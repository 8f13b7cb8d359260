import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, it } from "vitest";
import { describeEngineContract } from "../../../engine-contract.ts";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { smolLm2, weightsLimitMs } from "../../../support/weights.ts";
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
const createWith = (name: string, fileOf: () => Promise<string>) => async () => {
  const { modulePath } = await installedEngine();
  const subject = await startEngine(modulePath, { [name]: await fileOf() });
  return { engine: subject.engine, dispose: subject.dispose };
};

describeEngineContract({
  name: "llama-cpp (practice model)",
  models: { chat: "practice:tiny" },
  importable,
  timeoutMs,
  create: createWith("practice:tiny", async () => {
    const file = join(folder, "practice.gguf");
    await writeTinyGguf(file);
    return file;
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
    create: createWith("smollm2:135m", async () => file),
  });
}
