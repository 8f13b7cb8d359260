import { describe, expect, it } from "vitest";
import { QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { asked, expectQuiet, free, handMachine, loaded } from "./hand-machine.ts";

const seconds = 1_000;
const a = { loadMs: 2 * seconds };

describe("a request with a maximum wait", () => {
  it("is refused at once, with the expected wait, if it would take longer", async () => {
    const machine = handMachine({ a: { ...a, answerMs: 20 * seconds } }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const refused = machine.ask("a", { maxWaitMs: 15 * seconds });
    await expect(refused).rejects.toBeInstanceOf(QueueFull);
    await expect(refused).rejects.toMatchObject({
      message: "a can't start answering within 15 s (queue.maxWaitMs): it would take about 20 s",
      next: [advice("try again later"), { step: "chooseModel" }, { step: "raiseSetting", setting: "queue.maxWaitMs" }],
    });
    const waits = machine.ask("a", { maxWaitMs: 25 * seconds });
    await machine.pass(24 * seconds);
    first.release();
    (await waits).release();
    expectQuiet(machine);
  });

  it("is refused during the wait if earlier requests take longer than expected", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const refused = expect(machine.ask("a", { maxWaitMs: 15 * seconds })).rejects.toMatchObject({
      message:
        "a can't start answering within 15 s (queue.maxWaitMs): it waited 16 s, and it would take about 4 s more",
    });
    await machine.pass(16 * seconds);
    await refused;
    first.release();
    expectQuiet(machine);
  });

  it("holds no lease if its model was loaded but no slot is free in time", async () => {
    const embedded = { ...a, isEmbedded: true };
    const machine = handMachine({ a: embedded, b: embedded }, { capacity: 2 });
    const busy = await loaded(machine, "a");
    const late = expect(machine.ask("b", { maxWaitMs: 5 * seconds })).rejects.toBeInstanceOf(QueueFull);
    await machine.pass(3 * seconds);
    expect(machine.leases.get("b")).toBe(1);
    await machine.pass(3 * seconds);
    await late;
    expect(machine.leases.get("b")).toBe(0);
    busy.release();
    expectQuiet(machine);
  });

  it("is not refused because of a request that is refused itself", async () => {
    const embedded = { isEmbedded: true };
    const machine = handMachine(
      { a: { ...embedded, loadMs: 60 * seconds, answerMs: 20 * seconds }, b: { ...embedded, loadMs: 1 * seconds } },
      { capacity: 2, slow: (work) => new Promise((resolve) => setImmediate(resolve)).then(work) },
    );
    await free(machine, "b");
    const [refused, served] = [
      machine.ask("a", { caller: "1", maxWaitMs: 10 * seconds }),
      machine.ask("b", { caller: "2", maxWaitMs: 10 * seconds }),
    ];
    await expect(refused).rejects.toBeInstanceOf(QueueFull);
    (await served).release();
    expectQuiet(machine);
  });

  it("is refused before a useless load; a load in progress ends, for the next request", async () => {
    const machine = handMachine(
      { a: { loadMs: 20 * seconds } },
      { capacity: 1, world: { loadMs: () => expectedLoadMs } },
    );
    let expectedLoadMs = 20 * seconds;
    await expect(machine.ask("a", { maxWaitMs: 10 * seconds })).rejects.toBeInstanceOf(QueueFull);
    expect(machine.log).toEqual([]);
    expectedLoadMs = 2 * seconds;
    const late = expect(machine.ask("a", { maxWaitMs: 10 * seconds })).rejects.toBeInstanceOf(QueueFull);
    await machine.pass(11 * seconds);
    await late;
    await machine.pass(10 * seconds);
    (await machine.ask("a", { maxWaitMs: 10 * seconds })).release();
    expect(machine.log).toEqual(["load a 4096"]);
    expectQuiet(machine);
  });
});

describe("the progress of a waiting request", () => {
  it("contains the reason, the requests ahead and the expected wait, and is updated", async () => {
    const machine = handMachine({ a: { ...a, answerMs: 20 * seconds } }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const messages: string[] = [];
    const second = machine.ask("a", { caller: "2" });
    const third = machine.ask("a", { caller: "3", report: ({ message }) => void messages.push(message) });
    await machine.pass(5 * seconds);
    first.release();
    await machine.pass(5 * seconds);
    const why = "waiting for a, which is answering other requests";
    expect(messages).toEqual([`${why}; 1 ahead, about 40 s`, `${why}; next in the queue, about 20 s`]);
    (await second).release();
    (await third).release();
    expectQuiet(machine);
  });
});

describe("turns of callers", () => {
  it("are not used up by cancelled requests", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const call = new AbortController();
    const gone = Array.from({ length: 9 }, () => machine.ask("a", { caller: "many", signal: call.signal }));
    const settled = Promise.allSettled(gone);
    await machine.settle();
    call.abort("cancelled");
    await settled;
    const order: string[] = [];
    const all = ["many", "x", "y"].map((caller) => asked(order, caller, machine.ask("a", { caller })));
    first.release();
    await Promise.all(all);
    expect(order).toEqual(["many", "x", "y"]);
  });

  it("are not used up by background requests", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const order: string[] = [];
    const all = [
      ...[1, 2, 3].map((each) => asked(order, `background ${each}`, machine.ask("a", { caller: "x", priority: -1 }))),
      asked(order, "x", machine.ask("a", { caller: "x" })),
      asked(order, "y", machine.ask("a", { caller: "y" })),
    ];
    first.release();
    await Promise.all(all);
    expect(order.slice(0, 2)).toEqual(["x", "y"]);
  });
});
