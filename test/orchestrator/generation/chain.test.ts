import { expect, it } from "vitest";
import {
  ConnectionLost,
  EngineNotInstalled,
  GenerationFailed,
  ModelDoesNotFit,
} from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const other = fakeModel("mistral:7b", 4 * gigabyte);
const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
const crash = () => Promise.reject(new GenerationFailed("it crashed"));
const remoteAllowed = { settings: { privacy: "allow_remote" } };

it("goes from the next model to another host, then to the cloud, then to an error that names each", async () => {
  const first = createFakeEngine("first", [small, other, cloud]);
  const second = createFakeEngine("second", [small], { memoryDomain: "second" });
  const { generate } = createTestOrchestrator([first, second], remoteAllowed);
  for (const engine of [first, second]) engine.answer = crash;
  await expect(generate({})).rejects.toThrow(
    /^3 models failed: llama3\.2:3b \(first\): .*; mistral:7b \(first\): .*; llama3\.2:3b \(second\): .*; kimi-k2:cloud \(first\): /,
  );
});

it("one model on two engines is one failure", async () => {
  const [first, second] = ["first", "second"].map((id) => createFakeEngine(id, [small], { memoryDomain: id }));
  if (first === undefined || second === undefined) throw new Error("no engines");
  const { generate } = createTestOrchestrator([first, second]);
  for (const engine of [first, second]) engine.answer = crash;
  await expect(generate({})).rejects.toThrow("llama3.2:3b failed on 2 engines: first: it crashed; second: it crashed");
});

it("an Ollama that was killed is named, not the embedded engine that is not installed", async () => {
  const ollama = createFakeEngine("ollama", [small]);
  const embedded = createFakeEngine("llama-cpp", [small]);
  ollama.answer = () => Promise.reject(new ConnectionLost("Ollama is gone", { next: advice("start it") }));
  embedded.beforeLoad = () =>
    Promise.reject(new EngineNotInstalled("not installed", { next: { step: "installEngine", downloadBytes: 1 } }));
  embedded.answer = crash;
  const { generate } = createTestOrchestrator([ollama, embedded]);
  await expect(generate({})).rejects.toMatchObject({ message: "Ollama is gone", next: [advice("start it")] });
  expect(embedded.calls).not.toEqual([]);
});

it("a model of the cloud that calls itself another one gets a note, a local one does not", async () => {
  const engine = createFakeEngine("first", [small, cloud]);
  const { generate } = createTestOrchestrator([engine], remoteAllowed);
  const { answer } = engine;
  engine.answer = async (...given) => ({ ...(await answer(...given)), answeredBy: "kimi-mini" });
  const note = "first says that kimi-mini answered, not kimi-k2:cloud";
  expect((await generate({ model: cloud.name })).notes).toContain(note);
  expect(JSON.stringify((await generate({ model: small.name })).notes ?? [])).not.toContain("kimi-mini");
});

it("another host answers before the cloud, and not where the model is on the way anyway", async () => {
  const first = createFakeEngine("first", [small, cloud]);
  const second = createFakeEngine("second", [small], { memoryDomain: "second" });
  const { generate } = createTestOrchestrator([first, second], remoteAllowed);
  first.answer = crash;
  const { engine, reason, route } = await generate({});
  expect({ engine, reason }).toEqual({
    engine: "second",
    reason: "the same model on second; after llama3.2:3b failed",
  });
  expect(route.attempts).toHaveLength(2);
});

it("never reaches an engine elsewhere under local_only", async () => {
  const first = createFakeEngine("first", [small]);
  const elsewhere = createFakeEngine("elsewhere", [small], { memoryDomain: "elsewhere", trust: "remote" });
  const { generate } = createTestOrchestrator([first, elsewhere]);
  first.answer = crash;
  await expect(generate({})).rejects.toThrow("it crashed");
  expect(elsewhere.calls).toEqual([]);
});

it("a preferred model that turns out too large is replaced by a smaller quantization of it", async () => {
  const large = fakeModel("llama3:8b-instruct-q8_0", 9 * gigabyte);
  const quantized = fakeModel("llama3:8b-instruct-q4_K_M", 5 * gigabyte);
  const engine = createFakeEngine("ollama", [large, other, quantized]);
  engine.beforeLoad = (name) => {
    return name === large.name ? Promise.reject(new ModelDoesNotFit(`${name} does not fit`)) : Promise.resolve();
  };
  const { generate } = createTestOrchestrator([engine], { settings: { model: { default: large.name } } });
  expect(await generate({})).toMatchObject({
    model: quantized.name,
    reason: expect.stringContaining(`another quantization of ${large.name}, which does not fit`) as string,
  });
});
