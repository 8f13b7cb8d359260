import { expect, it } from "vitest";
import { expectQuiet, handMachine, loaded } from "./hand-machine.ts";

const model = { loadMs: 2_000, answerMs: 1_000 };

it("an agent that returns at once keeps its model; the model of one that doesn't is evicted", async () => {
  const machine = handMachine({ a: model, b: model }, { capacity: 1 });
  const first = await loaded(machine, "a");
  const other = machine.ask("b", { caller: "other" });
  await machine.settle();
  first.release();
  await machine.pass(50);
  const second = await machine.ask("a");
  await machine.pass(1_000);
  expect(machine.log).toEqual(["load a 4096"]);
  second.release();
  await machine.pass(2_200);
  (await other).release();
  expect(machine.log).toEqual(["load a 4096", "evict a", "load b 4096"]);
  expectQuiet(machine);
});
