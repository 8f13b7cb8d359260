import { describe, expect, it } from "vitest";
import { Cancelled, QueueFull } from "../../../src/orchestrator/errors.ts";
import { createModelQueues } from "../../../src/orchestrator/queue/model-queues.ts";

const never = new AbortController().signal;

describe("model queues", () => {
  it("lets maxParallel through at once and the next one when a slot is released", async () => {
    const queues = createModelQueues(
      () => 8,
      () => 0,
    );
    const first = await queues.acquire("a", 2, never);
    await queues.acquire("a", 2, never);
    const order: string[] = [];
    const third = queues.acquire("a", 2, never).then(() => order.push("third"));
    const fourth = queues.acquire("a", 2, never).then(() => order.push("fourth"));
    expect(queues.snapshot()).toEqual([{ key: "a", running: 2, waiting: 2 }]);
    first.release();
    await third;
    expect(order).toEqual(["third"]);
    first.release();
    expect(queues.snapshot()).toEqual([{ key: "a", running: 2, waiting: 1 }]);
    void fourth;
  });

  it("models don't wait for one another", async () => {
    const queues = createModelQueues(
      () => 8,
      () => 0,
    );
    await queues.acquire("a", 1, never);
    expect((await queues.acquire("b", 1, never)).waitedMs).toBe(0);
  });

  it("a newcomer doesn't overtake those who wait", async () => {
    const queues = createModelQueues(
      () => 8,
      () => 0,
    );
    const first = await queues.acquire("a", 1, never);
    const order: number[] = [];
    const waiters = [1, 2, 3].map((number) =>
      queues.acquire("a", 1, never).then((slot) => {
        order.push(number);
        slot.release();
      }),
    );
    first.release();
    await Promise.all(waiters);
    expect(order).toEqual([1, 2, 3]);
  });

  it("says how long one waited", async () => {
    let nowMs = 0;
    const queues = createModelQueues(
      () => 8,
      () => nowMs,
    );
    const first = await queues.acquire("a", 1, never);
    const second = queues.acquire("a", 1, never);
    nowMs = 250;
    first.release();
    expect((await second).waitedMs).toBe(250);
  });

  it("who is cancelled leaves the queue, and the one behind moves up", async () => {
    const queues = createModelQueues(
      () => 8,
      () => 0,
    );
    const first = await queues.acquire("a", 1, never);
    const call = new AbortController();
    const cancelled = queues.acquire("a", 1, call.signal);
    const behind = queues.acquire("a", 1, never);
    call.abort("cancelled");
    await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
    first.release();
    expect((await behind).waitedMs).toBe(0);
  });

  it("refuses beyond its bound, with the number that waits and the expected wait", async () => {
    let nowMs = 0;
    const queues = createModelQueues(
      () => 1,
      () => nowMs,
    );
    const first = await queues.acquire("a", 1, never);
    nowMs = 4000;
    first.release();
    await queues.acquire("a", 1, never);
    void queues.acquire("a", 1, never);
    const refused = queues.acquire("a", 1, never);
    await expect(refused).rejects.toBeInstanceOf(QueueFull);
    await expect(refused).rejects.toThrow("1 requests already wait for a; one more would wait about 8 s");
  });

  it("a signal that is aborted already takes no slot", async () => {
    const queues = createModelQueues(
      () => 1,
      () => 0,
    );
    await expect(queues.acquire("a", 1, AbortSignal.abort("cancelled"))).rejects.toBeInstanceOf(Cancelled);
    expect(queues.snapshot()).toEqual([]);
  });
});
