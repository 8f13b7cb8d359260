import { describe, expect, it } from "vitest";
import { detachableRun } from "../../src/server/call/pipeline.ts";
import type { OperationKind } from "../../src/orchestrator/api/types.ts";
import { drivenOperation } from "../support/fake-orchestrator.ts";
import { handClock } from "../support/hand-clock.ts";

function setUp(afterMs: number | undefined) {
  const clock = handClock();
  const call = new AbortController();
  const run = detachableRun(call.signal, afterMs, clock);
  let released: string | undefined;
  void run
    .ended(new Promise<never>(() => undefined))
    .then((ended) => (released = "detached" in ended ? ended.detached.title : undefined));
  const operation = (title: string, kind: OperationKind = "generate") => {
    let detached = 0;
    return { ...drivenOperation<unknown>(title), kind, detach: () => void (detached += 1), detached: () => detached };
  };
  const isReleased = async () => {
    await Promise.resolve();
    await Promise.resolve();
    return released;
  };
  return { clock, call, run, operation, isReleased };
}

describe("a run that its call may detach from", () => {
  it("is detached when the client's patience is over, and not before", async () => {
    const { clock, run, operation, isReleased } = setUp(45_000);
    run.followed(operation("a"));
    clock.advance(44_999);
    expect(await isReleased()).toBeUndefined();
    clock.advance(1);
    expect(await isReleased()).toBe("a");
  });

  it("is never detached from a client that waits forever", async () => {
    const { clock, run, operation, isReleased } = setUp(undefined);
    run.followed(operation("a"));
    clock.advance(10 * 3_600_000);
    expect(await isReleased()).toBeUndefined();
    expect(clock.waiting).toBe(0);
  });

  it("is detached at its first operation when patience was over before", async () => {
    const { clock, run, operation, isReleased } = setUp(1000);
    clock.advance(2000);
    expect(await isReleased()).toBeUndefined();
    run.followed(operation("late"));
    expect(await isReleased()).toBe("late");
  });

  it.each(["cancelled", "disconnected"])("ends with the call while attached: %s", (reason) => {
    const { call, run, operation } = setUp(1000);
    run.followed(operation("a"));
    call.abort(reason);
    expect(run.signal.reason).toBe(reason);
  });

  it.each(["cancelled", "disconnected"])("continues once detached: %s", (reason) => {
    const { clock, call, run, operation } = setUp(1000);
    run.followed(operation("a"));
    clock.advance(1000);
    run.end();
    call.abort(reason);
    expect(run.signal.aborted).toBe(false);
  });

  it("is detached when the client disconnects during a pull, which continues", async () => {
    const { call, run, operation, isReleased } = setUp(undefined);
    run.followed(operation("pull a", "pull"));
    call.abort("disconnected");
    expect(await isReleased()).toBe("pull a");
    expect(run.signal.aborted).toBe(false);
  });

  it("ends when its caller cancels a pull", async () => {
    const { call, run, operation, isReleased } = setUp(undefined);
    run.followed(operation("pull a", "pull"));
    call.abort("cancelled");
    expect(await isReleased()).toBeUndefined();
    expect(run.signal.reason).toBe("cancelled");
  });

  it("detaches an operation that it starts after its call has ended", () => {
    const { clock, run, operation } = setUp(1000);
    run.followed(operation("first"));
    clock.advance(1000);
    const second = operation("second");
    run.followed(second);
    expect(second.detached()).toBe(1);
  });

  it("leaves no timer behind when the call is answered", () => {
    const { clock, call, run } = setUp(1000);
    run.end();
    expect(clock.waiting).toBe(0);
    call.abort("cancelled");
    expect(run.signal.aborted).toBe(false);
  });

  it("is aborted from the start for a call that was already cancelled", () => {
    const call = new AbortController();
    call.abort("cancelled");
    const run = detachableRun(call.signal, undefined, handClock());
    expect(run.signal.reason).toBe("cancelled");
  });
});
