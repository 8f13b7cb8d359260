import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { engineLimitMs, installedEngine } from "../../../support/engine.ts";
import { createTestOrchestrator } from "../../../support/orchestrator.ts";
import { portsFile, portsQuestion as prompt } from "../../../support/reading-engine.ts";
import { tinySentence, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { type EngineUnderTest, startEngine } from "./engine-under-test.ts";

let folder = "";
let started: EngineUnderTest;

beforeAll(async () => {
  const { modulePath } = await installedEngine();
  folder = await mkdtemp(path.join(tmpdir(), "ollm-parts-"));
  const file = path.join(folder, "tiny.gguf");
  await writeTinyGguf(file, { contextLength: 2048 });
  started = await startEngine(modulePath, { "practice:tiny": file });
}, engineLimitMs + 30_000);

afterAll(async () => {
  await started.dispose();
  await rm(folder, { recursive: true, force: true });
});

it("a real engine reads the beginning of the prompts of all parts once, and parts that it finds too long are split again", async () => {
  const { generate, orchestrator, caller } = createTestOrchestrator([started.engine]);
  const request = { prompt, files: [portsFile("guide.md", 9)] };
  const planned = await orchestrator.planGeneration(caller(), request);
  const answer = await generate(request);
  expect(answer.text.trim()).toBe(tinySentence);
  expect(answer.parts?.missing).toBeUndefined();
  // Its vocabulary has no words: the estimate is far too low.
  expect(answer.parts?.total).toBeGreaterThan(planned.parts?.total ?? 0);
  expect(answer.cachedPromptTokens).toBeGreaterThan(100 * ((answer.parts?.total ?? 0) - 1));
}, 120_000);
