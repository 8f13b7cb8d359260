import { describe, expect, it } from "vitest";
import { Cancelled } from "../../../../src/orchestrator/api/errors.ts";
import { createComputeGate } from "../../../../src/orchestrator/engines/llama-cpp/compute-gate.ts";
import { never } from "./engine-under-test.ts";

describe("compute gate", () => {
  it("runs work one at a time, in order, with the time that it waited", async () => {
    let clock = 0;
    const gate = createComputeGate(() => clock);
    const events: string[] = [];
    const finish: (() => void)[] = [];
    const enter = (name: string) =>
      gate.run(never, async (waitedMs) => {
        events.push(`${name} after ${waitedMs}`);
        await new Promise<void>((resolve) => finish.push(resolve));
      });
    const all = [enter("a"), enter("b"), enter("c")];
    for (const index of [0, 1, 2]) {
      await expect.poll(() => finish.length).toBe(index + 1);
      clock += 10;
      finish[index]?.();
    }
    await Promise.all(all);
    expect(events).toEqual(["a after 0", "b after 10", "c after 20"]);
  });
  it("removes a cancelled caller from the queue", async () => {
    const gate = createComputeGate(() => 0);
    let finish: () => void = () => {};
    const first = gate.run(never, () => new Promise<void>((resolve) => (finish = resolve)));
    const controller = new AbortController();
    const second = gate.run(controller.signal, async () => "second");
    const third = gate.run(never, async () => "third");
    controller.abort();
    await expect(second).rejects.toBeInstanceOf(Cancelled);
    finish();
    await first;
    expect(await third).toBe("third");
  });
  it("continues after a failure", async () => {
    const gate = createComputeGate(() => 0);
    await expect(gate.run(never, () => Promise.reject(new Error("boom")))).rejects.toThrow("boom");
    expect(await gate.run(never, async () => "next")).toBe("next");
  });
});
