import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eviction } from "../../bench/eviction.ts";
import { createBestOnline } from "../../bench/support/eviction/best-online.ts";
import type { Machine } from "../../bench/support/eviction/machine.ts";
import { optimalSeconds } from "../../bench/support/eviction/optimum.ts";
import { createOwnMachine } from "../../bench/support/eviction/own-machine.ts";
import { createResidentSets } from "../../bench/support/eviction/resident-sets.ts";
import { replay, rivals } from "../../bench/support/eviction/rivals.ts";

const arbitraryCase = fc
  .array(fc.record({ bytes: fc.integer({ min: 1, max: 8 }), loadSeconds: fc.integer({ min: 1, max: 9 }) }), {
    minLength: 1,
    maxLength: 4,
  })
  .chain((models) =>
    fc.record({
      machine: fc.constant({
        models: models.map((model, index) => ({ name: `m${index}`, ...model })),
        capacityBytes: 8,
      } satisfies Machine),
      requests: fc.array(fc.integer({ min: 0, max: models.length - 1 }), { maxLength: 9 }),
    }),
  );

/** Tries every set to keep at every load, superfluous evictions included. */
function leastByTrying({ models, capacityBytes }: Machine, requests: readonly number[], resident = 0, at = 0): number {
  const model = requests[at];
  if (model === undefined) return 0;
  if (resident & (1 << model)) return leastByTrying({ models, capacityBytes }, requests, resident, at + 1);
  const bytes = (set: number) => models.reduce((sum, each, index) => (set & (1 << index) ? sum + each.bytes : sum), 0);
  let least = Infinity;
  for (let kept = 0; kept < 1 << models.length; kept += 1) {
    const set = kept | (1 << model);
    if ((kept & ~resident) !== 0 || bytes(set) > capacityBytes) continue;
    least = Math.min(least, leastByTrying({ models, capacityBytes }, requests, set, at + 1));
  }
  return least + (models[model]?.loadSeconds ?? 0);
}

describe("what the bench holds the policy against", () => {
  it("the optimum is what trying everything finds", () => {
    fc.assert(
      fc.property(arbitraryCase, ({ machine, requests }) => {
        expect(optimalSeconds(machine, requests, createResidentSets(machine))).toBe(leastByTrying(machine, requests));
      }),
    );
  });

  it("no policy is better than the optimum, and every one pays for the first load of each model", () => {
    fc.assert(
      fc.property(arbitraryCase, ({ machine, requests }) => {
        const sets = createResidentSets(machine);
        const optimum = optimalSeconds(machine, requests, sets);
        const weights = machine.models.map(() => 1);
        const all = [
          createOwnMachine(machine),
          createBestOnline(machine, weights, sets),
          ...Object.values(rivals).map((create) => create(machine)),
        ];
        const firstLoads = [...new Set(requests)].reduce(
          (sum, index) => sum + (machine.models[index]?.loadSeconds ?? 0),
          0,
        );
        expect(optimum).toBeGreaterThanOrEqual(firstLoads);
        for (const policy of all) expect(replay(policy, requests)).toBeGreaterThanOrEqual(optimum);
      }),
    );
  });

  it("the best online policy keeps what is asked for most, of models that cost the same", () => {
    const machine: Machine = {
      models: ["often", "seldom", "sometimes"].map((name) => ({ name, bytes: 4, loadSeconds: 5 })),
      capacityBytes: 8,
    };
    const best = createBestOnline(machine, [0.8, 0.05, 0.15], createResidentSets(machine));
    // Loading the third makes one of the two go.
    expect([0, 1, 2, 0].map((model) => best.serve(model))).toEqual([5, 5, 5, 0]);
  });
});

describe("a recorded trace", () => {
  let folder = "";
  const models = [
    { name: "a", bytes: 6, load_seconds: 3, family: "kept by whoever wrote the file" },
    { name: "b", bytes: 5, load_seconds: 2 },
  ];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ollm-eviction-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function run(trace: string, list: unknown, capacity: string) {
    await writeFile(join(folder, "trace.txt"), trace);
    await writeFile(join(folder, "models.json"), typeof list === "string" ? list : JSON.stringify(list));
    return eviction.run({ trace: join(folder, "trace.txt"), models: join(folder, "models.json"), capacity });
  }

  it("is replayed on the capacity as it is", async () => {
    const trace = "a\nb\r\n\n a \nb\n";
    expect((await run(trace, models, "11")).totals).toEqual({ reload_seconds: 5 });
    expect((await run(trace, models, "10")).totals).toEqual({ reload_seconds: 10 });
  });

  it("may begin with a byte-order mark, as its list of models may", async () => {
    const { totals, verdict } = await run("\uFEFFa\n", `\uFEFF${JSON.stringify(models)}`, "11");
    expect(totals).toEqual({ reload_seconds: 3 });
    expect(verdict).toBe("reload_seconds 3 for 1 request of 1 model");
  });

  it("has its ratio to the optimum beside that of every rival", async () => {
    const { rows } = await run("a\nb\na\n", models, "10");
    expect(rows.map(({ policy }) => policy)).toEqual(["ollm", "optimum", ...Object.keys(rivals)]);
    expect(rows.every(({ ratio }) => ratio === 1)).toBe(true);
  });

  it.each([
    { what: "an empty trace", trace: "\n", list: models, capacity: "10", says: /no request in it/u },
    { what: "an unknown model", trace: "a\nc\n", list: models, capacity: "10", says: /line 2: "c" is not in/u },
    { what: "a model that never fits", trace: "b\na\n", list: models, capacity: "5", says: /a needs 6 bytes.* 5$/u },
    { what: "broken JSON", trace: "a\n", list: "[{", capacity: "10", says: /models.json: not JSON/u },
    { what: "no models", trace: "a\n", list: [], capacity: "10", says: /models.json: /u },
    {
      what: "a model twice",
      trace: "a\n",
      list: [...models, ...models],
      capacity: "10",
      says: /"a" stands there twice/u,
    },
    { what: "negative bytes", trace: "a\n", list: [{ ...models[0], bytes: -6 }], capacity: "10", says: /0\]\.bytes/u },
    {
      what: "negative seconds",
      trace: "a\n",
      list: [{ ...models[0], load_seconds: -1 }],
      capacity: "10",
      says: /0\]\.load_seconds/u,
    },
    { what: "a negative capacity", trace: "a\n", list: models, capacity: "-5", says: /--capacity -5: a number/u },
    { what: "a capacity in words", trace: "a\n", list: models, capacity: "24GB", says: /--capacity 24GB: a number/u },
  ])("with $what says so", async ({ trace, list, capacity, says }) => {
    await expect(run(trace, list, capacity)).rejects.toThrow(says);
  });

  it("needs all three options, and files that are there", async () => {
    await expect(eviction.run({ capacity: "10" })).rejects.toThrow(/belong together/u);
    await expect(
      eviction.run({ trace: join(folder, "none"), models: join(folder, "models.json"), capacity: "10" }),
    ).rejects.toThrow(/none: ENOENT/u);
  });
});
