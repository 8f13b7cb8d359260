import { describe, expect, it } from "vitest";
import { ModelDoesNotFit } from "../../../src/orchestrator/errors.ts";
import type { Place } from "../../../src/orchestrator/queue/line-world.ts";
import { createGate } from "../../support/fake-engine.ts";
import { damaged, expectQuiet, free, handMachine, type HandMachine, loaded, planOf } from "./hand-machine.ts";

const seconds = 1_000;
const a = { loadMs: 2 * seconds };

/** Notes in `order` when it is served; answers at once, or when it is told to. */
function asked(order: string[], name: string, place: Promise<Place>, answerMs?: { machine: HandMachine; ms: number }) {
  return place.then((given) => {
    order.push(name);
    if (answerMs === undefined) given.release();
    else answerMs.machine.clock.after(answerMs.ms, given.release);
    return given;
  });
}

describe("a place in front of a model", () => {
  it("is given when the model is loaded, with the time of the load apart from the wait", async () => {
    const machine = handMachine({ a }, { places: 1 });
    const place = machine.ask("a");
    await machine.pass(2 * seconds);
    expect(await place).toMatchObject({ waitedMs: 0, loadMs: 2 * seconds, resident: { contextTokens: 4_096 } });
    expect(machine.counts()).toEqual([{ model: "a", running: 1, waiting: 0 }]);
    (await place).release();
    (await place).release();
    expectQuiet(machine);
  });

  it("is given to as many as the model answers at a time; a newcomer doesn't overtake those who wait", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2 } }, { places: 1 });
    const places = ["1", "2", "3", "4"].map((caller) => machine.ask("a", { caller }));
    await machine.pass(2 * seconds);
    expect(machine.counts()).toEqual([{ model: "a", running: 2, waiting: 2 }]);
    (await places[0])?.release();
    await machine.settle();
    expect(machine.counts()).toEqual([{ model: "a", running: 2, waiting: 1 }]);
    expect((await places[2])?.waitedMs).toBe(0);
  });

  it("tells how long one waited", async () => {
    const machine = handMachine({ a }, { places: 1 });
    const first = await loaded(machine, "a");
    const second = machine.ask("a");
    await machine.pass(3 * seconds);
    first.release();
    expect(await second).toMatchObject({ waitedMs: 3 * seconds, loadMs: 0 });
  });

  it("is given to callers in turn, and last to what is in the background", async () => {
    const machine = handMachine({ a }, { places: 1 });
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

  it("is not given to two embedded models at once: they would decode on the same cores", async () => {
    const embedded = { ...a, isEmbedded: true };
    const machine = handMachine({ a: embedded, b: embedded, c: a }, { places: 3 });
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
  it("is joined by all who want the model, and holds up nobody whose model is loaded", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 4 }, b: a }, { places: 2 });
    await free(machine, "b");
    const heard: string[] = [];
    const both = [machine.ask("a"), machine.ask("a", { report: ({ message }) => void heard.push(message) })];
    await machine.pass(1 * seconds);
    (await machine.ask("b")).release();
    const late = machine.ask("a", { report: ({ message }) => void heard.push(message) });
    await machine.pass(1 * seconds);
    for (const place of await Promise.all([...both, late])) place.release();
    expect(machine.log).toEqual(["load b 4096", "load a 4096"]);
    expect(heard).toEqual(["loading a", "loading a"]);
    expectQuiet(machine);
  });

  it("takes the most context that anybody waits for; a smaller request uses it", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 4 } }, { places: 1 });
    const all = [machine.ask("a"), machine.ask("a", { contextTokens: 16_384 }), machine.ask("a")];
    await machine.pass(2 * seconds);
    await Promise.all(all);
    expect(machine.log).toEqual(["load a 16384"]);
  });

  it("for more context waits until the answers of the model are done, and small requests don't starve it", async () => {
    const machine = handMachine({ a: { ...a, maxParallel: 2, answerMs: 1_000 } }, { places: 1 });
    await free(machine, "a");
    const order: string[] = [];
    let [count, isOver] = [0, false];
    // Somebody always asks for little.
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
    machine.clock.after(500, () => void holding.then((place) => place.release()));
    const large = machine.ask("a", { caller: "large", contextTokens: 16_384 });
    await machine.pass(33 * seconds);
    const place = await large;
    expect(place.resident?.contextTokens).toBe(16_384);
    isOver = true;
    place.release();
    await machine.pass(3 * seconds);
    expect(machine.log).toEqual(["load a 4096", "evict a", "load a 16384"]);
  });

  it("only asked for is told how long the model stays when it is loaded already", async () => {
    const machine = handMachine({ a }, { places: 1 });
    const first = machine.load("a");
    await machine.pass(2 * seconds);
    expect(await first).toMatchObject({ wasLoaded: false });
    expect(await machine.load("a")).toMatchObject({ wasLoaded: true });
    expect(machine.log).toEqual(["load a 4096", "keep a"]);
    expectQuiet(machine);
  });

  it("that fails is told to all who waited for it, and the next one goes on", async () => {
    const machine = handMachine({ a, b: a }, { places: 1 });
    machine.failing.set("a", damaged);
    const failed = Promise.allSettled([machine.ask("a"), machine.ask("a"), machine.load("a")]);
    const next = machine.ask("b");
    await machine.pass(4 * seconds);
    for (const outcome of await failed) expect(outcome).toMatchObject({ status: "rejected", reason: damaged });
    expect((await next).loadMs).toBe(2 * seconds);
    expect(machine.log).toEqual(["load a 4096", "load b 4096"]);
  });

  it("that can't fit is refused, and the next one goes on", async () => {
    const machine = handMachine({ a: { ...a, size: 3 }, b: a }, { places: 1 });
    const refused = machine.ask("a");
    const next = machine.ask("b");
    await expect(refused).rejects.toBeInstanceOf(ModelDoesNotFit);
    await machine.pass(2 * seconds);
    (await next).release();
    expectQuiet(machine);
  });

  it("evicts only what is idle, and says what it waits for", async () => {
    const machine = handMachine({ a, b: a }, { places: 1 });
    const busy = await loaded(machine, "a");
    const heard: string[] = [];
    const place = machine.ask("b", { report: ({ message }) => void heard.push(message) });
    await machine.pass(60 * seconds);
    expect(machine.log).toEqual(["load a 4096"]);
    expect(heard).toEqual(["waiting for memory: b fits when the models that are answering now are done"]);
    expect(machine.waits).toEqual(heard);
    busy.release();
    await machine.pass(2 * seconds);
    (await place).release();
    expect(machine.log).toEqual(["load a 4096", "evict a", "load b 4096"]);
    expectQuiet(machine);
  });
});

describe("nobody waits for good", () => {
  it("constant requests for a loaded model let another one be loaded once the bound is over", async () => {
    const machine = handMachine({ a: { ...a, answerMs: 1_000 }, b: a }, { places: 1 });
    await free(machine, "a");
    let isOver = false;
    let servedAfter = 0;
    const keepAsking = (caller: string) => {
      if (isOver) return;
      void machine.ask("a", { caller }).then((place) => {
        servedAfter += 1;
        machine.clock.after(900, () => {
          place.release();
          keepAsking(caller);
        });
      });
    };
    keepAsking("x");
    keepAsking("y");
    await machine.pass(1 * seconds);
    const startedMs = machine.clock.now();
    let servedAtMs = 0;
    const waited = machine.ask("b", { caller: "z" }).then((place) => {
      servedAtMs = machine.clock.now();
      isOver = true;
      place.release();
      return place;
    });
    servedAfter = 0;
    await machine.pass(40 * seconds);
    await waited;
    // Two answers that came before it, those let ahead for as long as the bound allows, its load.
    expect(servedAtMs - startedMs).toBeLessThanOrEqual((1.8 + 30 + 2) * seconds);
    expect(servedAfter).toBeGreaterThan(20);
  });

  it("whoever had its model loaded is served before that can be evicted again", async () => {
    // The load takes far longer than it was thought to: by its end nobody may be overtaken any more.
    const machine = handMachine(
      { a: { loadMs: 50 * seconds }, large: { ...a, size: 2 }, busy: a },
      { places: 2, world: { loadMs: () => 1 * seconds } },
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

  it("what keeps busy a model that a load waits for stops when the bound is over", async () => {
    const making = createGate();
    const machine = handMachine(
      { a: { ...a, maxParallel: 4 }, b: a },
      {
        places: 2,
        world: {
          // Another program took memory: unlike its plan, the load has to wait for `a`, and hasn't begun.
          isLoading: () => false,
          load: async (located, options) => {
            if (located.model.name === "a") {
              machine.resident.set("a", { name: "a", sizeBytes: 1, vramBytes: 0, contextTokens: 4_096 });
            } else await making.pass();
            return { model: located.model.name, engine: "ollama", loadMs: 0, wasLoaded: false, plan: planOf(options) };
          },
        },
      },
    );
    await free(machine, "a");
    const held = machine.ask("b");
    await making.entered;
    (await machine.ask("a")).release();
    await machine.pass(31 * seconds);
    let isServed = false;
    const late = machine.ask("a").then((place) => {
      isServed = true;
      return place;
    });
    await machine.pass(5 * seconds);
    expect(isServed).toBe(false);
    machine.resident.set("b", { name: "b", sizeBytes: 1, vramBytes: 0, contextTokens: 4_096 });
    making.open();
    (await held).release();
    (await late).release();
    expectQuiet(machine);
  });
});
