import { describe, expect, it } from "vitest";
import { Cancelled, LoadFailed, QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { expectQuiet, handMachine, type HandMachine, loaded } from "./hand-machine.ts";

const seconds = 1_000;
const a = { loadMs: 2 * seconds };

describe("a request that is cancelled", () => {
  it("before it is queued loads nothing", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    await expect(machine.ask("a", { signal: AbortSignal.abort("cancelled") })).rejects.toBeInstanceOf(Cancelled);
    await machine.settle();
    expect(machine.log).toEqual([]);
    expectQuiet(machine);
  });

  it("during the wait leaves the queue, and the next one moves up", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const call = new AbortController();
    const gone = machine.ask("a", { signal: call.signal });
    const behind = machine.ask("a");
    await machine.settle();
    call.abort("cancelled");
    await expect(gone).rejects.toMatchObject({ message: "waiting for a was cancelled" });
    first.release();
    (await behind).release();
    expectQuiet(machine);
  });

  it("during its load aborts the load, which has ended when the request fails", async () => {
    const machine = handMachine({ a, b: a }, { capacity: 1 });
    const call = new AbortController();
    const gone = machine.ask("a", { signal: call.signal });
    const next = machine.ask("b");
    await machine.pass(1 * seconds);
    call.abort("cancelled");
    await expect(gone).rejects.toBeInstanceOf(Cancelled);
    await machine.pass(2 * seconds);
    (await next).release();
    expect(machine.log).toEqual(["load a 4096", "load b 4096"]);
    expectQuiet(machine);
  });

  it("during a load that others wait for leaves the load to them", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const call = new AbortController();
    const gone = machine.ask("a", { signal: call.signal });
    const other = machine.ask("a");
    await machine.pass(1 * seconds);
    call.abort("cancelled");
    await expect(gone).rejects.toBeInstanceOf(Cancelled);
    await machine.pass(1 * seconds);
    expect((await other).loadMs).toBe(2 * seconds);
    expect(machine.log).toEqual(["load a 4096"]);
  });

  it("during its load doesn't affect a later request, which loads the model again", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const call = new AbortController();
    const gone = machine.ask("a", { signal: call.signal });
    await machine.pass(1 * seconds);
    call.abort("cancelled");
    const late = machine.ask("a");
    await expect(gone).rejects.toBeInstanceOf(Cancelled);
    await machine.pass(2 * seconds);
    (await late).release();
    expect(machine.log).toEqual(["load a 4096", "load a 4096"]);
    expectQuiet(machine);
  });
});

describe("a model that its engine doesn't list after its load", () => {
  it("still answers, once per load", async () => {
    const machine = handMachine({ a }, { capacity: 1, world: { resident: () => Promise.resolve(undefined) } });
    const both = [machine.ask("a"), machine.ask("a")].map(async (slot) => (await slot).release());
    await machine.pass(3 * seconds);
    await Promise.all(both);
    expectQuiet(machine);
  });

  it("is released if the request leaves before there is a slot", async () => {
    const embedded = { ...a, isEmbedded: true };
    const machine = handMachine({ a: embedded, b: embedded }, { capacity: 2 });
    const busy = await loaded(machine, "a");
    const call = new AbortController();
    const gone = machine.ask("b", { signal: call.signal });
    await machine.pass(3 * seconds);
    expect(machine.leases.get("b")).toBe(1);
    call.abort("cancelled");
    await expect(gone).rejects.toBeInstanceOf(Cancelled);
    busy.release();
    await machine.settle();
    expectQuiet(machine);
  });
});

describe("a full queue", () => {
  it("refuses a request with the number of waiting ones and the expected wait", async () => {
    const machine = handMachine({ a: { ...a, answerMs: 4 * seconds } }, { capacity: 1, maxWaiting: 1 });
    const first = await loaded(machine, "a");
    const second = machine.ask("a");
    const refused = machine.ask("a");
    await expect(refused).rejects.toBeInstanceOf(QueueFull);
    await expect(refused).rejects.toMatchObject({
      message: "1 request already waits for a; one more would wait about 8 s",
      next: [advice("try again later"), { step: "chooseModel" }, { step: "raiseSetting", setting: "queue.maxWaiting" }],
    });
    first.release();
    (await second).release();
    expectQuiet(machine);
  });

  it("does not count requests that could be answered at once", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 3 } }, { capacity: 1, maxWaiting: 1 });
    const four = [1, 2, 3, 4].map(() => machine.ask("a"));
    await expect(machine.ask("a")).rejects.toThrow(/^4 requests already wait for a; /u);
    await machine.pass(2 * seconds);
    (await four[0])?.release();
    expect(await four[3]).toMatchObject({ loadMs: 2 * seconds });
  });
});

describe("a defect", () => {
  it("fails all waiting requests, and the queue continues", async () => {
    let isBroken = true;
    const machine: HandMachine = handMachine(
      { a },
      {
        capacity: 1,
        world: {
          ahead: () => (isBroken ? Promise.reject(new LoadFailed("no plan")) : Promise.resolve({ evicts: [] })),
        },
      },
    );
    await expect(machine.ask("a")).rejects.toThrow("no plan");
    isBroken = false;
    const next = machine.ask("a");
    await machine.pass(2 * seconds);
    (await next).release();
    expectQuiet(machine);
  });
});
