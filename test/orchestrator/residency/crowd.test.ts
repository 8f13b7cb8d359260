import { describe, expect, it } from "vitest";
import { handMachine, type HandModel } from "./hand-machine.ts";

const names = ["a", "b", "c", "d", "e", "f"] as const;

/** The fewest loads with which the requests can be served one by one in this order (Belady, for models of one size). */
function fewestLoads(order: readonly string[], capacity: number): number {
  const resident = new Set<string>();
  let loads = 0;
  for (const [index, model] of order.entries()) {
    if (resident.has(model)) continue;
    loads += 1;
    if (resident.size === capacity) {
      const nextUse = (key: string) => {
        const next = order.indexOf(key, index);
        return next < 0 ? Number.MAX_VALUE : next;
      };
      resident.delete([...resident].toSorted((x, y) => nextUse(y) - nextUse(x))[0] ?? "");
    }
    resident.add(model);
  }
  return loads;
}

function machineFor(model: HandModel) {
  return handMachine(Object.fromEntries(names.map((name) => [name, model])), { capacity: 2 });
}

/** Sends each request at its time, with answers of `answerMs`; resolves to the indexes in the order of service. */
async function serveAll(
  machine: ReturnType<typeof machineFor>,
  requests: readonly { readonly model: string; readonly atMs: number }[],
  answerMs: number,
) {
  const served: number[] = [];
  const { clock } = machine;
  const slots: Promise<unknown>[] = [];
  for (const [index, { model, atMs }] of requests.entries()) {
    clock.after(atMs, () => {
      const slot = machine.ask(model, { caller: `caller ${index}` }).then((given) => {
        served.push(index);
        clock.after(answerMs, given.release);
      });
      slots.push(slot);
    });
  }
  for (let step = 0; served.length < requests.length; step += 1) {
    if (step > 500) throw new Error(`${requests.length - served.length} of ${requests.length} are not served`);
    await machine.pass(1_000);
  }
  await machine.pass(answerMs);
  await Promise.all(slots);
  return served;
}

describe("50 callers for 6 models on memory for 2", () => {
  it.each([1, 2, 3])("are all answered, with no more loads than in order of arrival, seed %d", async (draw) => {
    const machine = machineFor({ loadMs: 2_000, answerMs: 1_000 });
    // Deterministic: a linear congruential generator.
    let state = draw;
    const next = () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31);
    const requests = Array.from({ length: 50 }, () => ({
      model: names[Math.floor((next() / 2 ** 31) * names.length)] ?? "a",
      atMs: Math.floor((next() / 2 ** 31) * 20_000),
    })).toSorted((x, y) => x.atMs - y.atMs);
    const served = await serveAll(machine, requests, 1_000);
    expect(served.toSorted((x, y) => x - y)).toEqual(requests.map((_request, index) => index));
    const optimum = fewestLoads(
      requests.map(({ model }) => model),
      2,
    );
    expect(machine.loadCount()).toBeLessThanOrEqual(optimum);
    expect(machine.queue.snapshot()).toEqual([]);
    expect([...machine.leases.values()].every((count) => count === 0)).toBe(true);
  });
});
