import { describe, expect, it } from "vitest";
import { createTie } from "../../src/server/let-go.ts";
import type { OperationKind } from "../../src/orchestrator/types.ts";
import { drivenOperation } from "../support/fake-orchestrator.ts";
import { handClock } from "../support/hand-clock.ts";

function setUp(patienceMs: number | undefined) {
  const clock = handClock();
  const call = new AbortController();
  const tie = createTie({ signal: call.signal, patienceMs, timers: clock });
  let released: string | undefined;
  void tie.letGo.then(({ title }) => (released = title));
  const operation = (title: string, kind: OperationKind = "generate") => {
    let detached = 0;
    return { ...drivenOperation<unknown>(title), kind, detach: () => void (detached += 1), detached: () => detached };
  };
  const isReleased = async () => {
    await Promise.resolve();
    await Promise.resolve();
    return released;
  };
  return { clock, call, tie, operation, isReleased };
}

describe("the tie between a call and its run", () => {
  it("breaks when the client's patience is over, and not before", async () => {
    const { clock, tie, operation, isReleased } = setUp(45_000);
    tie.followed(operation("a"));
    clock.advance(44_999);
    expect(await isReleased()).toBeUndefined();
    clock.advance(1);
    expect(await isReleased()).toBe("a");
  });

  it("holds for ever for a client that waits for ever", async () => {
    const { clock, tie, operation, isReleased } = setUp(undefined);
    tie.followed(operation("a"));
    clock.advance(10 * 3_600_000);
    expect(await isReleased()).toBeUndefined();
    expect(clock.waiting).toBe(0);
  });

  it("breaks as soon as there is something to let go of, when patience was over before", async () => {
    const { clock, tie, operation, isReleased } = setUp(1000);
    clock.advance(2000);
    expect(await isReleased()).toBeUndefined();
    tie.followed(operation("late"));
    expect(await isReleased()).toBe("late");
  });

  it.each(["cancelled", "disconnected"])("ends the run with the call while it holds: %s", (reason) => {
    const { call, tie, operation } = setUp(1000);
    tie.followed(operation("a"));
    call.abort(reason);
    expect(tie.signal.reason).toBe(reason);
  });

  it.each(["cancelled", "disconnected"])("leaves the run alone once it is broken: %s", (reason) => {
    const { clock, call, tie, operation } = setUp(1000);
    tie.followed(operation("a"));
    clock.advance(1000);
    tie.end();
    call.abort(reason);
    expect(tie.signal.aborted).toBe(false);
  });

  it("breaks when the host vanishes in the middle of a pull, which is wanted all the same", async () => {
    const { call, tie, operation, isReleased } = setUp(undefined);
    tie.followed(operation("pull a", "pull"));
    call.abort("disconnected");
    expect(await isReleased()).toBe("pull a");
    expect(tie.signal.aborted).toBe(false);
  });

  it("ends a pull that its caller cancels", async () => {
    const { call, tie, operation, isReleased } = setUp(undefined);
    tie.followed(operation("pull a", "pull"));
    call.abort("cancelled");
    expect(await isReleased()).toBeUndefined();
    expect(tie.signal.reason).toBe("cancelled");
  });

  it("keeps alive what the run starts after its call has gone", () => {
    const { clock, tie, operation } = setUp(1000);
    tie.followed(operation("first"));
    clock.advance(1000);
    const second = operation("second");
    tie.followed(second);
    expect(second.detached()).toBe(1);
  });

  it("leaves no alarm behind when the call is answered", () => {
    const { clock, call, tie } = setUp(1000);
    tie.end();
    expect(clock.waiting).toBe(0);
    call.abort("cancelled");
    expect(tie.signal.aborted).toBe(false);
  });

  it("is broken from the start of a call that was cancelled on its way", () => {
    const call = new AbortController();
    call.abort("cancelled");
    const tie = createTie({ signal: call.signal, patienceMs: undefined, timers: handClock() });
    expect(tie.signal.reason).toBe("cancelled");
  });
});
