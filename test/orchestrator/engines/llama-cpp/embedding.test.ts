import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled, PromptTooLong, UnsupportedCapability } from "../../../../src/orchestrator/api/errors.ts";
import { installedEngine } from "../../../support/engine.ts";
import { writeEmbeddingModel } from "./embedding-model.ts";
import { ask, type EngineUnderTest, never, setupLimitMs, startEngine, testLimitMs } from "./engine-under-test.ts";

const model = "embedder:tiny";
let folder: string;
let subject: EngineUnderTest;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-embedding-"));
  const file = join(folder, "embedder.gguf");
  await writeEmbeddingModel(file);
  const { modulePath } = await installedEngine();
  subject = await startEngine(modulePath, { [model]: file });
}, setupLimitMs);
afterAll(async () => {
  await subject.dispose();
  await rm(folder, { recursive: true, force: true });
}, testLimitMs);

const embed = (inputs: readonly string[], signal = never) => {
  if (!subject.engine.embedding) throw new Error("no embedding");
  return subject.engine.embedding.embed(model, inputs, signal);
};
const loadedContext = async () => (await subject.engine.residency?.loaded(never))?.[0]?.contextTokens;

describe("an embedding model", () => {
  it("is recognized by its file and generates no text", async () => {
    expect((await subject.engine.describe(model, never)).capabilities).toEqual(["embedding"]);
    await expect(ask(subject, { model })).rejects.toBeInstanceOf(UnsupportedCapability);
  });
  it(
    "returns one vector per input and counts their tokens",
    async () => {
      const { vectors, promptTokens } = await embed(["one", "two words", "three words here"]);
      expect(vectors).toHaveLength(3);
      expect(new Set(vectors.map((vector) => vector.length)).size).toBe(1);
      expect(vectors[0]?.length).toBeGreaterThan(32);
      expect(promptTokens).toBeGreaterThan(6);
    },
    testLimitMs,
  );
  it(
    "returns no vectors without inputs",
    async () => {
      expect(await embed([])).toEqual({ vectors: [], promptTokens: 0 });
    },
    testLimitMs,
  );
  it(
    "is reloaded with a larger context for a longer input, up to its window",
    async () => {
      await embed(["short"]);
      expect(await loadedContext()).toBe(2_048);
      expect((await embed(["x".repeat(3_000)])).vectors).toHaveLength(1);
      expect(await loadedContext()).toBe(4_096);
    },
    testLimitMs,
  );
  it(
    "rejects an input beyond its window with both numbers",
    async () => {
      const refused = embed(["x".repeat(9_000)]);
      await expect(refused).rejects.toBeInstanceOf(PromptTooLong);
      await expect(refused).rejects.toMatchObject({ contextTokens: 4_096 });
      await expect(refused).rejects.toThrow(/9\d\d\d/);
    },
    testLimitMs,
  );
  it(
    "can be cancelled between two inputs",
    async () => {
      const controller = new AbortController();
      const inputs = Array.from({ length: 400 }, (_, index) => `${index} ${"word ".repeat(200)}`);
      const embedding = embed(inputs, controller.signal);
      setImmediate(() => controller.abort());
      await expect(embedding).rejects.toBeInstanceOf(Cancelled);
      expect((await embed(["still here"])).vectors).toHaveLength(1);
    },
    testLimitMs,
  );
  it(
    "has an estimate of its memory",
    async () => {
      const estimate = await subject.engine.estimation?.estimate(model, { contextTokens: 2_048 }, never);
      expect(estimate?.method).toBe("simulated");
    },
    testLimitMs,
  );
});
