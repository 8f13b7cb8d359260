import { describe, expect, it } from "vitest";
import { type Event, createEvents } from "../../../src/orchestrator/api/events.ts";
import { isNotable, watchChanges } from "../../../src/orchestrator/watch/changes.ts";
import { createLog } from "../../../src/orchestrator/api/log.ts";
import { handClock } from "../../support/hand-clock.ts";

const gigabyte = 1024 ** 3;

function machine() {
  const clock = handClock();
  const told: Event[] = [];
  const looks = { memory: 0, models: 0 };
  const memory = { availableBytes: 8 * gigabyte, isBroken: false };
  const log = createLog("silent", () => undefined);
  const events = createEvents(log);
  events.on(["memory changed"], (event) => told.push(event));
  const watcher = watchChanges({
    events,
    timers: clock,
    log,
    pollMemory: async () => {
      looks.memory += 1;
      if (memory.isBroken) throw new Error("no /proc");
      return memory.availableBytes;
    },
    pollModels: async () => {
      looks.models += 1;
    },
  });
  /** Advances three seconds and waits for the poll. */
  const tick = async (): Promise<void> => {
    clock.advance(3_000);
    await new Promise((resolve) => setImmediate(resolve));
    events.flush();
  };
  return { clock, told, looks, memory, watcher, tick };
}

describe("a notable change of the free memory", () => {
  it.each([
    { told: 8 * gigabyte, now: 8 * gigabyte, isTold: false },
    { told: 8 * gigabyte, now: 8 * gigabyte - 255 * 1024 ** 2, isTold: false },
    { told: 8 * gigabyte, now: 8 * gigabyte - 256 * 1024 ** 2, isTold: true },
    { told: gigabyte, now: 1.04 * gigabyte, isTold: false },
    { told: gigabyte, now: 1.05 * gigabyte, isTold: true },
    { told: 0, now: 0, isTold: false },
  ])("$told bytes to $now: $isTold", ({ told, now, isTold }) => {
    expect(isNotable(told, now)).toBe(isTold);
  });
});

describe("the watcher", () => {
  it("polls nothing while nothing is watched", async () => {
    const { clock, looks, tick } = machine();
    await tick();
    expect(looks).toEqual({ memory: 0, models: 0 });
    expect(clock.waiting).toBe(0);
  });

  it("publishes a notable change of the memory, and small ones once they add up", async () => {
    const { told, memory, watcher, tick } = machine();
    watcher.watch("memory");
    await tick();
    memory.availableBytes -= 0.2 * gigabyte;
    await tick();
    expect(told).toEqual([]);
    memory.availableBytes -= 0.2 * gigabyte;
    await tick();
    await tick();
    expect(told).toEqual([{ kind: "memory changed" }]);
  });

  it("shares one poll among all watchers, and stops with the last of them", async () => {
    const { clock, looks, watcher, tick } = machine();
    const stops = [watcher.watch("models"), watcher.watch("models")];
    await tick();
    const before = looks.models;
    await tick();
    expect(looks.models).toBe(before + 1);
    stops[0]?.();
    stops[0]?.();
    await tick();
    expect(looks.models).toBe(before + 2);
    stops[1]?.();
    await tick();
    expect(looks.models).toBe(before + 2);
    expect(clock.waiting).toBe(0);
  });

  it("continues after a failed poll", async () => {
    const { told, memory, watcher, tick } = machine();
    watcher.watch("memory");
    await tick();
    memory.isBroken = true;
    await tick();
    memory.isBroken = false;
    memory.availableBytes -= gigabyte;
    await tick();
    expect(told).toHaveLength(1);
  });

  it("ends all watches when closed", async () => {
    const { clock, looks, watcher, tick } = machine();
    watcher.watch("memory");
    await tick();
    watcher.close();
    const before = looks.memory;
    await tick();
    expect(looks.memory).toBe(before);
    expect(clock.waiting).toBe(0);
  });
});
