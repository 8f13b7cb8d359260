import { expect, it } from "vitest";
import { createRandom, drawModels, gib, type Machine } from "../../bench/support/eviction/machine.ts";
import { createOwnMachine } from "../../bench/support/eviction/own-machine.ts";
import { families } from "../../bench/support/eviction/traces.ts";
import { createFakeEngine, fakeModel } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

/** The models that were loaded, one after the other, by the whole program. */
async function loadsOfProgram({ models, capacityBytes }: Machine, requests: readonly number[]): Promise<string[]> {
  let nowMs = 0;
  const engine = createFakeEngine(
    "ollama",
    models.map(({ name, bytes }) => fakeModel(name, bytes)),
  );
  engine.beforeLoad = (name) => {
    nowMs += (models.find((model) => model.name === name)?.loadSeconds ?? 0) * 1_000;
    return Promise.resolve();
  };
  const { generate } = createTestOrchestrator([engine], {
    memoryBytes: capacityBytes,
    now: () => nowMs,
    steady: () => nowMs,
    settings: {
      memory: { bufferBytes: 0 },
      models: Object.fromEntries(models.map(({ name, bytes }) => [name, { sizeBytes: bytes }])),
    },
  });
  for (const request of requests) {
    nowMs += 1_000;
    await generate({ model: models[request]?.name ?? "" });
  }
  return engine.calls.flatMap((call) => /^load (\S+)/u.exec(call)?.[1] ?? []);
}

it.each(Object.keys(families) as (keyof typeof families)[])(
  "the program loads what the machine of the bench does, request by request: %s",
  async (family) => {
    const random = createRandom(7);
    const machine: Machine = { models: drawModels(8, random), capacityBytes: 32 * gib };
    const { requests } = families[family](machine.models.length, 200, random);
    const own = createOwnMachine(machine);
    const loads = requests.flatMap((request) => (own.serve(request) > 0 ? (machine.models[request]?.name ?? "") : []));
    expect(await loadsOfProgram(machine, requests)).toEqual(loads);
  },
);
