import { describe, expect, it } from "vitest";
import { Cancelled, LoadFailed, ModelDoesNotFit } from "../../../src/orchestrator/api/errors.ts";
import { createGate } from "../../support/fake-engine.ts";
import { asked, damaged, expectQuiet, free, handMachine, loaded, planOf } from "./hand-machine.ts";

const seconds = 1_000;
const a = { loadMs: 2 * seconds };

describe("a slot on a model", () => {
  it("is granted when the model is loaded, with load time and wait apart", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const slot = machine.ask("a");
    await machine.pass(2 * seconds);
    expect(await slot).toMatchObject({ waitedMs: 0, loadMs: 2 * seconds, resident: { contextTokens: 4_096 } });
    expect(machine.counts()).toEqual([{ model: "a", running: 1, waiting: 0 }]);
    (await slot).release();
    (await slot).release();
    expectQuiet(machine);
  });

  it("is taken before the request returns if its model is loaded and free", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2 } }, { capacity: 1 });
    await free(machine, "a");
    const slot = machine.ask("a");
    expect(machine.leases.get("a")).toBe(1);
    expect(machine.clock.waiting).toBe(0);
    (await slot).release();
    expectQuiet(machine);
  });

  it("is there in one synchronous step then, without the queue", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2 } }, { capacity: 1 });
    await free(machine, "a");
    const [one, two, three] = [1, 2, 3].map(() => machine.grantFree("a"));
    expect(one).toMatchObject({ waitedMs: 0, loadMs: 0, resident: { contextTokens: 4_096 } });
    expect(two).toMatchObject({ waitedMs: 0 });
    expect(three).toBeUndefined();
    expect(machine.counts()).toEqual([{ model: "a", running: 2, waiting: 0 }]);
    for (const permit of [one, two]) permit?.release();
    expectQuiet(machine);
  });

  it("is granted to as many requests as the model answers at a time, in order of arrival", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2 } }, { capacity: 1 });
    const slots = ["1", "2", "3", "4"].map((caller) => machine.ask("a", { caller }));
    await machine.pass(2 * seconds);
    expect(machine.counts()).toEqual([{ model: "a", running: 2, waiting: 2 }]);
    (await slots[0])?.release();
    await machine.settle();
    expect(machine.counts()).toEqual([{ model: "a", running: 2, waiting: 1 }]);
    expect((await slots[2])?.waitedMs).toBe(0);
  });

  it("contains the time waited", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const second = machine.ask("a");
    await machine.pass(3 * seconds);
    first.release();
    expect(await second).toMatchObject({ waitedMs: 3 * seconds, loadMs: 0 });
  });

  it("is granted to callers in turn, and to background requests last", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = await loaded(machine, "a");
    const order: string[] = [];
    const all = [
      asked(order, "background", machine.ask("a", { caller: "x", priority: -1 })),
      asked(order, "many 1", machine.ask("a", { caller: "many" }), { machine, ms: 1_000 }),
      asked(order, "many 2", machine.ask("a", { caller: "many" }), { machine, ms: 1_000 }),
      asked(order, "one", machine.ask("a", { caller: "one" }), { machine, ms: 1_000 }),
    ];
    first.release();
    await machine.pass(4 * seconds);
    await Promise.all(all);
    expect(order).toEqual(["many 1", "one", "many 2", "background"]);
  });

  it("is not granted to two embedded models at once: they would decode on the same cores", async () => {
    const embedded = { ...a, isEmbedded: true };
    const machine = handMachine({ a: embedded, b: embedded, c: a }, { capacity: 3 });
    await Promise.all([free(machine, "a"), free(machine, "b"), free(machine, "c")]);
    const first = machine.ask("a");
    const [second, other] = [machine.ask("b"), machine.ask("c")];
    await machine.settle();
    expect(machine.counts()).toEqual([
      { model: "a", running: 1, waiting: 0 },
      { model: "c", running: 1, waiting: 0 },
      { model: "b", running: 0, waiting: 1 },
    ]);
    (await first).release();
    (await second).release();
    (await other).release();
    expectQuiet(machine);
  });
});

describe("a load", () => {
  it("is joined by all requests for the model, and delays none for loaded models", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 4 }, b: a }, { capacity: 2 });
    await free(machine, "b");
    const messages: string[] = [];
    const both = [machine.ask("a"), machine.ask("a", { report: ({ message }) => void messages.push(message) })];
    await machine.pass(1 * seconds);
    (await machine.ask("b")).release();
    const late = machine.ask("a", { report: ({ message }) => void messages.push(message) });
    await machine.pass(1 * seconds);
    for (const slot of await Promise.all([...both, late])) slot.release();
    expect(machine.log).toEqual(["load b 4096", "load a 4096"]);
    expect(messages).toEqual(["loading a", "loading a"]);
    expectQuiet(machine);
  });

  it("uses the largest context of all waiting requests", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 4 } }, { capacity: 1 });
    const all = [machine.ask("a"), machine.ask("a", { contextTokens: 16_384 }), machine.ask("a")];
    await machine.pass(2 * seconds);
    await Promise.all(all);
    expect(machine.log).toEqual(["load a 16384"]);
  });

  it("for more context waits for the active answers of the model, and is not starved by small requests", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2, answerMs: 1_000 } }, { capacity: 1 });
    await free(machine, "a");
    const order: string[] = [];
    let [count, isOver] = [0, false];
    // There is always a small request.
    const keepAsking = () => {
      if (isOver) return;
      count += 1;
      void asked(order, `small ${count}`, machine.ask("a", { caller: "busy" })).then(() =>
        machine.clock.after(700, keepAsking),
      );
    };
    for (let agent = 0; agent < 3; agent += 1) keepAsking();
    const holding = machine.ask("a", { caller: "busy" });
    await machine.settle();
    machine.clock.after(500, () => void holding.then((slot) => slot.release()));
    const large = machine.ask("a", { caller: "large", contextTokens: 16_384 });
    await machine.pass(33 * seconds);
    const slot = await large;
    expect(slot.resident?.contextTokens).toBe(16_384);
    isOver = true;
    slot.release();
    await machine.pass(3 * seconds);
    expect(machine.log).toEqual(["load a 4096", "evict a", "load a 16384"]);
  });

  it("of a loaded model only renews its keep-alive", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    const first = machine.load("a");
    await machine.pass(2 * seconds);
    expect(await first).toMatchObject({ wasLoaded: false });
    expect(await machine.load("a")).toMatchObject({ wasLoaded: true });
    expect(machine.log).toEqual(["load a 4096", "keep a"]);
    expectQuiet(machine);
  });

  it("of a loaded model fails with the engine's error when the engine refuses to renew it", async () => {
    const machine = handMachine({ a }, { capacity: 1 });
    await free(machine, "a");
    machine.failing.set("a", new LoadFailed("the engine stopped"));
    await expect(machine.load("a")).rejects.toThrow("the engine stopped");
    expectQuiet(machine);
  });

  it("that fails fails all its requests, and the next one continues", async () => {
    const machine = handMachine({ a, b: a }, { capacity: 1 });
    machine.failing.set("a", damaged);
    const failed = Promise.allSettled([machine.ask("a"), machine.ask("a"), machine.load("a")]);
    const next = machine.ask("b");
    await machine.pass(4 * seconds);
    for (const outcome of await failed) expect(outcome).toMatchObject({ status: "rejected", reason: damaged });
    expect((await next).loadMs).toBe(2 * seconds);
    expect(machine.log).toEqual(["load a 4096", "load b 4096"]);
  });

  it("that can't fit is refused, and the next one continues", async () => {
    const machine = handMachine({ a: { ...a, size: 3 }, b: a }, { capacity: 1 });
    const refused = machine.ask("a");
    const next = machine.ask("b");
    await expect(refused).rejects.toBeInstanceOf(ModelDoesNotFit);
    await machine.pass(2 * seconds);
    (await next).release();
    expectQuiet(machine);
  });

  it("evicts only idle models, and reports what it waits for", async () => {
    const machine = handMachine({ a, b: a }, { capacity: 1 });
    const busy = await loaded(machine, "a");
    const messages: string[] = [];
    const slot = machine.ask("b", { report: ({ message }) => void messages.push(message) });
    await machine.pass(60 * seconds);
    expect(machine.log).toEqual(["load a 4096"]);
    const why = "waiting for memory: b fits when the active requests are done";
    expect(messages.slice(0, 2)).toEqual([
      `${why}; next in the queue, about 3 s`,
      `${why}; next in the queue, about 4 s`,
    ]);
    // The answer takes longer than usual, and who waits is told so.
    expect(messages.at(-1)).toBe(`${why}; next in the queue, about 17 s`);
    expect(machine.waits).toEqual([why]);
    busy.release();
    await machine.pass(2 * seconds);
    (await slot).release();
    expect(machine.log).toEqual(["load a 4096", "evict a", "load b 4096"]);
    expectQuiet(machine);
  });
});

describe("no request waits forever", () => {
  it("constant requests for a loaded model delay another load only up to the limit", async () => {
    const machine = handMachine({ a: { ...a, answerMs: 1_000 }, b: a }, { capacity: 1 });
    await free(machine, "a");
    let isOver = false;
    let servedAfter = 0;
    const keepAsking = (caller: string) => {
      if (isOver) return;
      void machine.ask("a", { caller }).then((slot) => {
        servedAfter += 1;
        machine.clock.after(900, () => {
          slot.release();
          keepAsking(caller);
        });
      });
    };
    keepAsking("x");
    keepAsking("y");
    await machine.pass(1 * seconds);
    const startedMs = machine.clock.now();
    let servedAtMs = 0;
    const waited = machine.ask("b", { caller: "z" }).then((slot) => {
      servedAtMs = machine.clock.now();
      isOver = true;
      slot.release();
      return slot;
    });
    servedAfter = 0;
    await machine.pass(40 * seconds);
    await waited;
    // Two earlier answers, the overtaking ones up to the limit, and its load.
    expect(servedAtMs - startedMs).toBeLessThanOrEqual((1.8 + 30 + 2) * seconds);
    expect(servedAfter).toBeGreaterThan(20);
  });

  it("a request is served before the model that it loaded can be evicted", async () => {
    // The load takes far longer than expected: at its end no request may be overtaken any more.
    const machine = handMachine(
      { a: { loadMs: 50 * seconds }, large: { ...a, size: 2 }, busy: a },
      { capacity: 2, world: { loadMs: () => 1 * seconds } },
    );
    const busy = await loaded(machine, "busy");
    const first = machine.ask("a");
    await machine.pass(50 * seconds);
    (await first).release();
    const order: string[] = [];
    const all = [
      asked(order, "large", machine.ask("large")),
      asked(order, "a", machine.ask("a", { contextTokens: 16_384 })),
    ];
    await machine.pass(20 * seconds);
    expect(machine.log.at(-1)).toBe("load a 16384");
    busy.release();
    await machine.pass(40 * seconds);
    await Promise.all(all);
    expect(order).toEqual(["a", "large"]);
    expect(machine.loadCount()).toBe(4);
    expectQuiet(machine);
  });

  it("victims of a load that waits for its room are not served any more, unlike all other models", async () => {
    const making = createGate();
    const machine = handMachine(
      { a: { ...a, maxParallel: 4 }, b: a, other: a },
      {
        capacity: 3,
        world: {
          // Another program took memory: unlike its plan, the load has to wait for `a`, and hasn't begun.
          isLoading: () => false,
          ahead: ({ model }) => Promise.resolve({ evicts: model.name === "b" && isTaken ? ["a"] : [] }),
          load: async ({ located: { model }, options }) => {
            if (model.name === "b") await making.pass();
            const resident = { name: model.name, sizeBytes: 1, vramBytes: 0, contextTokens: 4_096 };
            machine.resident.set(model.name, resident);
            return { model: model.name, engine: "ollama", loadMs: 0, wasLoaded: false, plan: planOf(options) };
          },
        },
      },
    );
    let isTaken = false;
    await free(machine, "a");
    await free(machine, "other");
    const held = machine.ask("b");
    await making.entered;
    isTaken = true;
    await machine.pass(5 * seconds);
    const order: string[] = [];
    const all = [asked(order, "a", machine.ask("a")), asked(order, "other", machine.ask("other"))];
    await machine.pass(60 * seconds);
    expect(order).toEqual(["other"]);
    making.open();
    (await held).release();
    await machine.pass(5 * seconds);
    await Promise.all(all);
    expect(order).toEqual(["other", "a"]);
    expectQuiet(machine);
  });

  it("a request that inherits the load of a cancelled one is served before the model can be evicted", async () => {
    const machine = handMachine(
      { a: { loadMs: 50 * seconds }, large: { ...a, size: 2 } },
      { capacity: 2, world: { loadMs: () => 1 * seconds } },
    );
    const call = new AbortController();
    const gone = machine.ask("a", { signal: call.signal });
    const refused = expect(gone).rejects.toBeInstanceOf(Cancelled);
    await machine.pass(1 * seconds);
    const order: string[] = [];
    const all = [asked(order, "large", machine.ask("large")), asked(order, "heir", machine.ask("a", { priority: -1 }))];
    await machine.pass(1 * seconds);
    call.abort("cancelled");
    await refused;
    await machine.pass(60 * seconds);
    await Promise.all(all);
    expect(order).toEqual(["heir", "large"]);
    expect(machine.log).toEqual(["load a 4096", "evict a", "load large 4096"]);
    expectQuiet(machine);
  });
});
