import { describe, expect, it } from "vitest";
import { createTurns } from "../../../src/orchestrator/util/joined-work.ts";

function workFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe("turns of the event loop", () => {
  it("interrupt long work repeatedly", async () => {
    let others = 0;
    const count = (): void => {
      others += 1;
      if (others < 100) setImmediate(count);
    };
    setImmediate(count);
    const turn = createTurns();
    for (let step = 0; step < 3; step += 1) {
      const before = others;
      workFor(20);
      await turn();
      expect(others).toBeGreaterThan(before);
    }
  });

  it("don't interrupt short work", () => {
    // Another process may take the CPU between the two lines, so one success of many is enough.
    expect(Array.from({ length: 50 }, () => createTurns()())).toContain(undefined);
  });
});
