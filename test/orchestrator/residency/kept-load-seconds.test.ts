import { expect, it } from "vitest";
import type { KeptLearning } from "../../../src/orchestrator/residency/kept-learning.ts";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { modelId } from "../../../src/orchestrator/catalog/located-model.ts";
import { createFakeEngine, fakeModel } from "../../support/fake-engine.ts";

const key = modelId("ollama", "qwen3:8b");
type KeptLoad = Parameters<KeptLearning["noteLoad"]>[0];

const before: KeptLoad = { host: "ollama http://box", name: "qwen3:8b", digest: "qwen3:8b", seconds: 20 };

async function setup(kept: readonly KeptLoad[], address = "http://box", digest = "qwen3:8b", id = "ollama") {
  const noted: KeptLoad[] = [];
  const learning: KeptLearning = {
    sizes: () => Promise.resolve([]),
    loads: () => Promise.resolve(kept),
    hosts: () => Promise.resolve([]),
    noteHost: () => undefined,
    noteSize: () => undefined,
    noteLoad: (load) => void noted.push(load),
    close: () => Promise.resolve(),
  };
  const models = [fakeModel("qwen3:8b", 5e9, { digest })];
  const engine = createFakeEngine(id, models, address === "" ? {} : { address });
  const observations = createObservations(() => 0, {
    kept: learning,
    engines: () => [engine],
    lastList: (listed) => (listed.id === engine.id ? engine.models : []),
  });
  await observations.ready();
  return { observations, noted };
}

it("the load time of an earlier process is known before this process has loaded the model", async () => {
  const { observations } = await setup([before]);
  expect(observations.of(key)).toEqual({ loadSeconds: 20 });
  observations.used(key);
  expect(observations.of(key)).toEqual({ loadSeconds: 20, lastUsedMs: 0 });
});

it("a load time is found by address even if the id of the engine has changed", async () => {
  const { observations } = await setup([before], "http://box", "qwen3:8b", "ollama-2");
  expect(observations.of(modelId("ollama-2", "qwen3:8b"))).toEqual({ loadSeconds: 20 });
});

it("the next load time is smoothed with it and saved", async () => {
  const { observations, noted } = await setup([before]);
  observations.loaded(key, 10_000);
  expect(observations.of(key).loadSeconds).toBeCloseTo(17);
  observations.loaded(key, 10_000);
  expect(observations.of(key).loadSeconds).toBeCloseTo(14.9);
  expect(noted.map(({ seconds, ...where }) => [where, Math.round(seconds * 10)])).toEqual([
    [{ host: "ollama http://box", name: "qwen3:8b", digest: "qwen3:8b" }, 170],
    [{ host: "ollama http://box", name: "qwen3:8b", digest: "qwen3:8b" }, 149],
  ]);
});

it.each([
  { case: "another address", where: ["http://other"] as const },
  { case: "other weights under its name", where: ["http://box", "sha-other"] as const },
])("$case has no saved load time", async ({ where }) => {
  const { observations } = await setup([before], ...where);
  expect(observations.of(key)).toEqual({});
});

it("other weights pulled under the same name start without a load time", async () => {
  const { observations } = await setup([before]);
  observations.forget(key);
  expect(observations.of(key)).toEqual({});
});

it("nothing is saved for an engine without an address", async () => {
  const { observations, noted } = await setup([], "");
  observations.loaded(key, 10_000);
  expect(observations.of(key).loadSeconds).toBe(10);
  expect(noted).toHaveLength(0);
});
