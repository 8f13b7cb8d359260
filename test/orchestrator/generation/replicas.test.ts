import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EngineUnreachable, GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import type { EngineLoad } from "../../../src/orchestrator/engines/engine.ts";
import { chooseReplica } from "../../../src/orchestrator/generation/copies.ts";
import { createFakeEngine, createGate, fakeModel } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { settle } from "../../support/slow-time.ts";

type Replica = Parameters<typeof chooseReplica>[0][number];

const { digest: _digest, ...model } = fakeModel("qwen2.5:72b", 0);

/** Fronts of one cluster, which report what `loads` says at the moment. */
function cluster(loads: (EngineLoad | undefined)[], more: readonly object[] = []) {
  const replicas = loads.map((_, index) =>
    createFakeEngine(`replica-${index}`, [model], {
      kind: "openai",
      memoryDomain: `replica-${index}`,
      parallelAnswers: 8,
      replicas: "cluster",
      currentLoad: () => Promise.resolve(loads[index]),
      ...more[index],
    }),
  );
  const asked = () => replicas.map(({ calls }) => calls.length);
  return { replicas, asked, ...createTestOrchestrator(replicas) };
}
const load = (running: number, waiting = 0): EngineLoad => ({ running, waiting });

describe("a model on several replicas of a cluster", () => {
  it("is asked where the fewest requests of all programs run and wait", async () => {
    const loads = [load(3, 4), load(5), load(2, 9)];
    const { generate, asked } = cluster(loads);
    expect((await generate({})).engine).toBe("replica-1");
    loads[1] = load(7, 1);
    expect((await generate({ model: model.name })).engine).toBe("replica-0");
    expect(asked()).toEqual([1, 1, 0]);
  });

  it("is spread before the replicas report what was assigned to them", async () => {
    const { generate, replicas, asked } = cluster([load(4), load(0), load(2)]);
    const gate = createGate();
    for (const replica of replicas) replica.answer = () => gate.pass().then(() => ({}));
    const all = Array.from({ length: 6 }, () => generate({}));
    await settle();
    expect(asked()).toEqual([0, 4, 2]);
    gate.open();
    await Promise.all(all);
  });

  it("is spread by our own requests where nothing is reported", async () => {
    const broken = { currentLoad: () => Promise.reject(new EngineUnreachable("no metrics")) };
    const { generate, replicas, asked } = cluster([undefined, undefined, undefined], [{}, broken]);
    const gate = createGate();
    for (const replica of replicas) replica.answer = () => gate.pass().then(() => ({}));
    const all = Array.from({ length: 6 }, () => generate({}));
    await settle();
    expect(asked()).toEqual([2, 2, 2]);
    gate.open();
    await Promise.all(all);
  });

  it("is answered by another replica when one fails, which isn't asked again while it cools down", async () => {
    const { generate, replicas, asked } = cluster([load(0), load(5), load(9)]);
    const [first] = replicas;
    if (first !== undefined) first.answer = () => Promise.reject(new GenerationFailed("a worker died"));
    const { engine, route } = await generate({});
    expect(engine).toBe("replica-1");
    expect(route.attempts.map((each) => each.engine)).toEqual(["replica-0", "replica-1"]);
    expect((await generate({})).route.attempts).toHaveLength(1);
    expect((await generate({ model: model.name })).route.attempts).toHaveLength(1);
    expect(asked()).toEqual([1, 3, 0]);
  });

  it("fails with the failure of each replica", async () => {
    const { generate, replicas } = cluster([load(0), load(0)]);
    for (const replica of replicas)
      replica.answer = () => Promise.reject(new GenerationFailed(`${replica.id} is broken`));
    await expect(generate({})).rejects.toThrow(
      "qwen2.5:72b failed on 2 engines: replica-0: replica-0 is broken; replica-1: replica-1 is broken",
    );
  });

  it("is never loaded or unloaded", async () => {
    const { generate, orchestrator, caller } = cluster([load(0)]);
    await generate({});
    await expect(orchestrator.loadModel(caller(), { model: model.name })).rejects.toThrow(
      "qwen2.5:72b is loaded by replica-0, so it can't be loaded here",
    );
    const { plan } = await orchestrator.planGeneration(caller(), { prompt: "hello" });
    expect(plan).toMatchObject({
      fits: true,
      evict: [],
      steps: ["replica-0 manages its own memory: nothing is loaded or unloaded for qwen2.5:72b"],
    });
  });
});

const prices = { inputPerMillion: 1, outputPerMillion: 1, currency: "EUR", date: "2026-11-22" };

it.each([
  ["of different clusters", { replicas: "other" }],
  ["that say nothing of each other", { replicas: undefined }],
  ["of different trust", { trust: "remote" as const }],
  ["of different prices", { pricesOf: () => prices }],
])("servers %s are no copies of each other, even with the same name of a model", async (_, second) => {
  const { generate, replicas, asked } = cluster([load(9), load(0)], [{}, second]);
  expect((await generate({})).engine).toBe("replica-0");
  const [first] = replicas;
  if (first !== undefined) first.answer = () => Promise.reject(new GenerationFailed("a worker died"));
  await expect(generate({})).rejects.toThrow(/^a worker died$/);
  expect(asked()).toEqual([2, 0]);
});

it("without digests and without a cluster, the same name on two Ollama servers is not the same model", async () => {
  const engines = ["ollama", "ollama-2"].map((id) => createFakeEngine(id, [model], { memoryDomain: id }));
  const gate = createGate();
  for (const engine of engines) engine.answer = () => gate.pass().then(() => ({}));
  const { generate } = createTestOrchestrator(engines);
  const all = Array.from({ length: 16 }, () => generate({}));
  await settle();
  gate.open();
  await Promise.all(all);
  expect(engines[1]?.calls).toEqual([]);
});

describe("the replica for a request", () => {
  const count = fc.nat({ max: 50 });
  const replica: fc.Arbitrary<Replica> = fc
    .record({ assigned: count, unreported: count, reported: fc.option(count, { nil: undefined }) })
    .map(({ assigned, unreported, reported }) => ({
      assigned,
      ...(reported === undefined ? {} : { reported, unreported: Math.min(unreported, assigned) }),
    }));
  const loadOf = ({ assigned, reported, unreported = 0 }: Replica) =>
    reported === undefined ? assigned : reported + unreported;

  it("has no more load than any other, and of equal ones the fewest of our own requests", () => {
    fc.assert(
      fc.property(fc.array(replica, { minLength: 1, maxLength: 8 }), (replicas) => {
        const chosen = replicas[chooseReplica(replicas)];
        if (chosen === undefined) return false;
        return replicas.every(
          (other) =>
            loadOf(chosen) < loadOf(other) || (loadOf(chosen) === loadOf(other) && chosen.assigned <= other.assigned),
        );
      }),
    );
  });

  it("changes with each request, so that loads become equal", () => {
    fc.assert(
      fc.property(fc.array(count, { minLength: 2, maxLength: 6 }), (reported) => {
        const own = reported.map(() => 0);
        const total = reported.length * 50;
        for (let request = 0; request < total; request += 1) {
          const replicas = reported.map((busy, at) => ({
            assigned: own[at] ?? 0,
            reported: busy,
            unreported: own[at] ?? 0,
          }));
          const chosen = chooseReplica(replicas);
          own[chosen] = (own[chosen] ?? 0) + 1;
        }
        const sums = reported.map((busy, at) => busy + (own[at] ?? 0));
        return Math.max(...sums) - Math.min(...sums) <= 1;
      }),
    );
  });
});
