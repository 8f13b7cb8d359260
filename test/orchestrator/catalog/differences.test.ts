import { expect, it } from "vitest";
import { createEvents } from "../../../src/orchestrator/api/events.ts";
import { EnginePolls } from "../../../src/orchestrator/catalog/engine-polls.ts";
import { createExpectedEngines } from "../../../src/orchestrator/catalog/engine-set.ts";
import { residencyChanges } from "../../../src/orchestrator/catalog/engine-polls.ts";
import { createObservations } from "../../../src/orchestrator/residency/observations.ts";
import { Slots } from "../../../src/orchestrator/residency/slots.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";

const model = (sizeBytes: number, contextTokens = 4096) => ({
  name: "a:1b",
  sizeBytes,
  vramBytes: 0,
  contextTokens,
});
const both = [{ kind: "memory changed" }, { kind: "listed models changed", isListChanged: false }];

it.each([
  ["a load or unload", [], [model(4e8)], both],
  ["a load with more context", [model(4e8)], [model(4e8, 8192)], both],
  ["no growth by a few megabytes, which every answer causes", [model(400e6)], [model(402e6)], []],
  ["a grown process as a change of memory only", [model(400e6)], [model(500e6)], [{ kind: "memory changed" }]],
])("a poll of the loaded models reports %s", (_case, before, after, changes) => {
  expect(residencyChanges(before, after)).toEqual(changes);
});

it("a poll tells slots when sizes or contexts differ from those before, so that no plan is loaded by the old ones", async () => {
  const engine = createFakeEngine("ollama", [fakeModel("a:1b", gigabyte)]);
  const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const slots = new Slots({
    now: () => 0,
    steady: () => 0,
    observations: createObservations(() => 0),
    isPinned: () => false,
  });
  const polls = new EnginePolls({
    engines: () => [engine],
    now: () => 0,
    log: quiet,
    signal: new AbortController().signal,
    completed: (_engine, residents) => Promise.resolve(residents),
    observed: slots.observe.bind(slots),
    overrides: () => ({}),
    expected: createExpectedEngines({ kept: undefined, now: () => 0 }),
    lock: { isLocked: () => false },
    events: createEvents(quiet),
  });
  const poll = async (sizeBytes: number): Promise<number> => {
    engine.resident.set("a:1b", { name: "a:1b", sizeBytes, vramBytes: 0, contextTokens: 4096 });
    polls.forgetResidency(engine);
    await polls.resident(engine, 0);
    return slots.changes;
  };
  const found = await poll(6 * gigabyte);
  expect(await poll(6 * gigabyte)).toBe(found);
  expect(await poll(15 * gigabyte)).toBeGreaterThan(found);
});
